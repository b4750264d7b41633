"""What an algorithm is, and the default gradient step that its losses plug into."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, UInt32

from mjx_sac import networks as default_networks
from mjx_sac.config import Config
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks
from mjx_sac.networks.products import precision
from mjx_sac.types import Batch, Key, Metrics, Params, Scalar, TrainState


class Optimizers(NamedTuple):
    """How parameters move along their gradients."""

    actor: optax.GradientTransformation
    critic: optax.GradientTransformation
    alpha: optax.GradientTransformation


class Exploration(NamedTuple):
    """Exploration noise with a state of its own.

    Attributes:
      init: `(key, num_envs, action_size, config) -> state`.
      act: `(distribution, state, started, key, config) -> (action, state)` for the actor's
        distribution in every environment; `started` says in which of them an episode has just
        begun, in the first vector step in all. Outside training a policy samples or takes the mode
        as ever.
    """

    init: Callable[[Key, int, int, Any], Any]
    act: Callable[
        [Any, Any, Bool[Array, " num_envs"], Key, Any],
        tuple[Float[Array, "num_envs action"], Any],
    ]


def adam(config: Config) -> Optimizers:
    """Return Adam (Kingma and Ba, 2015, arXiv:1412.6980) at each learning rate."""
    return Optimizers(*map(optax.adam, (config.policy_lr, config.q_lr, config.alpha_lr)))


class Algorithm(NamedTuple):
    """What an algorithm's module may define, under the same names; soft actor-critic needs no more.

    Attributes:
      losses: what is minimised.
      networks: `(config, action_size)` -> actor and critics.
      optimizers: `(config)` -> how parameters move.
      project: a constraint on the parameters of actor and critics, applied to each when they have
        been made and after each of their steps.
      explore: how to act in training; without it actions are samples of the policy.
      augment: `(batch, key)` -> the batch to learn from, such as mirrored transitions beside the
        drawn ones: of any number of rows, each as large as those drawn. Called on transitions as
        the replay buffer has them, before observations are normalised and rewards scaled.
      values: `(output, config)` -> each critic's value [critics, batch], of what critics return.
      update: the whole gradient step, where losses are not enough, with the arguments of `update`
        but `algorithm` and `actor_moves`, and `losses`; returns the state and its metrics.
    """

    losses: Losses = Losses()
    networks: Callable[[Any, int], Networks] = default_networks.make
    optimizers: Callable[[Any], Optimizers] = adam
    project: Callable[[Params], Params] | None = None
    explore: Exploration | None = None
    augment: Callable[[Batch, Key], Batch] | None = None
    values: Callable[[Any, Any], Float[Array, "critics batch"]] = lambda q, _: q.T
    update: Callable[..., tuple[TrainState, Metrics]] | None = None

    def period(self, config: Config) -> int:
        """Return after how many gradient steps everything has moved."""
        return 1 if self.update else config.policy_delay


Measured = tuple[tuple[Metrics, Bool[Array, ""] | None], ...]
"""Metrics, and whether there was anything to measure; None where that is always."""

Move = Callable[[TrainState], tuple[TrainState, Metrics]]
"""A step of some networks, and its metrics."""


def init(
    key: Key,
    observation_size: int,
    action_size: int,
    *,
    networks: Networks,
    config: Config,
    algorithm: Algorithm,
) -> TrainState:
    """Return freshly initialised networks and optimizers; targets equal what they follow."""
    actor_key, critic_key = jax.random.split(key)
    observation, action = jnp.zeros((1, observation_size)), jnp.zeros((1, action_size))
    actor_params, actor_variables = split(networks.actor.init(actor_key, observation))
    critic_params, critic_variables = split(networks.critic.init(critic_key, observation, action))
    if algorithm.project:
        actor_params, critic_params = map(algorithm.project, (actor_params, critic_params))
    log_alpha = jnp.log(jnp.float32(config.initial_alpha))
    optimizers = algorithm.optimizers(config)
    # Copies, not aliases: the epoch donates its state, and one buffer cannot be donated twice.
    copy = partial(jax.tree.map, jnp.copy)
    return TrainState(
        actor_params=actor_params,
        critic_params=critic_params,
        target_critic_params=copy(critic_params) if algorithm.losses.target_critics else None,
        log_alpha=log_alpha,
        actor_optimizer=optimizers.actor.init(actor_params),
        critic_optimizer=optimizers.critic.init(critic_params),
        alpha_optimizer=optimizers.alpha.init(log_alpha),
        since_target_update=jnp.zeros((), jnp.int32),
        since_actor_update=jnp.zeros((), jnp.int32) if config.policy_delay > 1 else None,
        target_actor_params=copy(actor_params) if algorithm.losses.target_actor else None,
        actor_variables=actor_variables,
        critic_variables=critic_variables,
    )


def split(made: Any) -> tuple[Params, Any]:
    """Return what a module has made as trained parameters, and variables or None."""
    if not (isinstance(made, Mapping) and "params" in made):
        return made, None
    return {"params": made["params"]}, {k: v for k, v in made.items() if k != "params"} or None


def update(
    state: TrainState,
    batch: Batch,
    keys: UInt32[Array, "2 2"],
    *,
    networks: Networks,
    config: Config,
    algorithm: Algorithm,
    actor_moves: bool | None = None,
) -> tuple[TrainState, Measured]:
    """Take one gradient step: the critics', then the actor's on the new critics and alpha's.

    An algorithm's actor may come first. The batch has normalised observations. One key is for the
    actions that the critics' loss draws, one for the other two losses: splitting one here would
    cost another 2 % of the update on a CPU. `actor_moves` says whether this is the step of
    `policy_delay` on which actor and temperature move; None finds out, which costs a branch.
    """
    critic_key, actor_key = keys
    losses, static = algorithm.losses, {"networks": networks, "config": config}
    if algorithm.update:
        state, metrics = algorithm.update(state, batch, keys, losses=losses, **static)
        return state, ((metrics, None),)
    state, step = _share_counts(state), partial(_step, batch=batch, algorithm=algorithm, **static)

    def move(
        name: str, key: Key, with_alpha: bool, state: TrainState
    ) -> tuple[TrainState, Metrics]:
        # The temperature's loss is that of the actor which has acted, not of the one that moved.
        alpha, of_alpha = {}, {}
        if with_alpha:
            alpha, of_alpha = step(state, "alpha", key)
        moved, metrics = step(state, name, key)
        return state.replace(**{**alpha, **moved}), {**metrics, **of_alpha}

    critics = partial(move, "critic", critic_key, losses.alpha_with_critics)
    actor = partial(move, "actor", actor_key, not losses.alpha_with_critics)

    moving = partial(_move_actor, actor, config, losses.actor_first, actor_moves)
    if losses.actor_first:
        state, actor_metrics, moved = moving(state)
        state, metrics = critics(state)
    else:
        state, metrics = critics(state)
        state, actor_metrics, moved = moving(state)
    state = _update_targets(state, config)
    if config.policy_delay == 1:
        return state, (({**metrics, **(actor_metrics or {})}, None),)
    return state, ((metrics, None), *([(actor_metrics, moved)] if actor_metrics else []))


def _share_counts(state: TrainState) -> TrainState:
    """Return `state` with the counts of its optimizers read off one array.

    A GPU updates arrays of one shape by one kernel where they read the same array; where they read
    the same scalars XLA sees nothing to be gained.
    """
    names = ("critic_optimizer", "actor_optimizer", "alpha_optimizer")
    leaves, tree = jax.tree.flatten([getattr(state, name) for name in names])
    scalars = [i for i, x in enumerate(leaves) if x.shape == () and x.dtype == jnp.int32]
    if scalars:
        together = jax.lax.optimization_barrier(jnp.stack([leaves[i] for i in scalars]))
        for i, count in zip(scalars, together, strict=True):
            leaves[i] = count
    return state.replace(**dict(zip(names, jax.tree.unflatten(tree, leaves), strict=True)))


def _step(
    state: TrainState, name: str, key: Key, *, batch: Batch, algorithm: Algorithm, **static: Any
) -> tuple[dict[str, Any], Metrics]:
    """Move the parameters called `name` by a step; return the fields that moved, and metrics."""
    of_alpha = name == "alpha"
    field = "log_alpha" if of_alpha else f"{name}_params"
    loss: Any = algorithm.losses.temperature if of_alpha else getattr(algorithm.losses, name)

    def aux_loss(params: Params) -> tuple[Scalar, tuple[Metrics, Any]]:
        value, metrics, *variables = loss(params, state, batch, key, **static)
        return value, (metrics, variables)

    params = getattr(state, field)
    with precision(static["config"].matmul_precision):
        gradient, (metrics, variables) = jax.grad(aux_loss, has_aux=True)(params)
    optimizer = getattr(algorithm.optimizers(static["config"]), name)
    moments = getattr(state, f"{name}_optimizer")
    steps, moments = optimizer.update(gradient, moments, params)
    params = optax.apply_updates(params, steps)
    if algorithm.project and not of_alpha:
        params = algorithm.project(params)
    moved = {field: params, f"{name}_optimizer": moments}
    for own in variables:
        named = own._asdict().items()
        moved |= {f"{network}_variables": x for network, x in named if x is not None}
    return moved, metrics


def _move_actor(
    actor: Move, config: Config, first: bool, moves: bool | None, state: TrainState
) -> tuple[TrainState, Metrics | None, Bool[Array, ""] | None]:
    """Call `actor` where it `moves`; return whether metrics mean anything, too.

    None finds out: it does on the first or the last of `policy_delay` gradient steps.
    """
    if moves is False:
        return state, None, None
    if moves or config.policy_delay == 1:
        return (*actor(state), None)
    since: Any = state.since_actor_update
    # Not ==: a run may resume with a shorter delay.
    last = since + 1 >= config.policy_delay
    due = since == 0 if first else last
    own = "params", "variables", "optimizer"
    names = *(f"actor_{x}" for x in own), "critic_variables", "log_alpha", "alpha_optimizer"

    def move(state: TrainState) -> tuple[dict[str, Any], Metrics]:
        moved, metrics = actor(state)
        return {name: getattr(moved, name) for name in names}, metrics

    def stay(state: TrainState) -> tuple[dict[str, Any], Metrics]:
        blank = jax.tree.map(jnp.zeros_like, jax.eval_shape(move, state)[1])
        return {name: getattr(state, name) for name in names}, blank

    moved, metrics = jax.lax.cond(due, move, stay, state)
    return state.replace(**moved, since_actor_update=jnp.where(last, 0, since + 1)), metrics, due


def _update_targets(state: TrainState, config: Config) -> TrainState:
    """Return `state` with every target moved by tau towards what it follows.

    target += tau (parameters - target), every `target_delay` gradient steps.
    """
    since, tau = jnp.zeros((), jnp.int32), jnp.float32(config.tau)
    if config.target_delay > 1:
        since = state.since_target_update + 1
        due = since >= config.target_delay  # not ==: a run may resume with a shorter delay
        # Multiplied by zero, not branched over: on a GPU a conditional would wait for the host.
        since, tau = jnp.where(due, 0, since), jnp.where(due, tau, 0.0)
    if state.target_actor_params is not None:
        target = optax.incremental_update(state.actor_params, state.target_actor_params, tau)
        state = state.replace(target_actor_params=target)
    if state.target_critic_params is not None:
        target = optax.incremental_update(state.critic_params, state.target_critic_params, tau)
        state = state.replace(target_critic_params=target)
    return state.replace(since_target_update=since)
