"""The critics' values against returns seen: by hand, for every algorithm, and once learned."""

import dataclasses
import math
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.algorithms import TINY
from helpers.cli import run
from helpers.envs import Asymmetric, Counter
from helpers.gymnasium_envs import Walk
from helpers.probes import Probe
from helpers.runs import flags, make_config, make_experiment, scalars
from hypothesis import given, settings
from hypothesis import strategies as st

from mjx_sac import envs
from mjx_sac.algorithms import PACKAGED
from mjx_sac.algorithms.base import Algorithm
from mjx_sac.config import UsageError
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.networks import Networks
from mjx_sac.runs import event_files
from mjx_sac.training.compiled import (
    critic_bias,
    evaluate,
    normalizer,
    population,
    reward_scaler,
)
from mjx_sac.training.compiled import epoch as epoch_lib
from mjx_sac.training.compiled.experiment import make_experiment as make
from mjx_sac.training.host import compile as compile_lib
from mjx_sac.training.host import train
from mjx_sac.training.host.monitor import with_histograms

NAMES = ("q_value", "q_return", "q_bias", "q_bias_std")


class FixedActor:
    """The action 0, or where it is sampled 0.5, with log-probability -2."""

    def apply(self, params, observation):
        action = jnp.zeros_like(observation[:, :1])
        log_prob = jnp.full(len(observation), -2.0)
        return SimpleNamespace(mode=lambda: action, sample=lambda key: (action + 0.5, log_prob))


class CountingCritics:
    """Of the count n and the action a the values are n + a and n + a + 2, in the mean n + a + 1."""

    def apply(self, params, observation, action):
        return (observation[:, 1:] + action) + jnp.array([0.0, 2.0])


def measured(env=None, episodes=2, alpha=0.5, scaler=None, hyperparameters=None, **config):
    """Return eval/... of those critics and histograms, by their short names."""
    overrides = {"normalize_observations": False, "discount": 0.5, **config}
    made = make_experiment(env or Counter(ends_at=3), **overrides)
    experiment = dataclasses.replace(made, networks=Networks(FixedActor(), CountingCritics()))
    critics = critic_bias.Critics((), jnp.log(alpha), scaler, hyperparameters or {})
    given_ = experiment, (), normalizer.init(2), critics
    found = jax.jit(partial(critic_bias.measure, *given_, episodes=episodes))(jax.random.PRNGKey(0))
    return {tag.removeprefix("eval/"): float(value) for tag, value in found.items()}


def bias_of(value, returns):
    error = np.subtract(value, returns)
    size = abs(np.mean(returns))
    return np.mean(value), np.mean(returns), np.mean(error) / size, np.std(error) / size


def assert_is(found, value, returns):
    assert [found[name] for name in NAMES] == pytest.approx(bias_of(value, returns), rel=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 9), st.floats(0, 1), st.integers(0, 99))
def test_returns_are_discounted_and_hold_the_bonus_of_every_nth_action(n, steps, discount, seed):
    reward, bonus = np.random.default_rng(seed).normal(size=(2, 3, steps)).astype(np.float32)
    found = critic_bias.returns_seen(reward, bonus, discount, n)
    for t in range(steps):
        wanted = sum(discount**k * reward[:, t + k] for k in range(steps - t))
        wanted += sum((discount**k * bonus[:, t + k] for k in range(n, steps - t, n)), np.zeros(3))
        np.testing.assert_allclose(found[:, t], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("n_step", "bonus"), [(1, [0.5 + 0.25, 0.5, 0]), (2, [0.25, 0, 0])])
def test_an_episode_that_terminates_by_hand(n_step, bonus):
    """Rewards 0, 1 and 2; each action is worth 0.5 * 2 more, but the pair's own."""
    found = measured(n_step=n_step)
    assert_is(found, [1.5, 2.5, 3.5], np.add([1, 2, 2], bonus))
    assert (found["histogram/eval/q_value@000"], found["histogram/eval/q_value@100"]) == (1.5, 3.5)
    assert found["histogram/eval/q_return@050"] == 2


def test_values_are_in_the_environments_rewards():
    """Critics that learned from rewards times 4 say four times as much, of entropy too."""
    found = measured(reward_scale=4.0)
    assert_is(found, np.divide([1.5, 2.5, 3.5], 4), np.add([1, 2, 2], np.divide([0.75, 0.5, 0], 4)))
    traced = measured(reward_scale=1.0, hyperparameters={"reward_scale": jnp.float32(4)})
    assert traced == pytest.approx(found)


