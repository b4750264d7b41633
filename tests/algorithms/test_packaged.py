"""`--losses`: packaged algorithms, what is remembered of them, and files that are none."""

import hashlib
import json
import pathlib
from itertools import pairwise
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.cli import run
from helpers.networks import NETWORKS, batch, real_batch, state
from helpers.probes import GAMMA, Probe, trained
from helpers.runs import SMALL, make_experiment, scalars

from mjx_sac.algorithms import PACKAGED, base, loader
from mjx_sac.config import Config, UsageError
from mjx_sac.losses import Losses
from mjx_sac.policy.policy import load_policy
from mjx_sac.runs import stored_policy
from mjx_sac.runs.resolve import attach, resolve
from mjx_sac.training.host import train as train_lib

ALGORITHMS = {
    f"{name}.py": (pathlib.Path(loader.__file__).parent / f"{name}.py").read_text()
    for name in PACKAGED
}
"""The packaged algorithms, as files of a user's."""
FLAGS = [
    f"--{name}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in SMALL.items()
]
MINE = """
import mjx_sac
from mjx_sac import networks as parts
from mjx_sac.losses import critic_loss

class Config(mjx_sac.Config):
    weight: float = 2.0
    tau: float = 0.25

def networks(config, action_size):
    return parts.make(config.model_copy(update={"hidden_sizes": (3, 5)}), action_size)

def critic(params, state, batch, key, *, networks, config):
    loss, metrics = critic_loss(params, state, batch, key, networks=networks, config=config)
    return config.weight * loss, {**metrics, "train/weight": config.weight}

losses = mjx_sac.Losses(critic)
"""


