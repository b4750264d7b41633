"""The packaged algorithms: their losses by hand, what they learn, and their flags."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.cli import run
from helpers.networks import NETWORKS, batch, state
from helpers.probes import GAMMA, Probe, trained
from helpers.runs import SMALL, flags

from mjx_sac.algorithms import PACKAGED, loader
from mjx_sac.policy.policy import load_policy

SHORT = {"log_interval": 2304, "iterations": 2304}
# At the probes' 3e-3 its actor is in tanh's tail before the critics know better.
TQC = {"critic_widths": (32, 32), "num_critics": 2, "quantiles": 5, "dropped_quantiles": 1}
CROSSQ = {"actor_widths": (16,), "critic_widths": (32, 32), "policy_lr": 1e-3, "q_lr": 1e-3}


@pytest.mark.parametrize(
    ("name", "shape"),
    [("td3", {}), ("redq", {}), ("crossq", CROSSQ), ("tqc", TQC)],
)
def test_values_and_the_best_action_are_learned(name, shape):
    # Two steps, observed as 0 and 1; the second pays 1 - (a - 1/2)^2. Q(1, a) is that, and
    # Q(0) = gamma * max Q(1) = gamma.
    env = Probe(
        lambda o, a, n: (n == 1) * (1 - jnp.square(a - 0.5)),
        steps=2,
        observe=lambda start, n: jnp.float32(n),
    )
    settings = {"updates_per_iteration": 1, "policy_delay": 2, **shape, **SHORT}
    q, policy = trained(env, file=name, **settings)
    assert [q(0.0, 0.0), q(1.0, 0.5), q(1.0, -0.5)] == pytest.approx([GAMMA, 1.0, 0.0], abs=0.15)
    assert policy(1.0) == pytest.approx(0.5, abs=0.15)


def test_a_small_conservative_penalty_leaves_what_was_tried():
    # One step, so no bootstrap. The fixed point of w (softmax density / data density - 1) + Q - r
    # = 0 is within a few w of r. The temperature stays at 0.1: where nothing but one action is
    # tried, the values of all others fall without end.
    env = Probe(lambda o, a, n: 1 - jnp.square(a - o / 2))
    weights = {"cql_weight": 0.02, "cql_actions": 4, "initial_alpha": 0.1}
    q, policy = trained(env, file="cql", **weights, **SHORT)
    assert [q(1.0, 0.5), q(-1.0, -0.5)] == pytest.approx([1.0, 1.0], abs=0.15)
    assert [policy(1.0), policy(-1.0)] == pytest.approx([0.5, -0.5], abs=0.2)


def critic_loss(name, key=0, critics=(1.0, 2.0), targets=(3.0, 4.0), **overrides):
    found = loader.find(name)
    s = state(critics=critics, targets=targets).replace(target_actor_params=jnp.float32(0.0))
    config = found.config_class(**{**SMALL, **overrides})
    args = (s.critic_params, s, batch(), jax.random.PRNGKey(key))
    return found.algorithm.losses.critic(*args, networks=NETWORKS, config=config)


def test_td3_targets_are_smoothed_within_their_bound():
    # Q'(0.5, 0.5 + noise) = 3 (1 + noise), noise cut off at 0.1: y = 1 + 0.9 * (3 +- 0.3), without
    # noise 3.7. Q = (2, 2).
    noisy = {"critics": (1.0, 1.0), "target_noise": 100.0, "target_noise_clip": 0.1}
    losses = [float(critic_loss("td3", key, **noisy)[0]) for key in range(8)]
    y = {round(2 + (loss / 2) ** 0.5, 3) for loss in losses}
    assert y == {round(1 + 0.9 * 2.7, 3), round(1 + 0.9 * 3.3, 3)}
    without = float(critic_loss("td3", critics=(1.0, 1.0), target_noise=0.0)[0])
    assert without == pytest.approx(2 * (3.7 - 2) ** 2, rel=1e-5)


def test_redq_targets_take_the_minimum_of_a_random_pair():
    # Ten target critics i * (0.5 + 0.5) = i: y = 1 + 0.9 (min + 0.5 * 2). The minimum of a random
    # pair of 0 to 9 is never 9, and 11 / 3 - 1 = 2.67 in the mean. Q = 0: the loss is 10 y^2 / 2.
    critics = {"critics": (0.0,) * 10, "targets": tuple(range(10))}
    losses = [float(critic_loss("redq", key, **critics)[0]) for key in range(200)]
    minima = [((loss / 5) ** 0.5 - 1) / 0.9 - 1 for loss in losses]
    assert {round(m, 3) for m in minima} == set(range(9))
    assert np.mean(minima) == pytest.approx(8 / 3, abs=0.5)


def test_cql_penalty():
    # With Q = 0 everywhere each uniform action weighs 1 / density = 2, each of the policy's exp(2):
    # the gap is log((2 + e^2) / 2) for each of two critics.
    loss, metrics = critic_loss("cql", critics=(0.0, 0.0), cql_weight=3.0)
    penalty = 3 * 2 * np.log((2 + np.e**2) / 2)
    assert float(metrics["train/cql_penalty"]) == pytest.approx(penalty, rel=1e-5)
    assert float(loss - metrics["train/critic_loss"]) == pytest.approx(penalty, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("td3", "exploration noise (default 0.1)"),
        ("redq", "target critics (default 2)"),
        ("cql", "cql weight (default 1.0)"),
    ],
)
def test_help_shows_an_algorithms_flags(name, flag, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(capsys, "train", "--algorithm", name, "--help")
    assert code == 0
    assert flag in out
    assert name in PACKAGED


def test_an_algorithm_trains_and_resumes_by_its_name(tmp_path, capsys):
    command = ("train", *flags(logdir=tmp_path / "run"))
    short = ("--iterations=64", "--algorithm=td3", "--target_noise=0.3")
    assert run(capsys, *command, *short)[0] == 0
    code, out, err = run(capsys, *command, "--iterations=96")  # which remembers the algorithm
    assert code == 0, err
    assert "at 64 iterations, iterations 64 -> 96" in out
    policy = load_policy(tmp_path / "run")
    config = policy.config
    assert (policy.iterations, config.algorithm, config.target_noise) == (96, "td3", 0.3)
    first, second = (policy.predict(np.zeros((7, 2)), deterministic=d)[0] for d in (True, False))
    assert np.abs(first - second).max() > 0, "exploration noise"
