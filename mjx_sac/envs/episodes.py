"""Episodes of any environment: batching, time limit, new episodes, non-finite values."""

import dataclasses
import re
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int32, UInt32

from mjx_sac.config import TrainingError
from mjx_sac.envs import reports
from mjx_sac.envs.base import Environment, reset_shape
from mjx_sac.types import Key, Step


class EpisodeState(struct.PyTreeNode):
    """The running episodes of all environments.

    Attributes:
      env: the states of all environments; the final one where an episode has ended.
      ended: the episode is over, and the next `start` begins a new one.
      length: environment steps of the episode so far.
      episode_return: sum of its rewards so far.
      pool: initial states for new episodes; every `refill` draws them again.
      pool_next: how many have been used since; where models differ, by each environment.
      model: what each environment's model has of its own, see `Environment`; None where all are
        alike. Initial state i of the pool is one of environment i modulo num_envs then.
      metrics: what the environment has reported, see `add_report`; None where it reports nothing.
    """

    env: Any
    ended: Bool[Array, " num_envs"]
    length: Int32[Array, " num_envs"]
    episode_return: Float[Array, " num_envs"]
    pool: Any
    pool_next: Int32[Array, "..."]
    metrics: Float[Array, "num_envs metrics"] | None = None
    model: Any = None

    @property
    def observation(self) -> Float[Array, "num_envs observation"]:
        """What policies see, whatever type of number the states have."""
        return jnp.asarray(self.env.observation, jnp.float32)

    def started(self, **changes: Any) -> "EpisodeState":
        """Return the state with new episodes, without length or return, where one has ended."""
        blank = jax.tree.map(jnp.zeros_like, self.sums)
        return self.replace(**choose(self.ended, blank, self.sums), **changes)

    @property
    def sums(self) -> dict[str, Any]:
        """What is summed up over an episode."""
        return {name: getattr(self, name) for name in ("length", "episode_return", "metrics")}

    def stepped(
        self, env: Any, step: Step, valid: Array, length: Array, names: tuple[str, ...], report: Any
    ) -> "EpisodeState":
        """Return the state after a vector step, which leaves the episodes at those lengths."""
        report = choose(valid, report, jax.tree.map(jnp.zeros_like, report))
        return self.replace(
            env=env,
            ended=step.terminated | step.truncated | ~valid,
            length=length,
            episode_return=self.episode_return + step.reward,
            metrics=add_report(names, self.metrics, report),
        )