def edit(old, new):
    assert old in MINE
    return MINE.replace(old, new)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A directory with the packaged algorithms, to be in."""
    monkeypatch.chdir(tmp_path)
    for name, text in ALGORITHMS.items():
        pathlib.Path(name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", ["td3.py", "redq.py"])
def test_values_and_the_best_action_are_learned(files, name):
    # Two steps, observed as 0 and 1; the second pays 1 - (a - 1/2)^2. Q(1, a) is that, Q(0) = gamma * max Q(1) = gamma.
    env = Probe(
        lambda o, a, n: (n == 1) * (1 - jnp.square(a - 0.5)),
        steps=2,
        observe=lambda start, n: jnp.float32(n),
    )
    flags = {
        "updates_per_iteration": 1,
        "policy_delay": 2,
        "log_interval": 2304,
        "iterations": 2304,
    }
    q, policy = trained(env, file=name, **flags)
    assert [q(0.0, 0.0), q(1.0, 0.5), q(1.0, -0.5)] == pytest.approx([GAMMA, 1.0, 0.0], abs=0.15)
    assert policy(1.0) == pytest.approx(0.5, abs=0.15)


def test_a_small_conservative_penalty_leaves_the_values_of_what_was_tried(files):
    # One step, so no bootstrap. The fixed point of w (softmax density / data density - 1) + Q - r = 0 is within a few w of r.
    # The temperature stays at 0.1: where nothing but one action is tried, the values of all others fall without end.
    env = Probe(lambda o, a, n: 1 - jnp.square(a - o / 2))
    flags = {
        "cql_weight": 0.02,
        "cql_actions": 4,
        "initial_alpha": 0.1,
        "log_interval": 2304,
        "iterations": 2304,
    }
    q, policy = trained(env, file="cql.py", **flags)
    assert [q(1.0, 0.5), q(-1.0, -0.5)] == pytest.approx([1.0, 1.0], abs=0.15)
    assert [policy(1.0), policy(-1.0)] == pytest.approx([0.5, -0.5], abs=0.2)


# Losses by hand.


class FixedActor:
    """Always the action 0.5, with log-probability `params`."""

    def apply(self, params, observation):
        action = jnp.full_like(observation, 0.5)
        return SimpleNamespace(
            mode=lambda: action,
            sample=lambda key: (action, jnp.full(observation.shape[:-1], params)),
        )


def critic_of(name, key=0, critics=(1.0, 2.0), targets=(3.0, 4.0), **overrides):
    found = loader.find(name)
    s = state(critics=critics, targets=targets).replace(target_actor_params=jnp.float32(0.0))
    settings = {
        "networks": NETWORKS._replace(actor=FixedActor()),
        "config": found.config_class(**{**SMALL, **overrides}),
    }
    return found.losses.critic(s.critic_params, s, batch(), jax.random.PRNGKey(key), **settings)


def test_td3_targets_are_smoothed_within_their_bound(files):
    # Q'(0.5, 0.5 + noise) = 3 (1 + noise), noise cut off at 0.1: y = 1 + 0.9 * (3 +- 0.3), without noise 3.7. Q = (2, 2).
    errors = [
        float(critic_of("td3.py", key, (1.0, 1.0), target_noise=100.0, target_noise_clip=0.1)[0])
        for key in range(8)
    ]
    y = {round(2 + (error / 2) ** 0.5, 3) for error in errors}
    assert y == {round(1 + 0.9 * 2.7, 3), round(1 + 0.9 * 3.3, 3)}
    assert float(critic_of("td3.py", 0, (1.0, 1.0), target_noise=0.0)[0]) == pytest.approx(
        2 * (3.7 - 2) ** 2, rel=1e-5
    )


def test_redq_targets_take_the_minimum_over_a_random_pair(files):
    # Ten target critics i * (0.5 + 0.5) = i: y = 1 + 0.9 (min + 0.5 * 2). The minimum of a random pair of 0 to 9 is never 9, and
    # 11 / 3 - 1 = 2.67 in the mean. Q = 0, so the loss is 10 y^2 / 2.
    losses = [
        float(critic_of("redq.py", key, (0.0,) * 10, tuple(range(10)))[0]) for key in range(200)
    ]
    minima = [((loss / 5) ** 0.5 - 1) / 0.9 - 1 for loss in losses]
    assert {round(m, 3) for m in minima} == set(range(9))
    assert np.mean(minima) == pytest.approx(8 / 3, abs=0.5)


def test_cql_penalty(files):
    # With Q = 0 everywhere each uniform action weighs 1 / density = 2, each of the policy's exp(2): the gap is
    # log((2 + e^2) / 2) for each of two critics. It is nothing where the weight is.
    loss, metrics = critic_of("cql.py", critics=(0.0, 0.0), cql_weight=3.0)
    penalty = 3 * 2 * np.log((2 + np.e**2) / 2)
    assert float(metrics["train/cql_penalty"]) == pytest.approx(penalty, rel=1e-5)
    assert float(loss - metrics["train/critic_loss"]) == pytest.approx(penalty, rel=1e-5)


def test_a_delayed_actor_moves_with_its_target_and_all_of_its_optimizer():
    agent = make_experiment(
        policy_delay=2, target_delay=2, tau=0.25, losses=Losses(target_actor=True)
    )
    static = {"networks": agent.networks, "config": agent.config, "losses": agent.losses}
    history = [base.init(jax.random.PRNGKey(0), 2, 1, **static)]
    update = jax.jit(
        lambda train, key: base.update(train, real_batch(agent.config), key, **static)[0]
    )
    for i in range(4):
        history.append(update(history[-1], jax.random.split(jax.random.PRNGKey(i))))
    flat = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])  # noqa: E731
    actors = [
        flat((t.actor_params, t.actor_optimizer, t.log_alpha, t.alpha_optimizer)) for t in history
    ]
    assert [np.array_equal(a, b) for a, b in pairwise(actors)] == [True, False, True, False]
    assert [int(t.actor_optimizer[0].count) for t in history] == [0, 0, 1, 1, 2]
    params, targets = (
        [flat(t.actor_params) for t in history],
        [flat(t.target_actor_params) for t in history],
    )
    np.testing.assert_array_equal(targets[1], params[0])
    np.testing.assert_allclose(targets[2], 0.75 * targets[0] + 0.25 * params[2], atol=1e-6)
    np.testing.assert_array_equal(targets[3], targets[2])


# What is remembered.


def train(capsys, *flags):
    return run(capsys, "train", *FLAGS, "--logdir", "run", *flags)


def test_a_run_goes_on_with_the_losses_it_began_with(files, capsys):
    mine = pathlib.Path("mine.py")
    mine.write_text(MINE)
    assert train(capsys, "--iterations=64", "--losses=mine.py", "--weight=3")[0] == 0
    kwargs = json.loads(pathlib.Path("run/kwargs.json").read_text())
    assert (kwargs["config"]["losses"], kwargs["config"]["weight"], kwargs["config"]["tau"]) == (
        "mine.py",
        3.0,
        0.25,
    )
    assert kwargs["losses_sha256"] == hashlib.sha256(MINE.encode()).hexdigest()

    on = {"logdir": "run", "env": "counter", "iterations": 96}
    assert not attach(resolve(on)).edited
    mine.write_text(MINE + "# a thought\n")
    code, out, err = train(capsys, "--iterations=96", "--weight=4")
    assert code == 0, err
    assert "mine.py has changed since run was saved" in out
    assert "weight 3.0 -> 4.0" in out
    assert scalars("run")["train/weight"] == {64: 3.0, 96: 4.0}
    assert not attach(resolve(on)).edited

    policy = load_policy("run")
    assert policy.config.weight == 4.0
    assert policy.networks.actor.hidden_sizes == (3, 5)
    assert policy.predict(np.zeros((7, 2)))[0].shape == (7, 1)

    mine.unlink()
    code, _, err = train(capsys, "--iterations=128")
    assert (code, err.count("\n")) == (2, 1)
    assert "losses = 'mine.py': No such file" in err
    assert stored_policy.find("run").iterations == 96  # which does not need the file
    with pytest.raises(UsageError, match=r"'mine.py': No such file"):
        load_policy("run")


def test_a_module_and_an_attribute(files, monkeypatch):
    pathlib.Path("my_module.py").write_text(MINE.replace("losses = mjx", "heavy = mjx"))
    config = resolve({**SMALL, "losses": "my_module:heavy"})
    assert (config.weight, config.tau) == (2.0, 0.25)
    assert loader.load(config).losses.critic.__name__ == "critic"
    assert (
        loader.sha256("my_module:heavy")
        == hashlib.sha256(pathlib.Path("my_module.py").read_bytes()).hexdigest()
    )
    assert resolve(SMALL, config_class=type(config)).losses is None


def test_a_toml_file_names_losses_and_their_hyperparameters(files):
    pathlib.Path("mine.py").write_text(MINE)
    pathlib.Path("mine.toml").write_text('losses = "mine.py"\nweight = 7.0\n')
    assert resolve(SMALL, config_file="mine.toml").weight == 7.0
    pathlib.Path("mine.toml").write_text('losses = "mine.py"\nwieght = 7.0\n')
    with pytest.raises(UsageError, match=r"wieght: no such hyperparameter; did you mean weight\?"):
        resolve(SMALL, config_file="mine.toml")


def test_a_files_own_defaults_come_before_packaged_ones(files):
    pathlib.Path("mine.py").write_text(edit("tau: float = 0.25", "warm_up_steps: int = 123"))
    config = resolve({"env": "ant", "losses": "mine.py", "logdir": "new"})
    assert (config.warm_up_steps, config.target_entropy) == (123, -4.0)


def test_help_shows_the_flags_of_the_file(files, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(capsys, "train", "--losses", "redq.py", "--help")
    assert code == 0
    assert "target critics (default 2)" in out
    assert "gradient steps per transition collected (default 20.0)" in out
    code, _, err = run(capsys, "train", "--losses=redq.py", "--target_critic", "3")
    assert code == 2
    assert "did you mean --target_critics?" in err


def test_a_configuration_without_the_hyperparameters_is_refused(files):
    with pytest.raises(
        UsageError,
        match=r"losses = 'td3.py': needs a configuration with exploration_noise, .*mjx_sac.resolve",
    ):
        train_lib.train(Config(**SMALL, losses="td3.py"))
    assert not list(files.glob("run*"))


BAD = {
    "missing": (None, ["No such file"]),
    "no_python": ("import mjx_sac\nlosses = (\n", ["line 2: SyntaxError: '(' was never closed"]),
    "no_module": (
        "\n\nimport nosuchmodule\n",
        ["line 3: ModuleNotFoundError: No module named 'nosuchmodule'"],
    ),
    "exits": ("import sys\nsys.exit(7)\n", ["line 2: SystemExit: 7"]),
    "raises": (
        "def f():\n    return 1 / 0\nf()\n",
        ["line 2: ZeroDivisionError: division by zero"],
    ),
    "no_losses": ("import mjx_sac\n", ["`losses` is no such name", "losses = mjx_sac.Losses("]),
    "our_module": ("from mjx_sac import losses\n", ["`losses` is no such name"]),
    "a_tuple": (edit("mjx_sac.Losses(critic)", "(critic,)"), ["`losses` is a tuple"]),
    "misses_one": (
        edit("Losses(critic)", "Losses(critic, None)"),
        ["actor: None is not a callable object"],
    ),
    "signature": (
        edit("batch, key, *", "batch, *"),
        ["critic: too many positional arguments", "(params, state, batch, key, *,"],
    ),
    "no_config": (
        edit("*, networks, config", "*, networks"),
        ["critic: got an unexpected keyword argument 'config'"],
    ),
    "config": (
        edit("class Config(mjx_sac.Config)", "class Config"),
        ["`Config` is no subclass of mjx_sac.Config"],
    ),
    "networks": (
        edit("networks(config, action_size)", "networks(config)"),
        ["networks: too many positional arguments"],
    ),
    "factory": (
        edit("parts.make(", "parts.build("),
        ["line 11: AttributeError", "no attribute 'build'"],
    ),
    "no_networks": (
        edit(
            "networks(config, action_size):\n    return",
            "networks(config, action_size):\n    return 0,",
        ),
        ["returns a tuple"],
    ),
    "actions": (
        edit("(3, 5)}), action_size", "(3, 5)}), 2"),
        ["the actor's actions have shape (8, 2), not (8, 1)"],
    ),
    "inside": (
        edit("config.weight * loss", "config.wieght * loss"),
        ["line 15: AttributeError", "wieght"],
    ),
    "vector": (
        edit("config.weight * loss", "batch.reward"),
        ["Gradient only defined for scalar-output"],
    ),
    "no_metrics": (edit(', {**metrics, "train/weight": config.weight}', ""), ["TypeError"]),
    "metric": (
        edit('"train/weight": config.weight', '"train/weight": "heavy"'),
        ["TypeError", "train/weight"],
    ),
    "empty_metric": (
        edit('"train/weight": config.weight', '"train/weight": batch.reward[:0]'),
        ["metric train/weight has shape (0,)"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_exit_2_and_nothing_written(tmp_path, monkeypatch, capsys, name):
    text, words = BAD[name]
    monkeypatch.chdir(tmp_path)
    if text is not None:
        pathlib.Path(f"{name}.py").write_text(text)
    code, _, err = train(capsys, f"--losses={name}.py")
    assert (code, err.count("\n")) == (2, 1), err
    assert all(word in err for word in [f"losses = '{name}.py': ", *words]), err
    assert [path.name for path in tmp_path.iterdir() if path.name != f"{name}.py"] == []


@pytest.mark.parametrize("name", ["no.such.module:losses", "nothing_like_it:losses", "json:losses"])
def test_a_bad_module_is_one_line(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    code, _, err = train(capsys, f"--losses={name}")
    assert (code, err.count("\n")) == (2, 1), err
    assert f"losses = '{name}': " in err
