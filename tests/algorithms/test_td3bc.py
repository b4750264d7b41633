"""TD3+BC's actor loss, and what it and CQL learn from recorded transitions alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.datasets import SPACES
from helpers.networks import NETWORKS, batch, state
from helpers.probes import Probe
from helpers.runs import make_experiment

from mjx_sac.algorithms import td3bc
from mjx_sac.runs.recorded import Episode, Recorded
from mjx_sac.training.compiled import acting, epoch, replay


def loss_of(params=-2.0, **settings):
    config = td3bc.Config(algorithm="td3bc", **settings)
    args = (jnp.float32(params), state(critics=(1.0, 2.0)), batch(), jax.random.PRNGKey(0))
    return td3bc.losses.actor(*args, networks=NETWORKS, config=config)


def test_the_actors_loss_by_hand():
    # a = 0.5 where the data did 1: (0.5 - 1)^2. The first critic says 1 * (1 + 0.5), which
    # lambda = 2.5 / 1.5 makes 2.5, whatever its scale.
    loss, metrics = loss_of()
    assert float(metrics["train/cloning_loss"]) == 0.25
    assert float(loss) == pytest.approx(0.25 - 2.5)
    assert float(loss_of(bc_alpha=1.0)[0]) == pytest.approx(0.25 - 1.0)


def test_no_gradient_reaches_lambda():
    class Actor:
        def apply(self, params, observation):
            return type("Chosen", (), {"mode": lambda _: params * jnp.ones_like(observation)})()

    def loss(action):
        args = action, state(critics=(2.0, 9.0)), batch(), jax.random.PRNGKey(0)
        how = {"networks": NETWORKS._replace(actor=Actor()), "config": td3bc.Config()}
        return td3bc.losses.actor(*args, **how)[0]

    # (a - 1)^2 - lambda 2 (1 + a) at 0.5 with lambda = 2.5 / 3: -1 - 2 * 2.5 / 3.
    assert float(jax.grad(loss)(jnp.float32(0.5))) == pytest.approx(-1 - 5 / 3)


@pytest.mark.parametrize("name", ["td3bc", "cql"])
def test_better_than_the_data_are(name):
    # One step that pays 1 - (a - o/2)^2. Uniform actions earn 1 - 1/3 - 1/4 in the mean.
    rng = np.random.default_rng(0)
    start, action = rng.choice([-1.0, 1.0], 512), rng.uniform(-1, 1, 512)
    reward = 1 - np.square(action - start / 2)
    episodes = [
        Episode(np.full((2, 1), o), np.array([[a]]), np.array([r]), terminated=True)
        for o, a, r in zip(start, action, reward, strict=True)
    ]
    data = Recorded.of(episodes, SPACES)
    assert data.mean_return() == pytest.approx(1 - 1 / 3 - 1 / 4, abs=0.05)
    settings = {
        "hidden_sizes": (32, 32), "batch_size": 64, "num_envs": 8, "log_interval": 2048,
        "iterations": 2048, "policy_lr": 3e-3, "q_lr": 3e-3, "tau": 0.05,
    }  # fmt: skip
    cql = {"cql_actions": 4, "cql_weight": 0.02, "initial_alpha": 0.1}
    own = cql if name == "cql" else {}
    env = Probe(lambda o, a, n: 1 - jnp.square(a - o / 2))
    offline = {"dataset": "mine-v0", "offline": True, "normalize_observations": False}
    experiment = make_experiment(env, file=name, **settings, **own, **offline)
    first = epoch.init(experiment, jax.random.PRNGKey(0))
    first = first.replace(dataset=jax.tree.map(jnp.asarray, replay.of_recorded(data)))
    last, _ = jax.jit(partial(epoch.epoch, experiment))(first)
    o = jnp.array([[-1.0], [1.0]])
    chosen = acting.distribution(last.train.actor, last.normalizer, o, **experiment.static).mode()
    assert float(jnp.mean(1 - jnp.square(chosen - o / 2))) > 0.9
