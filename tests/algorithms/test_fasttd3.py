"""FastTD3 against the authors' code, and its exploration noise by NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import recorded

from mjx_sac.algorithms import fasttd3
from mjx_sac.algorithms.base import Algorithm
from mjx_sac.algorithms.td3 import Deterministic
from mjx_sac.config import UsageError
from mjx_sac.networks import Networks
from mjx_sac.runs.resolve import resolve
from mjx_sac.types import TrainState, Transition

pytestmark = pytest.mark.smoke

CONFIG = fasttd3.Config(
    hidden_sizes=(16, 8, 4), critic_widths=(32, 16, 8), atoms=21, v_min=-2, v_max=2,
    target_noise=0.2, target_noise_clip=0.25, batch_size=32,
)  # fmt: skip
ALGORITHM = Algorithm(fasttd3.losses, fasttd3.networks, fasttd3.optimizers)
STATIC = {"networks": fasttd3.networks(CONFIG, 3), "config": CONFIG, "algorithm": ALGORITHM}

THEIRS = recorded.load("fasttd3")
"""Ten gradient steps of younggyoseo/FastTD3 at 229ed59b on PyTorch, from perturbed weights; at a
discount of 0.99 and with wider noise of targets than released."""

LAYERS = {"Join_0": "net.0", "Dense_0": "net.2", "Dense_1": "fc_head.0"}
HEADS = {"actor": "fc_mu.0", "critic": "fc_head.2"}


def their_array(when, network, path):
    """Return the authors' array for one of our parameters."""
    layer, leaf = path[-2:]
    name = LAYERS.get(layer) or HEADS[network]
    critics = ("qnet1.", "qnet2.") if network == "critic" else ("",)
    end = "weight" if leaf == "kernel" else "bias"
    found = np.stack([THEIRS[f"{when}/{critic}{name}.{end}"] for critic in critics])
    if leaf == "kernel" and layer != "Head_0":  # which is kept as PyTorch keeps all
        found = np.swapaxes(found, -1, -2)
    return found if network == "critic" else found[0]


def test_ten_gradient_steps_are_the_authors():
    recorded.check(
        THEIRS,
        their_array,
        within=recorded.all_within(1e-6, "log_alpha"),
        moved={"actor_params": 1e-3},
        rtol=1e-5,
        **STATIC,
    )


class Given:
    """Critics that return their parameters: logits [critics, batch, atoms], at any input."""

    def apply(self, params, observation, action):
        del observation, action
        return params


def losses_of_given(clipped_double_q):
    """Return both losses for two critics in six rows; their logits, the targets', and rewards."""
    random = np.random.default_rng(0)
    now, then = (random.normal(0, 2, (2, 6, 5)).astype(np.float32) for _ in range(2))
    shape = {"atoms": 5, "v_min": -1, "v_max": 3, "clipped_double_q": clipped_double_q}
    config = CONFIG.model_copy(update=shape)
    actor = fasttd3.networks(config, 1).actor
    rows, reward = jnp.ones((6, 1)), random.normal(0, 1, 6).astype(np.float32)
    batch = Transition(rows, rows, jnp.asarray(reward), jnp.full(6, 0.9), rows)
    state = TrainState(
        actor_params=actor.init(jax.random.PRNGKey(0), rows),
        critic_params=jnp.asarray(now),
        target_critic_params=jnp.asarray(then),
        log_alpha=jnp.float32(0),
        actor_optimizer=None, critic_optimizer=None, alpha_optimizer=None,
        since_target_update=jnp.int32(0),
    )  # fmt: skip
    args = state, batch, jax.random.PRNGKey(1)
    static = {"networks": Networks(actor, Given()), "config": config}
    critic, _ = fasttd3.critic(state.critic_params, *args, **static)
    acted, _ = fasttd3.actor(state.actor_params, *args, **static)
    return float(critic), float(acted), now, then, reward


@pytest.mark.parametrize("clipped", [True, False])
def test_one_target_for_both_critics_or_one_each(clipped):
    critic, acted, now, then, reward = losses_of_given(clipped)
    atoms = np.arange(-1, 4)
    softmax = lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)  # noqa: E731
    projected = np.zeros((2, 6, 5))
    for which, row, atom in np.ndindex(2, 6, 5):
        where = min(max(reward[row] + 0.9 * atoms[atom], -1), 3) + 1
        below = min(int(where), 3)
        share = softmax(then)[which, row, atom] * np.array([1 - where + below, where - below])
        projected[which, row, below : below + 2] += share
    if clipped:
        smallest = (projected @ atoms).argmin(0)
        assert set(smallest) == {0, 1}, "each critic counts in some row"
        projected[:] = projected[smallest, np.arange(6)]
    expected = -(projected * np.log(softmax(now))).sum(-1).mean(-1).sum()
    assert critic == pytest.approx(expected, rel=1e-5)
    values = softmax(now) @ atoms
    value = (values.min(0) if clipped else values.mean(0)).mean()
    assert acted == pytest.approx(-value, rel=1e-5)


def test_deviations_last_for_an_episode():
    config = CONFIG.model_copy(update={"std_min": 0.1, "std_max": 0.5})
    random = np.random.default_rng(0)
    started = random.random((400, 50)) < 0.2
    started[0] = True
    mean = random.normal(0, 0.3, (50, 2)).astype(np.float32)
    policy = Deterministic(jnp.asarray(mean), jnp.float32(0))
    keys = jax.random.split(jax.random.PRNGKey(1), 400)

    def step(std, inputs):
        action, std = fasttd3.explore.act(policy, std, *inputs, config)
        return std, (action, std)

    first = fasttd3.explore.init(jax.random.PRNGKey(0), 50, 2, config)
    _, (action, std) = jax.lax.scan(step, first, (jnp.asarray(started), keys))
    action, std = np.asarray(action), np.asarray(std)[..., 0]
    changed = np.diff(std, axis=0) != 0
    np.testing.assert_array_equal(changed, started[1:])
    drawn = np.sort(std[started])
    assert (drawn[0] >= 0.1, drawn[-1] < 0.5) == (True, True)
    # The Kolmogorov-Smirnov distance to an even distribution: above 1.95 once in a thousand.
    steps = np.arange(1, len(drawn) + 1) / len(drawn)
    assert np.abs((drawn - 0.1) / 0.4 - steps).max() * len(drawn) ** 0.5 < 1.95
    assert np.abs(np.corrcoef(std[0], std[-1])[0, 1]) < 0.4, "environments draw apart"
    noise = (action - np.tanh(mean)) / std[..., None]
    inside = np.abs(action) < 1
    assert [noise[inside].mean(), noise[inside].std()] == pytest.approx([0, 1], abs=0.1)
    assert np.abs(action).max() == 1, "actions are cut"


def test_deviations_must_ascend():
    message = "std_min 0.5 is not below std_max 0.4: lower std_min or raise std_max"
    with pytest.raises(UsageError, match=message):
        resolve({"env": "counter", "algorithm": "fasttd3", "std_min": 0.5})
