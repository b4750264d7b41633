"""An algorithm that does not fit: one line before anything is compiled or written."""

import pathlib

import pytest
from helpers.cli import run
from helpers.runs import flags

from mjx_sac.config import UsageError
from mjx_sac.runs.resolve import resolve

pytestmark = pytest.mark.smoke

SIZES = {"batch_size": 8, "warm_up_steps": 32, "iterations": 128, "buffer_size": 64}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"atoms": 1}, "atoms = 1: Input should be greater than or equal to 2"),
        ({"v_min": 5.0}, "v_min 5 is not below v_max 5: lower v_min or raise v_max"),
        ({"v_max": -6.0}, "v_min -5 is not below v_max -6: lower v_min or raise v_max"),
        ({"max_return": 0.0}, "max_return = 0.0: Input should be greater than 0"),
        ({"num_blocks": 0}, "num_blocks = 0: Input should be greater than 0"),
        ({"noise_steps": 0}, "noise_steps = 0: Input should be greater than 0"),
        ({"final_lr": 1.5}, "final_lr = 1.5: Input should be less than or equal to 1"),
        ({"target_std": 0.0}, "target_std = 0.0: Input should be greater than 0"),
        ({"n_step": 65}, "n_step = 65: buffer_size 64 holds 64 transitions"),
        ({"atom": 7}, "atom: no such hyperparameter; did you mean atoms?"),
    ],
)
def test_numbers_that_do_not_fit(values, message):
    with pytest.raises(UsageError) as error:
        resolve({"env": "counter", "algorithm": "flashsac", **SIZES, **values})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_schedule_shorter_than_a_gradient_step(tmp_path):
    # 32 iterations at 1/128 are a quarter of a gradient step, and a schedule needs one.
    few = {"updates_per_iteration": "1/128", "iterations": 1280, "schedule_iterations": 32}
    config = resolve(
        {"env": "counter", "algorithm": "xqc", **SIZES, **few, "logdir": str(tmp_path)}
    )
    assert config.schedule_updates == 1


CATEGORICAL = """
from functools import partial
import jax, jax.numpy as jnp, optax
import mjx_sac
from mjx_sac import networks as parts
from mjx_sac.algorithms import base, batch_norm, categorical

Config = categorical.Config
losses = mjx_sac.Losses(*(lambda *args, loss=loss, **static: loss(*args, **static)[:2] for loss in (
    categorical.critic_loss, categorical.actor_loss, batch_norm.temperature_loss)))
"""
PLAIN = """
import jax, jax.numpy as jnp, optax
import mjx_sac
from mjx_sac import networks as parts
from mjx_sac.algorithms import base
from mjx_sac.types import Variables

losses = mjx_sac.Losses()
"""
NOISE = """
def start(key, num_envs, action_size, config):
    return jnp.zeros((num_envs, action_size))

def act(distribution, noise, started, key, config):
    return distribution.mode() + noise, noise

explore = base.Exploration(start, act)
"""
ONE_VALUE = """
from flax import linen as nn

class Critic(nn.Module):
    @nn.compact
    def __call__(self, observation, action):
        return nn.Dense(1)(jnp.concatenate([observation, action], axis=-1))[:, 0]

def networks(config, action_size):
    return parts.make(config, action_size)._replace(critic=Critic())
"""