def choose(where: Bool[Array, " n"], new: Any, old: Any) -> Any:
    """Return the rows of a pytree's arrays from `new` where `where`, elsewhere from `old`."""

    def rows(new: Array, old: Array) -> Array:
        return jnp.where(where.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

    return jax.tree.map(rows, new, old)


def add_report(names: tuple[str, ...], sums: Any, new: Any) -> Any:
    """Return what has been reported up to a step, `new`, in an episode: sums, but of success.

    Both have `names` on their last axis, or are None.
    """
    if sums is None:
        return None
    newest = np.array([name in reports.SUCCESS for name in names])
    return jnp.where(newest, new, sums + new)


def blank_state(env: Any, pool: Any, num_envs: int, metrics: int) -> EpisodeState:
    """Return a state in which no episode is running, and so many metrics are reported."""
    return EpisodeState(
        env=env,
        ended=jnp.ones(num_envs, bool),
        length=jnp.zeros(num_envs, jnp.int32),
        episode_return=jnp.zeros(num_envs),
        pool=pool,
        pool_next=jnp.zeros((), jnp.int32),
        metrics=jnp.zeros((num_envs, metrics)) if metrics else None,
    )


class Outcome(NamedTuple):
    """The result of one vector step.

    Attributes:
      step: zeros where not `valid`.
      valid: false where the step must not be learned from.
      nonfinite: why not: the observation acted on, or anything that came back, is not finite.
    """

    step: Step
    valid: Bool[Array, " num_envs"]
    nonfinite: Bool[Array, " num_envs"]


Actions = Float[Array, "num_envs action"]
Stepped = tuple[EpisodeState, Outcome]


@dataclasses.dataclass(frozen=True)
class Episodes:
    """`num_envs` copies of an environment as pure functions on an `EpisodeState`.

    Episodes begin at the start of a vector step, not at the end of the one before. So the final
    observation is never overwritten, and an `init` state needs no environment: all its episodes
    have "ended".
    """

    env: Environment
    num_envs: int
    episode_length: int
    action_repeat: int = 1
    pool_size: int = 128
    on_host = False
    failure = None

    def copies(self, num_envs: int) -> "Episodes":
        """Return `num_envs` other copies of the environment, with an initial state for each."""
        return dataclasses.replace(self, num_envs=num_envs, pool_size=num_envs)

    def close(self) -> None:
        """Do nothing: environments on the host alone hold anything outside the state."""

    @cached_property
    def reported(self) -> tuple[str, ...]:
        """Names of what the environment reports beside its reward."""
        return reports.names(getattr(reset_shape(self.env.reset), "metrics", None))

    def _report(self, state: Any) -> Array | None:
        values = [jnp.asarray(state.metrics[name], jnp.float32) for name in self.reported]
        return jnp.stack(values) if values else None

    def init(self, key: Key | None = None) -> EpisodeState:
        """Return a state without episodes or initial states: `refill` before the first `start`.

        `key` is of the environments' models, needed where they differ.
        """
        n, size, shape = self.num_envs, self.pool_size, reset_shape(self.env.reset)

        def blank(n: int) -> Any:
            return jax.tree.map(lambda x: jnp.zeros((n, *x.shape), x.dtype), shape)

        state = blank_state(blank(n), blank(size), n, len(self.reported))
        if not (randomize := getattr(self.env, "randomize", None)):
            return state.replace(pool_next=jnp.int32(size))
        if size % n:
            raise ValueError(f"pool_size {size} is no multiple of num_envs {n}")
        assert key is not None
        models = randomize(jax.random.split(key, n))
        return state.replace(pool_next=jnp.full(n, size // n), model=models)

    def runs_short(self, state: EpisodeState, vector_steps: int) -> Bool[Array, ""]:
        """Return whether initial states should be drawn again before so many vector steps.

        So it is where less than half of them are unused, or fewer than the episodes which the time
        limit alone will begin.
        """
        length = jnp.where(state.ended, 0, state.length)
        begins = (length + vector_steps * self.action_repeat) // self.episode_length + state.ended
        size = self.pool_size
        if state.model is not None:
            size //= self.num_envs
        wanted = jnp.sum(begins) if state.model is None else begins
        return jnp.any(size - state.pool_next < jnp.clip(wanted, -(-size // 2), size))

    def pool_uses(self, state: EpisodeState) -> Float[Array, ""]:
        """Return how often each initial state has been used since the last draw, at most 1 if new
        episodes never began from a state that one had begun from.
        """
        size = self.pool_size if state.model is None else self.pool_size // self.num_envs
        return jnp.max(state.pool_next) / size

    def refill(self, state: EpisodeState, key: Key) -> EpisodeState:
        """Draw all initial states again."""
        keys = jax.random.split(key, self.pool_size)
        return self.refilled(state, self.draw(keys, self.pool_models(state)))

    def pool_models(self, state: EpisodeState) -> Any:
        """Return the models that the pool's states have; None where all are alike."""
        owner = jnp.arange(self.pool_size) % self.num_envs
        return jax.tree.map(lambda x: x[owner], state.model)

    def draw(self, keys: UInt32[Array, "n 2"], models: Any) -> Any:
        """Return an initial state for each key, and model if there are any."""
        return jax.vmap(lambda key, model: self.env.reset(key, *_given(model)))(keys, models)

    def refilled(self, state: EpisodeState, pool: Any) -> EpisodeState:
        """Return `state` with `pool` for new episodes."""
        return state.replace(pool=pool, pool_next=jnp.zeros_like(state.pool_next))

    def start(self, state: EpisodeState) -> EpisodeState:
        """Begin a new episode wherever one has ended, from the pool's next state, in a circle."""
        if state.model is None:
            index = (state.pool_next + jnp.cumsum(state.ended) - 1) % self.pool_size
            used = jnp.sum(state.ended, dtype=jnp.int32)
        else:  # each has its own
            n = self.num_envs
            index = state.pool_next * n % self.pool_size + jnp.arange(n)
            used = state.ended.astype(jnp.int32)
        env = choose(state.ended, jax.tree.map(lambda x: x[index], state.pool), state.env)
        return state.started(env=env, pool_next=state.pool_next + used)

    def send(self, state: EpisodeState, action: Actions) -> tuple[EpisodeState, Array]:
        """Hand over the actions; return an order token, on which whatever comes later depends.

        Environments on the host step between `send` and `receive`. Those on the device step in
        `receive`, and their order token is the action itself.
        """
        return state, action

    def receive(self, state: EpisodeState, order_token: Array, after: Any = None) -> Stepped:
        """Return what the sent actions led to; `after` matters on the host alone."""
        return self.step(state, order_token)

    def step(self, state: EpisodeState, action: Actions) -> Stepped:
        """Hold each action for `action_repeat` environment steps, or until the episode ends."""
        # An infinity that a reset put there is the environment's own affair. Which numbers are
        # finite is known before the step, so that no copy of the old state is kept through it.
        before, old = jax.lax.optimization_barrier((jax.vmap(_finite)(state.env), state.env))
        args = old, action, state.length, state.model
        env, step, length, report = jax.vmap(self._repeat)(*args)
        observations = jnp.concatenate([old.observation, step.observation], axis=-1)
        stays = jnp.all(jax.vmap(_finite)(env) | ~before, axis=-1)
        valid = jnp.all(jnp.isfinite(observations), axis=-1) & jnp.isfinite(step.reward) & stays
        step = Step(
            observation=jnp.where(valid[:, None], step.observation, 0.0),
            reward=jnp.where(valid, step.reward, 0.0),
            terminated=step.terminated & valid,
            truncated=step.truncated & ~step.terminated & valid,
        )
        state = state.stepped(env, step, valid, length, self.reported, report)
        return state, Outcome(step, valid, ~valid)

    def _repeat(
        self, state: Any, action: Array, length: Array, model: Any
    ) -> tuple[Any, Step, Array, Any]:
        """Return the last state, the summed step, the episode's length, and what was reported."""
        last = self._step_once(state, action, length, model)
        for _ in range(self.action_repeat - 1):
            state, step, length, report = last
            # An episode that is over stays where it ended, and earns nothing more.
            over = step.terminated | step.truncated
            new, more, longer, further = self._step_once(state, action, length, model)
            more = more._replace(reward=step.reward + more.reward)
            further = add_report(self.reported, report, further)
            last = jax.tree.map(partial(jnp.where, over), last, (new, more, longer, further))
        return last

    def _step_once(
        self, state: Any, action: Array, length: Array, model: Any
    ) -> tuple[Any, Step, Array, Any]:
        new, step = self.env.step(state, action, *_given(model))
        truncated = step.truncated | (length + 1 >= self.episode_length)
        return new, step._replace(truncated=truncated), length + 1, self._report(new)


def _given(model: Any) -> tuple[Any, ...]:
    """Return the last arguments of `reset` and `step`: none where all models are alike."""
    return () if model is None else (model,)


def _finite(state: Any) -> Bool[Array, " numbers"]:
    """Return which numbers of a state are finite."""
    # Concatenated first: MJX's state has a hundred arrays, each a kernel on a GPU.
    leaves = [jnp.ravel(x) for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.isfinite(jnp.concatenate(leaves or [jnp.zeros(0)]))


def callback_failure(error: Exception) -> TrainingError | None:
    """Return in one line what a user's `jax.pure_callback` raised in a program, if it did."""
    _, found, text = str(error).partition("Callback error calling callback: ")
    raised = " ".join(re.split(r'(?:\n  File ".*)+\n', text)[-1].split())
    text = f"env: a callback to Python raised {raised}; checkpoints saved before are intact"
    return TrainingError(text) if found else None
