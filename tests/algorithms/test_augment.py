"""`augment`: what it is given, what is learned of what it returns, and a run with it."""

import functools
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.envs import Counter
from helpers.probes import Probe, trained
from helpers.runs import make_config, make_experiment, statistics

from mjx_sac.runs.directory import checkpoint_path
from mjx_sac.training.compiled import batches as batches_lib
from mjx_sac.training.compiled import epoch, normalizer, reward_scaler
from mjx_sac.training.host import compile, memory, train
from mjx_sac.types import named_leaves

MIRRORED = """
import jax, jax.numpy as jnp
import mjx_sac

losses = mjx_sac.Losses()

def augment(batch, key):
    other = batch._replace(
        observation=-batch.observation, action=-batch.action, reward=-batch.reward,
        next_observation=-batch.next_observation)
    return jax.tree.map(lambda *rows: jnp.concatenate(rows), batch, other)
"""
NOISY = """
import jax
import mjx_sac

losses = mjx_sac.Losses()

def augment(batch, key):
    noise = jax.random.normal(key, batch.observation.shape)
    return batch._replace(observation=batch.observation + 0.1 * noise)
"""


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("mirrored.py").write_text(MIRRORED)
    pathlib.Path("noisy.py").write_text(NOISY)


def test_what_is_only_in_mirrored_rows_is_learned():
    # Always observed as 1, where the reward is 1 - (a - 1/2)^2. Mirrored: observed as -1, where it
    # is (a + 1/2)^2 - 1.
    env = Probe(lambda o, a, n: 1 - jnp.square(a - 0.5), observe=lambda start, n: jnp.float32(1.0))
    q, _ = trained(env, file="mirrored.py")
    expected = [1.0, 0.0, -1.0, 0.0]
    found = [q(1.0, 0.5), q(1.0, -0.5), q(-1.0, -0.5), q(-1.0, 0.5)]
    assert found == pytest.approx(expected, abs=0.15)


def filled(**overrides):
    """An experiment, and its state after an epoch of warm-up with statistics of observations."""
    shape = {"batch_size": 8, "updates_per_iteration": 0.5, "normalize_rewards": True}
    experiment = make_experiment(**shape, **overrides)
    state = jax.jit(functools.partial(epoch.init, experiment))(jax.random.PRNGKey(0))
    state, _ = jax.jit(functools.partial(epoch.epoch, experiment))(state)
    return experiment, state.replace(normalizer=statistics(2))


def test_it_sees_what_the_environment_gave():
    """Raw observations and rewards; normalised is what it returns."""
    key = jax.random.PRNGKey(7)
    plain, state = filled()
    raw, _ = filled(normalize_observations=False)
    mirrored, _ = filled(file="mirrored.py")
    draw = lambda experiment: batches_lib.draw(experiment, state, key)  # noqa: E731
    drawn, found = draw(raw), draw(mirrored)
    assert [x.shape[:2] for x in found] == [(2, 16)] * 5
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:, :8], b), found, draw(plain))
    reflection = normalizer.normalize(state.normalizer, -drawn.observation)
    np.testing.assert_allclose(found.observation[:, 8:], reflection, rtol=1e-6)
    assert np.abs(reflection + found.observation[:, :8]).max() > 0.1, "the mean is not zero"
    np.testing.assert_allclose(found.reward[:, 8:], -drawn.reward, rtol=1e-6)
    assert float(reward_scaler.divisor(state.reward_scaler, None)) != 1


def test_each_batch_has_a_key_of_its_own():
    key = jax.random.PRNGKey(7)
    noisy, state = filled(file="noisy.py")
    plain, _ = filled()
    found, drawn = (batches_lib.draw(x, state, key).observation for x in (noisy, plain))
    noise = (found - drawn) * normalizer.deviation(state.normalizer)
    assert np.std(noise[0]) == pytest.approx(0.1, abs=0.05)
    assert np.abs(noise[0] - noise[1]).min() > 0


def test_a_batch_has_as_many_rows_as_were_returned():
    assert compile.check_algorithm(make_experiment(file="mirrored.py", batch_size=8)) == 16
    assert compile.check_algorithm(make_experiment(file="noisy.py", batch_size=8)) == 8


def test_memory_for_the_rows_is_counted(monkeypatch):
    # Eight drawn rows and eight or sixteen to learn from, of 2 updates; see `test_memory` for the
    # size of a transition.
    experiment, state = filled()
    needed = []
    monkeypatch.setattr(memory, "available", lambda device: 0)
    monkeypatch.setattr(memory, "_for_people", lambda size: needed.append(size) or "")
    for rows in (8, 16):
        with pytest.raises(Exception, match="needs about"):
            memory.check(experiment.config, state, rows)
    transition = sum(x.nbytes for x in jax.tree.leaves(state.replay)) / 64
    batches = [size for size in needed if size in (round(transition * 2 * n) for n in (16, 24))]
    assert batches == [round(transition * 2 * n) for n in (16, 24)]


def run(directory, **overrides):
    shape = {"logdir": str(directory), "algorithm": "noisy.py", "episodes_per_eval": 0}
    return train.train(make_config(**{**shape, **overrides}), env=Counter()).state


def test_a_resumed_run_is_the_uninterrupted_one_and_each_seed_its_own(tmp_path):
    whole = run("whole")
    half = shutil.copytree("whole", tmp_path / "half")
    for step in (96, 128):
        shutil.rmtree(checkpoint_path(half, step))
    jax.tree.map(np.testing.assert_array_equal, run(half), whole)
    both, other = run("both", num_seeds=2), run("other", seed=1)
    for agent, alone in enumerate((whole, other)):
        one = dict(named_leaves(alone.train))
        for name, value in named_leaves(both.train):
            close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
            close(value[agent], one[name], err_msg=name)