def test_values_are_of_rewards_before_they_were_normalised():
    """The deviation of discounted sums is 3: what critics say counts three times."""
    scaler = reward_scaler.init(1)
    scaler = scaler.replace(stats=scaler.stats.replace(var=jnp.array([9.0])))
    found = measured(scaler=scaler, normalize_rewards=True)
    assert_is(found, np.multiply([1.5, 2.5, 3.5], 3), np.add([1, 2, 2], [2.25, 1.5, 0]))


def test_without_a_temperature_the_mode_acts_and_nothing_is_added():
    assert_is(measured(file="td3"), [1, 2, 3], [1, 2, 2])


def test_what_a_time_limit_cuts_off_does_not_count():
    """Of ten steps the first six: 0.5^5 = 0.03 may be missing, and 0.5^4 = 0.06 is too much."""
    found = measured(env=Counter(), episode_length=10, alpha=1e-9)
    returns = [sum(0.5 ** (k - t) * k for k in range(t, 10)) for t in range(6)]
    assert_is(found, np.arange(6) + 1.5, returns)


def test_where_nothing_counts_there_is_no_number_and_no_histogram():
    found = measured(env=Counter(), episode_length=10, discount=0.99)
    assert all(math.isnan(value) for value in found.values())
    assert {"q_bias", "histogram/eval/q_value@050"} <= found.keys()
    assert not [tag for tag in with_histograms(found) if tag.startswith("histogram/")]


def test_many_episodes_and_ends_of_other_kinds_on_the_host():
    """Episodes of 2 and 3 steps that terminate, in two batches; one that is cut is left out."""
    kinds, made = [{"ends_at": 2}, {"ends_at": 3}, {"cut_at": 4}], []

    def make():
        made.append(Walk(**kinds[(len(made) - 1) % 3]))
        return made[-1]

    env = GymnasiumEnvironment("walk", make)
    found = measured(env, episodes=18, episode_length=100, alpha=1e-9, num_envs=1)
    ends = [3, 2, 0] * 6  # the first environment is only looked at
    value = [n + 1.5 for steps in ends for n in range(steps)]
    returns = [[], [], [0.5, 1], [1, 2, 2]]
    assert_is(found, value, [x for steps in ends for x in returns[steps]])


@pytest.mark.parametrize("name", PACKAGED)
def test_every_algorithm_says_what_its_critics_values_are(name):
    small = {"critic_widths": (8,)} if name == "tqc" else {}
    own = {**TINY.get(name, small), "n_step": 2, "discount": 0.5}
    experiment = make_experiment(file=name, eval_q_bias=True, **own)
    state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    given_ = experiment.algorithm, state.train.critic, jnp.ones((5, 2)), jnp.zeros((5, 1))
    values = critic_bias.values(*given_, **experiment.static)
    assert values.shape == (experiment.config.num_critics, 5)
    critics = critic_bias.critics_of(experiment.config, state)
    args = state.train.actor, state.normalizer, state.key, np.uint32(1), critics
    found = jax.jit(population.evaluate(experiment))(*args)
    assert math.isfinite(found["eval/q_bias"])


def test_off_it_is_the_program_that_there_was():
    """An evaluation that judges no critics is `evaluate` and `summary`, to the letter."""
    experiment = make_experiment(eval_q_bias=True)

    def one(actor, stats, key, n, _):
        key = jax.random.fold_in(jax.random.fold_in(key, 0x6576616C), n)
        return evaluate.summary(evaluate.evaluate(experiment, actor, stats, key, episodes=2))

    state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    args = state.train.actor, state.normalizer, state.key, np.uint32(1)
    off, critics = population.evaluate(experiment), critic_bias.critics_of(experiment.config, state)
    assert jax.jit(off).lower(*args, None).as_text() == jax.jit(one).lower(*args, None).as_text()
    on = jax.jit(off).lower(*args, critics).as_text()
    assert len(on) > len(jax.jit(off).lower(*args, None).as_text())


