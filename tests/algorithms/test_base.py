"""The default gradient step: its optimizers, and when targets and a delayed actor move."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.networks import NETWORKS, batch, real_batch, state, updated
from helpers.runs import make_config, make_experiment

from mjx_sac.algorithms import base
from mjx_sac.losses import Losses
from mjx_sac.types import Variables

pytestmark = pytest.mark.smoke


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def test_update_is_optax_adam_on_each_loss():
    # The same update by Optax: the critics' step, then actor and temperature on new critics.
    history, _ = updated(5, q_lr=1e-3, policy_lr=2e-3, alpha_lr=3e-3)
    experiment = make_experiment()
    config, networks, losses = experiment.config, experiment.networks, experiment.algorithm.losses

    def step(loss, params, optimizer, rate, state, key):
        own, batch = getattr(state, params), real_batch(config)
        gradient = jax.grad(loss, has_aux=True)(
            own, state, batch, key, networks=networks, config=config
        )[0]
        updates, moments = optax.adam(rate).update(gradient, getattr(state, optimizer))
        return {params: optax.apply_updates(own, updates), optimizer: moments}

    @jax.jit
    def by_optax(state, keys):
        args = ("critic_params", "critic_optimizer", 1e-3, state, keys[0])
        state = state.replace(**step(losses.critic, *args))
        actor = step(losses.actor, "actor_params", "actor_optimizer", 2e-3, state, keys[1])
        alpha = step(losses.temperature, "log_alpha", "alpha_optimizer", 3e-3, state, keys[1])
        targets = optax.incremental_update(
            state.critic_params, state.target_critic_params, config.tau
        )
        return state.replace(**actor, **alpha, target_critic_params=targets)

    for i, (before, after) in enumerate(pairwise(history)):
        expected = by_optax(before, jax.random.split(jax.random.PRNGKey(i)))
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), after, expected)


def test_targets_move_by_tau_every_target_delay_updates():
    history, _ = updated(4, target_delay=2, tau=0.25)
    targets = [flat(t.target_critic_params) for t in history]
    critics = [flat(t.critic_params) for t in history]
    np.testing.assert_array_equal(targets[1], targets[0])
    np.testing.assert_allclose(targets[2], 0.75 * targets[0] + 0.25 * critics[2], atol=1e-6)
    np.testing.assert_array_equal(targets[3], targets[2])
    np.testing.assert_allclose(targets[4], 0.75 * targets[2] + 0.25 * critics[4], atol=1e-6)


def test_a_shorter_target_delay_applies_to_a_longer_wait():
    experiment = make_experiment(target_delay=2)
    static = {**experiment.static, "algorithm": experiment.algorithm}
    waited = base.init(jax.random.PRNGKey(0), 2, 1, **static)
    waited = waited.replace(since_target_update=jnp.int32(3))
    batch, keys = real_batch(experiment.config), jax.random.split(jax.random.PRNGKey(0))
    train, _ = base.update(waited, batch, keys, **static)
    assert int(train.since_target_update) == 0


def test_each_learning_rate_drives_its_own_parameters():
    # Adam's first step has the length of the learning rate wherever there is a gradient.
    (before, after), _ = updated(1, policy_lr=1e-2, q_lr=1e-3, alpha_lr=1e-1)
    for name, rate in (("actor_params", 1e-2), ("critic_params", 1e-3), ("log_alpha", 1e-1)):
        step = np.abs(flat(getattr(after, name)) - flat(getattr(before, name))).max()
        assert step == pytest.approx(rate, rel=1e-2), name


def test_a_delayed_actor_moves_with_its_target_and_optimizer():
    losses = Losses(target_actor=True)
    history, _ = updated(4, losses, policy_delay=2, target_delay=2, tau=0.25)
    actors = [
        flat((t.actor_params, t.actor_optimizer, t.log_alpha, t.alpha_optimizer)) for t in history
    ]
    assert [np.array_equal(a, b) for a, b in pairwise(actors)] == [True, False, True, False]
    assert [int(t.actor_optimizer[0].count) for t in history] == [0, 0, 1, 1, 2]
    params = [flat(t.actor_params) for t in history]
    targets = [flat(t.target_actor_params) for t in history]
    np.testing.assert_array_equal(targets[1], params[0])
    np.testing.assert_allclose(targets[2], 0.75 * targets[0] + 0.25 * params[2], atol=1e-6)
    np.testing.assert_array_equal(targets[3], targets[2])


@pytest.mark.parametrize(("since", "moves"), [(0, None), (1, None), (0, True), (0, False)])
def test_variables_of_a_loss_are_kept_where_it_counts(since, moves):
    # On the last of two steps the actor's loss counts in the critics' variables, the temperature's
    # in the actor's.
    def actor(params, state, *_, **__):
        return params, {}, Variables(critic=state.critic_variables + 1)

    def temperature(params, state, *_, **__):
        return params, {}, Variables(actor=state.actor_variables + 1)

    flat = lambda params, *_, **__: (jnp.sum(params), {})  # noqa: E731
    algorithm = base.Algorithm(Losses(flat, actor, temperature))
    config = make_config(policy_delay=2)
    start = state()
    optimizers = {
        f"{name}_optimizer": getattr(algorithm.optimizers(config), name).init(params)
        for name, params in (
            ("actor", start.actor_params),
            ("critic", start.critic_params),
            ("alpha", start.log_alpha),
        )
    }
    counted = {name: jnp.float32(0) for name in ("critic_variables", "actor_variables")}
    counted["since_actor_update"] = jnp.int32(since)
    static = {"networks": NETWORKS, "config": config, "algorithm": algorithm}
    keys = jax.random.split(jax.random.PRNGKey(0))
    start = start.replace(**optimizers, **counted)
    after, _ = base.update(start, batch(), keys, actor_moves=moves, **static)
    for variables in (after.critic_variables, after.actor_variables):
        assert float(variables) == (since if moves is None else moves)
