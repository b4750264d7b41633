"""Load a trained policy from a checkpoint alone: no environment, no replay buffer."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from mjx_sac import envs
from mjx_sac.algorithms import loader
from mjx_sac.config import Config, UsageError, build, layered, ordinary_jax, staying
from mjx_sac.envs import views
from mjx_sac.envs.spaces import spaces as spaces_of
from mjx_sac.networks import Networks
from mjx_sac.policy import memory as memory_lib
from mjx_sac.policy.memory import ObservationError
from mjx_sac.runs import array_store, stored_policy
from mjx_sac.training.compiled import acting, history
from mjx_sac.training.compiled.normalizer import NormalizerState
from mjx_sac.types import Key, Params, named_leaves

_Own = tuple[Params, NormalizerState, Mapping[str, ArrayLike]]
"""Parameters, statistics and bounds, as arguments of a policy's compiled program."""


@dataclasses.dataclass(eq=False, repr=False)
class Policy:
    """A trained actor, from raw observations to actions within the environment's bounds.

    Attributes:
      config: what it was trained with.
      iterations: after how many.
      observation_size, action_size: how many numbers a flat one has.
      input_size: how many `apply` and exported files take: with `config.history` the observation
        and what was before, see `memory.inputs`.
      action_low, action_high: bounds of the flat action; -1 and 1 for environments in JAX.
      whole_numbers: actions are rounded, as the environment's are integers.
      spaces: shapes and types of observations and actions, see `envs.spaces`.
      actor_params: of `networks.actor`; new ones may be assigned at any time.
      normalizer: statistics of observations, used if `config.normalize_observations`; likewise.
    """

    config: Config
    iterations: int
    spaces: dict[str, Any]
    networks: Networks
    actor_params: Params
    normalizer: NormalizerState

    def __post_init__(self) -> None:
        action = self.spaces["action"]
        self.observation_size = self.normalizer.mean.shape[-1]
        self.action_size = math.prod(action["shape"])
        self.input_size = history.size(self.config.history, self.observation_size, self.action_size)
        self.action_low, self.action_high = np.asarray(action["low"]), np.asarray(action["high"])
        self.whole_numbers = np.dtype(action["dtype"]).kind in "iub"
        self._random = np.random.default_rng(self.config.seed)
        # Acting is cheap, so exact on every device: what is exported elsewhere equals it.
        self._exact = self.config.model_copy(update={"matmul_precision": "highest"})

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickles and copies have: all but the compiled program."""
        return {name: x for name, x in vars(self).items() if name != "_jitted"}

    @functools.cached_property
    def _jitted(self) -> Any:
        return jax.jit(self._remembering)

    def apply(self, observation: ArrayLike, key: Key | None = None) -> jax.Array:
        """Return actions, `[..., action_size]`, for raw observations, `[..., input_size]`.

        Pure, for use under `jit` and `vmap`. A `key` samples; without one they are deterministic.
        """
        return self._act(self._own, observation, key)

    def act(
        self, observation: ArrayLike, memory: Any = None, key: Key | None = None
    ) -> tuple[jax.Array, Any]:
        """Return actions for raw observations, `[..., observation_size]`, and the memory to hand
        over with the next ones: None where episodes begin, and ever where there is no history.

        Pure, as `apply`.
        """
        seen = jnp.asarray(observation, jnp.float32)
        return self._remembering(self._own, seen, memory, None, key)

    @property
    def _own(self) -> _Own:
        return self.actor_params, self.normalizer, self.bounds

    def _remembering(
        self, own: _Own, observation: jax.Array, memory: Any, started: Any, key: Key | None
    ) -> tuple[jax.Array, Any]:
        middle = own[-1]["middle"]
        begun = history.begin(observation, self.action_size, self.config.history, middle)
        if memory is None:
            memory = begun
        elif started is not None:
            memory = history.resume(memory, begun, started)
        seen = history.see(observation, memory)
        action = self._act(own, seen, key)
        return action, history.follow(seen, action, self.observation_size)

    def _act(self, own: _Own, observation: ArrayLike, key: Key | None) -> jax.Array:
        params, stats, bounds = own
        raw = jnp.asarray(observation, jnp.float32)
        if self.config.history > 1:
            center, factor = self.units
            raw = (raw - center) * factor
        static: Any = {"networks": self.networks, "config": self._exact}
        distribution = acting.distribution(params, stats, raw, **static)
        action = distribution.mode() if key is None else distribution.sample(key)[0]
        action = jnp.clip(bounds["middle"] + action * bounds["half"], bounds["low"], bounds["high"])
        return jnp.rint(action) if self.whole_numbers else action

    @property
    def statistics(self) -> NormalizerState:
        """`normalizer`, as statistics of what `apply` takes, with actions in [-1, 1]."""
        return history.statistics(self.normalizer, self.input_size, self.config.history)

    @functools.cached_property
    def units(self) -> tuple[np.ndarray, np.ndarray]:
        """See `memory.units`."""
        return memory_lib.units(self)

    @functools.cached_property
    def bounds(self) -> dict[str, np.ndarray]:
        """Return "low" and "high" of the flat action, and "middle" and "half" of its range.

        In float32, which has no 0.1: the ends are the nearest within the environment's bounds.
        """
        low, high = (np.asarray(x, np.float64) for x in (self.action_low, self.action_high))
        bounds = {"low": low, "high": high, "middle": (low + high) / 2, "half": (high - low) / 2}
        narrow = {name: bound.astype(np.float32) for name, bound in bounds.items()}
        for name, sign in (("low", 1), ("high", -1)):
            inner = np.nextafter(narrow[name], np.float32(sign * np.inf))
            beyond = sign * (bounds[name] - narrow[name]) > 0
            narrow[name] = np.where(beyond, inner, narrow[name])
        return narrow

    @ordinary_jax()
    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """Return (action, state), both NumPy's, by Stable-Baselines3's convention.

        Args:
          observation: one or a batch, flat or as the environment returns it, Dict and Tuple too.
          state: with `config.history` what was returned last, of the same episodes; else it is
            returned as it is, for the policy has no memory.
          episode_start: where an episode begins, of which `state` knows nothing: one or a batch.
          deterministic: False samples.

        Raises:
          ObservationError: it has another shape, or a number that is not finite; or `state` has, or
            is missing where no episode begins.
        """
        flat, space = self._flat(observation), self.spaces["action"]
        key = None if deterministic else self._random.integers(2**32, size=2, dtype=np.uint32)
        memory = None, None
        if self.config.history > 1:
            memory = memory_lib.check(self, state, episode_start, flat.shape[:-1])
        action, after = self._jitted(self._own, flat, *memory, key)
        state = state if after is None else np.asarray(after)
        # In float64, which has all bounds.
        action = np.clip(np.float64(action), self.action_low, self.action_high)
        return action.reshape((*flat.shape[:-1], *space["shape"])).astype(space["dtype"]), state

    def _flat(self, observation: Any) -> np.ndarray:
        structure = self.spaces["observation"]
        try:
            flat = _flatten(structure, observation)
        except (ValueError, TypeError, LookupError) as error:
            reason = f"without {error}" if isinstance(error, KeyError) else error
            named = isinstance(structure, dict)
            shape = (self.observation_size,) if named else tuple(structure)
            parts = f", or the parts {', '.join(structure)}" if named else ""
            batch = f"({', '.join(map(str, ('batch', *shape)))})"
            way_out = f"this policy takes shape {shape} or {batch}{parts}"
            raise ObservationError(f"observation: {reason}: {way_out}") from None
        bad = np.argwhere(~np.isfinite(flat)).tolist()
        if bad:
            first = f"observation = {flat[tuple(bad[0])]} at {bad[0]}"
            raise ObservationError(f"{first}: only finite numbers can be acted on")
        return flat


def _flatten(structure: Any, observation: Any) -> np.ndarray:
    """Return as `[..., size]` what has `structure`, or is flat already."""
    if isinstance(structure, dict) and isinstance(observation, Mapping | tuple):
        named = isinstance(observation, Mapping)
        items = observation.items() if named else enumerate(observation)
        found = {str(key): part for key, part in items}
        return np.concatenate([_flatten(x, found[key]) for key, x in structure.items()], axis=-1)
    array, size = np.asarray(observation, np.float32), _size(structure)
    shape = (size,) if isinstance(structure, dict) else tuple(structure)
    batch = array.shape[: max(array.ndim - len(shape), 0)]
    if array.shape == batch + shape:
        return array.reshape(*batch, size)
    if array.shape[-1:] == (size,):
        return array
    raise ValueError(f"shape {array.shape}")


def _size(part: Any) -> int:
    return sum(map(_size, part.values())) if isinstance(part, dict) else math.prod(part)


def place(policy: Policy, other: Mapping[str, Any]) -> tuple[Policy, Any]:
    """Return `policy` as it acts in an environment, and that: its own, or another of its sizes.

    `other` has fields of its configuration that are others here, or None. Another `env` has neither
    the options nor the randomized models of the one it was trained in.

    Raises:
      UsageError: there is no such environment, or it has other sizes.
    """
    other = {name: value for name, value in other.items() if value}
    trained = policy.config.model_dump()
    if "env" in other:
        trained |= {"env_options": {}, "domain_randomization": None}
    if seen := policy.spaces.get("views"):  # what the critics saw is not wanted
        fields = ("actor_observation", "critic_observation")
        trained |= dict.fromkeys(fields, seen["actor_observation"])
    config = build(type(policy.config), layered(trained, other))
    environment = envs.make(config.env, config)
    here, there = ((x.observation_size, x.action_size) for x in (environment, policy))
    if here != there:
        problem = f"an observation has {here[0]} numbers and an action {here[1]}"
        trained_with = f"the policy was trained with {there[0]} and {there[1]}"
        way_out = "choose another --env of the same task"
        raise UsageError(f"env = {config.env!r}: {problem}, {trained_with}: {way_out}")
    return dataclasses.replace(policy, config=config, spaces=spaces_of(environment)), environment


@ordinary_jax()
def load_policy(
    run: str | pathlib.Path,
    step: stored_policy.Which = None,
    *,
    seed_index: int | None = None,
    networks: Networks | None = None,
    edited_algorithm: bool = False,
) -> Policy:
    """Return the policy of a run's newest checkpoint, or the one that `step` says.

    Args:
      run: the run's directory, or `hub:user/name`.
      step: iterations of the checkpoint, or "best": the one with the highest mean return in an
        evaluation, each agent's own.
      seed_index: which of several agents, from 0; by default the best at the last evaluation.
      networks: those passed to `train`; by default those of its configuration or algorithm.
      edited_algorithm: execute the algorithm's file though it is not the recorded one.

    Raises:
      UsageError: there is no such run, checkpoint or agent, it is damaged, its algorithm's file is
        gone or another one, or it has other networks.
    """
    stored = stored_policy.find(run, step, edited_algorithm=edited_algorithm)
    config, index = stored_policy.choose_agent(stored, seed_index)
    try:
        arrays = dict(array_store.read(stored.path))
    except array_store.DamagedError as error:
        raise stored_policy.unusable(error, stored.directory, stored.path) from None
    if index is not None:
        arrays = {name: array[index] for name, array in arrays.items()}
    # Older checkpoints do not hold them.
    with staying():
        spaces = stored.manifest.get("spaces") or spaces_of(envs.make(config.env, config))
    action_size = math.prod(spaces["action"]["shape"])
    if networks is None:
        networks = loader.load(stored.config).networks(stored.config, action_size)
    stats = [jnp.asarray(arrays.pop(f"normalizer.{name}")) for name in ("count", "mean", "var")]
    if seen := spaces.get("views"):
        stats[1:] = (views.see(x, seen["actor"]) for x in stats[1:])
    seen = history.size(config.history, stats[1].shape[-1], action_size)
    observation = jax.ShapeDtypeStruct((1, seen), jnp.float32)
    like = jax.eval_shape(networks.actor.init, jax.random.PRNGKey(0), observation)
    wanted = {f"actor_params.{name}": leaf.shape for name, leaf in named_leaves(like)}
    if {name: array.shape for name, array in arrays.items()} != wanted:
        own = f"run = {str(run)!r}: trained with networks of your own"
        raise UsageError(f"{own}: pass them as `networks`")
    leaves = [jnp.asarray(arrays[name]) for name in wanted]
    own = jax.tree.unflatten(jax.tree.structure(like), leaves), NormalizerState(*stats)
    return Policy(config, stored.iterations(index), spaces, networks, *own)