@pytest.mark.parametrize("n_step", [1, 3])
def test_critics_that_have_learned_entropy_alone_are_honest(n_step):
    """No reward, alpha 0.5: the best is uniform, with an entropy of log 2. From the n-th step on
    every n-th pays alpha log 2, so that Q = g / (1 - g) alpha log 2 with g = 0.5^n.
    """
    experiment = make_experiment(
        Probe(lambda o, a, n: 0.0 * a, endless=True), discount=0.5, n_step=n_step, eval_q_bias=True,
        initial_alpha=0.5, alpha_lr=1e-8, policy_lr=3e-3, q_lr=3e-3, tau=0.05, num_envs=8,
        batch_size=64, buffer_size=2048, warm_up_steps=256, log_interval=3456, iterations=3456,
        episode_length=200, hidden_sizes=(32,),
    )  # fmt: skip
    start = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    state, _ = jax.jit(partial(epoch_lib.epoch, experiment))(start)
    critics = critic_bias.critics_of(experiment.config, state)
    given_ = experiment, state.train.actor, state.normalizer, critics, state.key
    found = critic_bias.measure(*given_, episodes=128)
    g = 0.5**n_step
    wanted = g / (1 - g) * 0.5 * math.log(2)
    assert float(found["eval/q_return"]) == pytest.approx(wanted, rel=0.1)
    # Counting the bonus of every action would make it -0.6 for three steps.
    assert abs(float(found["eval/q_bias"])) < 0.15


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two members in one program, and the second alone."""
    how = {"eval_q_bias": True, "episode_length": 8, "normalize_rewards": True}
    members = [{"discount": 0.3, "reward_scale": 1.0}, {"discount": 0.5, "reward_scale": 2.0}]
    many, one = tmp_path_factory.mktemp("many"), tmp_path_factory.mktemp("one")
    together = train.train(make_config(logdir=str(many), members=members, **how))
    alone = train.train(make_config(logdir=str(one), **members[1], **how))
    return together, alone, one


def test_agents_of_one_program_are_each_judged_by_their_own_discount(trained):
    together, alone, _ = trained
    for name in NAMES:
        values = [run.metrics[f"eval/{name}"] for run in (together, alone)]
        assert values[0][1] == pytest.approx(values[1], rel=1e-3), name
    returns = together.metrics["eval/q_return"]
    assert returns[0] != pytest.approx(returns[1], rel=0.05)


def test_it_is_in_the_curves_with_histograms_of_both(trained):
    _, alone, directory = trained
    found = event_files.read(directory)["eval/q_bias"]
    assert list(found) == [64, 96, 128], "not during warm-up"
    assert found[128] == pytest.approx(alone.metrics["eval/q_bias"])
    assert "eval/mean_reward" in scalars(directory)
    assert alone.metrics["histogram/eval/q_return@050"] > 0


def test_it_changes_nothing_that_a_run_learns(trained, tmp_path):
    _, alone, _ = trained
    config = alone.experiment.config
    changed = {"logdir": str(tmp_path), "eval_q_bias": False}
    without = train.train(config.model_copy(update=changed))
    assert "eval/q_bias" not in without.metrics
    assert without.metrics["eval/mean_reward"] == alone.metrics["eval/mean_reward"]
    for one, other in zip(*map(jax.tree.leaves, (without.state, alone.state)), strict=True):
        np.testing.assert_array_equal(one, other)


class Knowing:
    """Both critics say what the goal is, the last of three numbers: (x, steps, goal)."""

    def apply(self, params, observation, action):
        assert observation.shape[1:] == (3,)
        return jnp.repeat(observation[:, 2:], 2, axis=1)


def test_critics_see_what_the_actor_does_not():
    """The action 0.5 takes x to 1 in at most four steps, and the goal stays where it is."""

    class Actor(FixedActor):
        def apply(self, params, observation):
            assert observation.shape[1:] == (2,)
            return super().apply(params, observation)

    changes = {"normalize_observations": False, "discount": 0.5, "episode_length": None}
    config = make_config(**changes)
    networks = Networks(Actor(), Knowing())
    experiment = make(config, envs.adapt(Asymmetric(), config), networks, Algorithm())
    critics = critic_bias.Critics((), jnp.float32(-99), None, {})
    given_ = experiment, (), normalizer.init(3), critics
    found = jax.jit(partial(critic_bias.measure, *given_, episodes=64))(jax.random.PRNGKey(0))
    assert abs(found["eval/q_value"]) < 0.3, "goals are uniform in (-1, 1)"
    assert found["histogram/eval/q_value@100"] > 0.8
    assert found["eval/q_return"] < 0


LOGITS = """
import mjx_sac
from mjx_sac.algorithms import categorical, csac
Config, networks, losses = csac.Config, csac.networks, csac.losses
"""


def test_critics_of_a_users_algorithm_need_values(tmp_path):
    """Two critics of 101 atoms: [2, 8, 101] for the batch of 8."""
    file = tmp_path / "mine.py"

    def check(text):
        file.write_text(LOGITS + text)
        compile_lib.check_algorithm(make_experiment(file=str(file), eval_q_bias=True))

    with pytest.raises(UsageError, match=r"not \(critics, batch\).*values\(output, config\)"):
        check("")
    check("values = categorical.mean")
    with pytest.raises(UsageError, match=r"values: .*its signature must be \(output, config\)"):
        check("values = lambda output: output")


def test_without_evaluations_it_is_refused(capsys, tmp_path):
    own = flags(episodes_per_eval=0, logdir=tmp_path / "run")
    code, _, error = run(capsys, "train", *own, "--eval_q_bias")
    assert code == 2
    assert "raise episodes_per_eval or leave eval_q_bias out" in error
    assert not (tmp_path / "run").exists()
