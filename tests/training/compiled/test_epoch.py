"""The compiled epoch: what it counts, when it learns, and that it is compiled once."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.envs import Counter, Reporting
from helpers.runs import make_experiment

from mjx_sac.config import UsageError
from mjx_sac.losses import Losses, critic_loss
from mjx_sac.training.compiled import epoch as epoch_lib
from mjx_sac.training.compiled.updates import AGENT_VMAP_AXIS


@pytest.fixture(scope="module")
def epochs():
    """Four epochs of eight vector steps, the first of which only warms up.

    Returns the experiment, the states before and after, metrics, and how often it was compiled
    and traced.
    """
    traces = []

    def counting_loss(*args, **kwargs):
        traces.append(1)
        return critic_loss(*args, **kwargs)

    experiment = make_experiment(losses=Losses(critic=counting_loss))
    epoch = jax.jit(partial(epoch_lib.epoch, experiment), donate_argnums=0)
    state = jax.jit(partial(epoch_lib.init, experiment))(jax.random.PRNGKey(0))
    states, metrics = [jax.device_get(jax.tree.map(jnp.copy, state))], []
    for _ in range(4):
        state, scalars = epoch(state)
        states.append(jax.device_get(jax.tree.map(jnp.copy, state)))
        metrics.append(jax.device_get(scalars))
    return experiment, states, metrics, epoch._cache_size(), len(traces)


def test_epoch_is_traced_and_compiled_once(epochs):
    *_, compiled, traces = epochs
    assert (compiled, traces) == (1, 1)


def test_networks_change_only_after_the_warm_up(epochs):
    _, states, metrics, *_ = epochs
    assert [int(m["trained_vector_steps"]) for m in metrics] == [0, 8, 8, 8]
    kernels = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(s.train)]) for s in states]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[1], kernels[2])
    assert int(states[2].train.actor_optimizer[0].count) == 32, "one gradient step per transition"


def run_epoch(experiment):
    """The first epoch."""
    state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    return jax.jit(partial(epoch_lib.epoch, experiment))(state)


def test_an_empty_buffer_is_not_learned_from():
    """One vector step of warm-up, and no step is ever finite."""
    experiment = make_experiment(env=Counter(breaks_at=1), warm_up_steps=4)
    state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    after, metrics = jax.jit(partial(epoch_lib.epoch, experiment))(state)
    assert (int(metrics["replay/size"]), int(metrics["trained_vector_steps"])) == (0, 0)
    jax.tree.map(np.testing.assert_array_equal, after.train, state.train)


def test_warm_up_actions_are_uniform_whatever_the_actor_wants():
    experiment = make_experiment()
    state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    eager = jax.tree.map(lambda x: x + 10.0, state.train.actor_params)  # its actions are all 1
    state = state.replace(train=state.train.replace(actor_params=eager))
    state, _ = jax.jit(partial(epoch_lib.epoch, experiment))(state)
    actions = np.sort(np.asarray(state.replay.action[:8]).ravel())
    # Kolmogorov and Smirnov: 32 uniform draws stay within 0.34 of their distribution in 99.9 %.
    assert np.max(np.abs((actions + 1) / 2 - (np.arange(32) + 0.5) / 32)) < 0.34


def test_a_reset_that_is_not_finite_spoils_nothing():
    class BadStart(Counter):
        def reset(self, key):
            state = super().reset(key)
            return state.replace(
                observation=jnp.where(state.observation[0] < 0.5, jnp.nan, state.observation)
            )

    experiment = make_experiment(env=BadStart())
    state, metrics = run_epoch(experiment)
    assert int(metrics["health/nonfinite_steps"]) > 0
    assert all(
        np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.replay, state.normalizer))
    )


def test_environments_that_start_together_start_apart():
    experiment = make_experiment(num_envs=64, reset_pool_size=2, log_interval=64)
    state, metrics = run_epoch(experiment)
    assert len(np.unique(state.episodes.env.observation[:, 0])) == 64
    assert float(metrics["health/reset_pool_uses"]) == 1.0, "each, once"


def test_the_epoch_reports_the_episodes_that_ended(epochs):
    # Five-step episodes of rewards 0..4, four environments: after 8 vector steps one each, after
    # 16 three each, after 24 four.
    _, states, metrics, *_ = epochs
    assert [int(m["rollout/episodes"]) for m in metrics] == [4, 8, 4, 8]
    # Begun: eight, the first four included; eight; four, and four at the start of the next.
    assert [float(m["health/reset_pool_uses"]) for m in metrics] == [1, 1, 0.5, 1], "of 8 states"
    assert [float(m["rollout/ep_rew_mean"]) for m in metrics] == [10.0] * 4
    assert [float(m["rollout/ep_len_mean"]) for m in metrics] == [5.0] * 4
    assert [int(m["replay/size"]) for m in metrics] == [32, 64, 64, 64], "the buffer holds 64"
    assert int(states[4].normalizer.count) == 128


def test_what_the_environment_reports_is_averaged_over_episodes():
    """Episodes of three steps: rewards 0, 1, 2, and 9, 8, 7 steps left to 10."""
    (plain, _), (state, metrics) = (
        run_epoch(make_experiment(env=kind(ends_at=3))) for kind in (Counter, Reporting)
    )
    rows = state.replay.row[:8], np.arange(4)
    starts = np.asarray(state.replay.observation[rows][..., 0])[state.replay.terminated[:8]]
    assert len(starts) == 8
    assert {tag: float(value) for tag, value in metrics["reported"].items()} == {
        "env/left": 8.0,
        "env/reward_half": 1.5,
        "rollout/success_rate": np.mean(starts < 0.5),
    }
    same = {"train", "replay", "normalizer"}  # nothing that is learned depends on it
    for name in same:
        jax.tree.map(np.testing.assert_array_equal, getattr(plain, name), getattr(state, name))


def test_what_is_not_finite_has_reported_nothing():
    _, metrics = run_epoch(make_experiment(env=Reporting(breaks_at=3)))
    assert np.isnan([*metrics["reported"].values()]).all(), "no episode ended otherwise"


def agents(*used):
    """Two agents, of whose eight initial states so many are used, and what draws others."""
    experiment = make_experiment(env=Drawing(), num_seeds=2, episode_length=1000)
    one = partial(epoch_lib.draw_initial_states, experiment)
    state = jax.vmap(lambda _: experiment.episodes.init())(jnp.arange(2))
    state = state.replace(ended=state.ended & False, pool_next=jnp.array(used))
    keys = jax.random.split(jax.random.PRNGKey(0))
    drawn = jax.jit(jax.vmap(one, axis_name=AGENT_VMAP_AXIS))(state, keys)
    jax.effects_barrier()
    return drawn


class Drawing(Counter):
    """Notes every draw of an initial state."""

    draws = []

    def reset(self, key):
        jax.debug.callback(lambda: self.draws.append(1))
        return super().reset(key)


def test_initial_states_are_drawn_when_an_agent_needs_them():
    Drawing.draws.clear()
    kept = agents(3, 4)
    assert not Drawing.draws
    assert kept.pool_next.tolist() == [3, 4]
    drawn = agents(3, 5)
    assert Drawing.draws
    assert drawn.pool_next.tolist() == [3, 0]
    assert np.all(drawn.pool.observation[0, :, 0] == 0), "the first keeps what it has"
    assert len(np.unique(drawn.pool.observation[1, :, 0])) == 8


def test_initial_states_not_used_are_kept_for_the_next_epoch():
    """4 environments and 8 states: four are used in the first epoch, none in the next two."""
    experiment = make_experiment(episode_length=1000, log_interval=8)
    epoch, pools, uses = jax.jit(partial(epoch_lib.epoch, experiment)), [], []
    state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    for _ in range(3):
        state, metrics = epoch(state)
        pools.append(np.asarray(state.episodes.pool.observation))
        uses.append(float(metrics["health/reset_pool_uses"]))
    assert uses == [0.5, 0.5, 0.5]
    assert (pools[0] == pools[2]).all()
    assert len(np.unique(pools[0][:, 0])) == 8


def test_a_seed_decides_the_run(epochs):
    experiment, states, *_ = epochs
    epoch = jax.jit(partial(epoch_lib.epoch, experiment))
    for seed, equal in ((0, True), (1, False)):
        state, _ = epoch(epoch_lib.init(experiment, jax.random.PRNGKey(seed)))
        assert np.array_equal(state.replay.observation, states[1].replay.observation) is equal


def test_what_is_not_finite_is_never_stored_nor_averaged():
    experiment = make_experiment(env=Counter(breaks_at=3))
    state, metrics = run_epoch(experiment)
    # Every third step breaks: of eight vector steps two, in each of four environments.
    assert int(metrics["health/nonfinite_steps"]) == 8
    assert int(metrics["replay/size"]) == 32 - 8
    assert all(
        np.isfinite(leaf).all()
        for leaf in jax.tree.leaves((state.replay, state.normalizer, state.train))
    )


def test_several_updates_per_iteration_and_less_than_one():
    for ratio, updates in ((2.0, 8), (0.25, 1)):
        experiment = make_experiment(updates_per_iteration=ratio, warm_up_steps=0, log_interval=4)
        state, _ = run_epoch(experiment)
        assert int(state.train.critic_optimizer[0].count) == updates


def test_a_discount_of_zero_is_no_termination():
    """What is stored is what happened: the run may resume with another discount."""
    state, _ = run_epoch(make_experiment(env=Counter(ends_at=2), discount=0.0))
    np.testing.assert_array_equal(state.replay.terminated[:8, 0], [False, True] * 4)


def test_steps_beyond_an_episode_are_refused():
    """Five steps of the environment, each action held for two: three transitions."""

    def start(n_step):
        experiment = make_experiment(episode_length=5, action_repeat=2, n_step=n_step)
        return jax.eval_shape(partial(epoch_lib.init, experiment), jax.random.PRNGKey(0))

    start(n_step=3)
    with pytest.raises(UsageError, match=r"n_step = 4: .* 3 transitions: lower n_step to 3"):
        start(n_step=4)
