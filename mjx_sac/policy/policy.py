"""What was trained, to act with: loaded from a checkpoint alone, without an environment and without the replay buffer."""

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
from mjx_sac.config import Config, UsageError
from mjx_sac.envs.base import spaces as spaces_of
from mjx_sac.networks import Networks
from mjx_sac.runs import array_store, stored_policy
from mjx_sac.runs.stored_policy import StoredPolicy
from mjx_sac.training.compiled import acting
from mjx_sac.training.compiled.normalizer import NormalizerState
from mjx_sac.types import Key, Params, named_leaves


class ObservationError(UsageError, ValueError):
    """An observation that the policy cannot act on."""


class Policy:
    """A trained actor with its observation normalisation in front and the environment's action bounds behind.

    Attributes:
      config: what it was trained with.
      iterations: after how many.
      observation_size: numbers in a flat observation.
      action_size: numbers in a flat action.
      action_low: bounds of the environment's actions, flat; -1 and 1 for environments in JAX.
      action_high: likewise.
      whole_numbers: actions are rounded, as the environment's are integers.
      spaces: shapes and types of observations and actions, see `envs.base.spaces`.
      networks: the modules.
      actor_params: of `networks.actor`.
      normalizer: statistics of observations, unused where `config.normalize_observations` is False.
    """

    def __init__(
        self,
        config: Config,
        iterations: int,
        spaces: dict[str, Any],
        networks: Networks,
        actor_params: Params,
        normalizer: NormalizerState,
    ) -> None:
        self.config, self.iterations, self.spaces = config, iterations, spaces
        self.networks, self.actor_params, self.normalizer = networks, actor_params, normalizer
        self.observation_size, self.action_size = (
            normalizer.mean.shape[-1],
            math.prod(spaces["action"]["shape"]),
        )
        self.action_low, self.action_high = (
            np.asarray(spaces["action"][bound]) for bound in ("low", "high")
        )
        self.whole_numbers = np.issubdtype(np.dtype(spaces["action"]["dtype"]), np.integer)
        self._apply, self._random = jax.jit(self.apply), np.random.default_rng(config.seed)
        # Acting is cheap, so exact on every device: what is exported elsewhere equals it.
        self._exact = config.model_copy(update={"matmul_precision": "highest"})

    def apply(self, observation: ArrayLike, key: Key | None = None) -> jax.Array:
        """The action for a flat observation, with any axes in front; pure, for use under `jit` and `vmap`.

        Args:
          observation: raw, as the environment returns it.
          key: samples the action; without it the action is deterministic.

        Returns:
          A flat action within the environment's bounds.
        """
        raw = jnp.asarray(observation, jnp.float32)
        action = acting.policy(
            self.actor_params, self.normalizer, raw, key, networks=self.networks, config=self._exact
        )
        bounds = self.bounds()
        action = jnp.clip(bounds["middle"] + action * bounds["half"], bounds["low"], bounds["high"])
        return jnp.rint(action) if self.whole_numbers else action

    def bounds(self) -> dict[str, np.ndarray]:
        """Of the flat action "low" and "high", and "middle" and "half" of its range, by which [-1, 1] is rescaled."""
        low, high = self.action_low, self.action_high
        bounds = {"low": low, "high": high, "middle": (low + high) / 2, "half": (high - low) / 2}
        return {name: bound.astype(np.float32) for name, bound in bounds.items()}

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """NumPy in and out, by Stable-Baselines3's convention: `action, _ = policy.predict(observation)`.

        Args:
          observation: one or a batch, flat or as the environment returns it, Dict and Tuple included.
          state: returned as it is; the policy has no memory.
          episode_start: not used.
          deterministic: False samples.

        Raises:
          ObservationError: the shape is another one, or a number is not finite.
        """
        del episode_start
        flat = self._flat(observation)
        key = None if deterministic else self._random.integers(2**32, size=2, dtype=np.uint32)
        action = np.array(self._apply(flat, key))
        return action.reshape(*flat.shape[:-1], *self.spaces["action"]["shape"]).astype(
            self.spaces["action"]["dtype"]
        ), state

    def _flat(self, observation: Any) -> np.ndarray:
        try:
            flat = _flatten(self.spaces["observation"], observation, self.observation_size)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            reason = f"without {error}" if isinstance(error, KeyError) else error
            raise ObservationError(
                f"observation: {reason}: this policy takes {self._takes()}"
            ) from None
        if not np.isfinite(flat).all():
            where = np.argwhere(~np.isfinite(flat))[0]
            raise ObservationError(
                f"observation = {flat[tuple(where)]} at {where.tolist()}: only finite numbers can be acted on"
            )
        return flat

    def _takes(self) -> str:
        structure = self.spaces["observation"]
        shape = (self.observation_size,) if isinstance(structure, dict) else tuple(structure)
        parts = f", or the parts {', '.join(structure)}" if isinstance(structure, dict) else ""
        return f"shape {shape} or (batch, {str(shape).strip('(),')}){parts}"