BAD = {
    "scalars": (CATEGORICAL, ["ValueError: critics return 2 numbers for a row, not atoms = 101"]),
    # Their difference to the target would have a shape, and a mean.
    "one_value": (PLAIN + ONE_VALUE, ["critics return shape (8,), not (batch, critics)"]),
    "project_nothing": (
        f"{PLAIN}\ndef project(params):\n    jnp.zeros(())\n",
        ["ValueError: project makes ", "nothing, which was float32["],
    ),
    "project_shape": (
        f"{PLAIN}\nproject = lambda p: jax.tree.map(lambda x: x[..., None], p)\n",
        ["ValueError: project makes ", ", 1], which was float32["],
    ),
    "project_signature": (
        f"{PLAIN}\ndef project():\n    pass\n",
        ["project: too many", "(params)"],
    ),
    "project_fails": (
        f"{PLAIN}\ndef project(params):\n    return params.norm()\n",
        ["line 11: AttributeError"],
    ),
    "one_optimizer": (
        f"{PLAIN}\noptimizers = lambda config: optax.adam(config.q_lr)\n",
        ["TypeError: optimizers: returns a GradientTransformation", "no base.Optimizers"],
    ),
    "optimizers_fail": (
        f"{PLAIN}\ndef optimizers(config):\n    return optax.adam(config.lr)\n",
        ["line 11: AttributeError", "lr"],
    ),
    "optimizers_number": (f"{PLAIN}\noptimizers = 3\n", ["optimizers: 3 is not a callable object"]),
    "explore_function": (
        f"{PLAIN}\ndef explore(key):\n    pass\n",
        ["`explore` is a function", "Exploration(init=..., act=...)"],
    ),
    "explore_shape": (
        PLAIN + NOISE.replace("distribution.mode() + noise,", "noise[0],"),
        ["explore's actions have shape (1,), not (4, 1)"],
    ),
    "explore_state": (
        PLAIN + NOISE.replace("+ noise, noise", "+ noise, (noise, key)"),
        ["ValueError: explore makes ", "which was "],
    ),
    "explore_alone": (
        PLAIN + NOISE.replace("+ noise, noise", "+ noise"),
        ["ValueError: "],
    ),
    "update_state": (
        f"{PLAIN}\ndef update(state, batch, keys, *, networks, config, losses):\n"
        f"    return state.replace(log_alpha=jnp.zeros(3)), {{}}\n",
        ["a gradient step makes log_alpha float32[3], which was float32[]"],
    ),
    "augment_pair": (
        f"{PLAIN}\naugment = lambda batch, key: (batch.observation, batch.action)\n",
        ["TypeError: augment returns a tuple, no mjx_sac.types.Transition"],
    ),
    "augment_width": (
        f"{PLAIN}\naugment = lambda batch, key: batch._replace(action=batch.observation)\n",
        ["ValueError: augment makes action float32[8, 2], not float32[rows, 1]"],
    ),
    "augment_type": (
        f"{PLAIN}\naugment = lambda batch, key: batch._replace(reward=batch.reward > 0)\n",
        ["ValueError: augment makes reward bool[8], not float32[rows]"],
    ),
    "augment_rows": (
        f"{PLAIN}\naugment = lambda batch, key: batch._replace(reward=batch.reward[:3])\n",
        ["rows that do not belong together: 8 of observation, 8 of action, 3 of reward"],
    ),
    "augment_nothing": (
        f"{PLAIN}\naugment = lambda batch, key: jax.tree.map(lambda x: x[:0], batch)\n",
        ["rows that do not belong together: 0 of observation"],
    ),
    "augment_signature": (
        f"{PLAIN}\ndef augment(batch):\n    return batch\n",
        ["augment: too many", "(batch, key)"],
    ),
    "augment_fails": (
        f"{PLAIN}\ndef augment(batch, key):\n    return batch.mirrored()\n",
        ["line 11: AttributeError", "mirrored"],
    ),
    "variables": (
        PLAIN.replace("losses = mjx_sac.Losses()", "plain = mjx_sac.Losses()")
        + "def critic(*args, **static):\n"
        "    return *plain.critic(*args, **static), Variables(critic=jnp.zeros(2))\n"
        "losses = mjx_sac.Losses(critic)\n",
        ["a gradient step makes critic_variables float32[2], which was nothing"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_part_is_one_line_and_nothing_is_written(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text, words = BAD[name]
    pathlib.Path(f"{name}.py").write_text(text)
    code, _, err = run(capsys, "train", *flags(logdir="run"), f"--algorithm={name}.py")
    assert (code, err.count("\n")) == (2, 1), err
    assert all(word in err for word in [f"algorithm = '{name}.py': ", *words]), err
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.py"}