def _flatten(structure: Any, observation: Any, size: int) -> np.ndarray:
    """`[..., size]` of what has `structure`, or is flat already."""
    if isinstance(structure, dict) and isinstance(observation, Mapping | tuple):
        keys = structure if isinstance(observation, Mapping) else map(int, structure)
        parts = zip(keys, structure.values(), strict=True)
        return np.concatenate(
            [_flatten(part, observation[key], _size(part)) for key, part in parts], axis=-1
        )
    array = np.asarray(observation, np.float32)
    shape = (size,) if isinstance(structure, dict) else tuple(structure)
    batch = array.shape[: max(array.ndim - len(shape), 0)]
    if array.shape == batch + shape:
        return array.reshape(*batch, size)
    if array.shape[-1:] == (size,):
        return array
    raise ValueError(f"shape {array.shape}")


def _size(structure: Any) -> int:
    return (
        sum(map(_size, structure.values())) if isinstance(structure, dict) else math.prod(structure)
    )


def load_policy(
    run: str | pathlib.Path,
    step: int | None = None,
    *,
    seed_index: int | None = None,
    networks: Networks | None = None,
) -> Policy:
    """The policy of a run's newest checkpoint, or of the one at `step` iterations.

    Args:
      run: the run's directory.
      step: iterations of the checkpoint.
      seed_index: which of the agents that were trained side by side, from 0; by default the best one at the last evaluation.
      networks: those it was trained with, where they were passed to `train`; by default those of its configuration or losses file.

    Raises:
      UsageError: there is no such run, checkpoint or agent, it is damaged, its losses file is gone, or it has other networks.
    """
    stored = stored_policy.find(run, step)
    config, index = stored_policy.choose_agent(stored, seed_index)
    try:
        arrays = {
            name: array if index is None else array[index]
            for name, array in array_store.read(stored.path)
        }
    except array_store.DamagedError as error:
        raise stored_policy.unusable(error, stored.directory, stored.iterations) from None
    spaces = stored.manifest.get("spaces") or _older_spaces(stored, arrays)
    networks = networks or loader.load(stored.config).networks(
        stored.config, math.prod(spaces["action"]["shape"])
    )
    stats = NormalizerState(
        *(jnp.asarray(arrays.pop(f"normalizer.{name}")) for name in ("count", "mean", "var"))
    )
    params = _restore(stored, networks, arrays, stats.mean.shape)
    return Policy(config, stored.iterations, spaces, networks, params, stats)


def _restore(
    stored: StoredPolicy, networks: Networks, arrays: dict[str, np.ndarray], shape: tuple[int, ...]
) -> Params:
    like = jax.eval_shape(
        networks.actor.init, jax.random.PRNGKey(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    )
    wanted = {f"actor_params.{name}": leaf.shape for name, leaf in named_leaves(like)}
    if {name: array.shape for name, array in arrays.items()} != wanted:
        raise UsageError(
            f"run = {str(stored.directory)!r}: trained with networks of your own: pass them as `networks`"
        )
    return jax.tree.unflatten(
        jax.tree.structure(like), [jnp.asarray(arrays[name]) for name in wanted]
    )


def _older_spaces(stored: StoredPolicy, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Of an older checkpoint, which does not say: an environment that may have other bounds than [-1, 1] is asked."""
    head = arrays.get("actor_params.params.MLP_0.Head_0.bias")
    if head is None or not envs.by_brax(stored.config.env):
        return spaces_of(envs.make(stored.config.env, stored.config))
    action = np.ones(head.size // 2)
    bounds = {"low": (-action).tolist(), "high": action.tolist()}
    shape = list(arrays["normalizer.mean"].shape)
    return {"observation": shape, "action": {"shape": [action.size], "dtype": "float32", **bounds}}
