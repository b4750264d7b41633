"""Environments on the host as episodes of the compiled epoch: the same four functions as `Episodes`, by way of callbacks.

    device   act ─▶ send ─▶ all gradient steps of this vector step ─▶ receive ─▶ replay buffer
    host             └────▶ every environment steps ────────────────────▲

The host steps in a thread of its own from `send` on, so device and host work at the same time.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from queue import SimpleQueue
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jax.experimental.buffer_callback import buffer_callback
from jaxtyping import Array, Float, UInt32

from mjx_sac.config import EPISODE_LENGTH, TrainingError, UsageError
from mjx_sac.envs.base import State
from mjx_sac.envs.episodes import EpisodeState, Outcome
from mjx_sac.envs.host.protocol import Answer, BrokenEnvironmentError, HostEnvironment, Simulator
from mjx_sac.types import Key, Step

logging.getLogger("jax._src.callback").setLevel(
    logging.CRITICAL
)  # it logs tracebacks of what we say in one line


def _call(function: Callable[..., Any], shapes: Any, *args: Any) -> Any:
    """Has the compiled program call `function` with NumPy arrays, which it must not keep; `shapes` are of what it returns.

    On a CPU it is given the program's own memory: `io_callback` makes JAX's arrays of everything first, and the device waits.
    """
    if jax.default_backend() != "cpu":
        return io_callback(function, shapes, *args)

    def call(_: Any, results: Any, *args: Any) -> None:
        returned = jax.tree.map(np.asarray, function(*map(np.asarray, args)))
        for memory, value in zip(jax.tree.leaves(results), jax.tree.leaves(returned), strict=True):
            if memory.shape != value.shape:
                raise ValueError(f"returned shape {value.shape}, not {memory.shape}")
            np.asarray(memory)[...] = value

    return buffer_callback(call, shapes, has_side_effect=True)(*args)


class _Host:
    """A simulator in a thread of its own, made at its first use.

    Attributes:
      failure: what went wrong, for the trainer to raise: an exception cannot cross the compiled program as it is.
    """

    def __init__(self, make: Callable[[], Simulator], timeout: float) -> None:
        self.failure: TrainingError | None = None
        self._make, self._timeout = make, timeout
        self._simulator: Simulator | None = None
        self._current: Any = None
        self._steps = 0
        self._pending: Future[Answer] | None = None
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, seed: np.ndarray, blank: np.ndarray) -> tuple[Any, np.bool_]:
        """The current observations, and whether new episodes were begun: where the state is blank, or the simulator new."""
        number = int(np.asarray(seed)[-1]) % 2**31

        def reset() -> Any:
            self._simulator = self._simulator or self._make()
            return self._simulator.reset(number)

        begun = self._current is None or bool(np.asarray(blank))
        if begun:
            self._current = self._wait(self._submit(reset))
        return self._current, np.bool_(begun)

    def send(self, action: np.ndarray) -> np.uint32:
        """Has the environments step, and returns 0 at once."""
        action, simulator = (
            np.array(action),
            self._simulator,
        )  # a copy: the program goes on, and its memory with it
        assert simulator
        self._pending = self._submit(lambda: simulator.step(action))
        return np.uint32(0)

    def receive(self, ticket: np.ndarray, after: np.ndarray) -> Answer:
        """Waits for them."""
        del ticket, after
        assert self._pending
        answer = self._wait(self._pending)
        self._current, self._steps = answer.current, self._steps + 1
        return answer

    def _submit(self, job: Callable[[], Any]) -> Future[Any]:
        if self._thread is None:
            # Not a ThreadPoolExecutor: Python waits for its threads when it exits, and an environment may hang for ever.
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        future: Future[Any] = Future()
        self._jobs.put((future, job))
        return future

    def _work(self) -> None:
        while (next_job := self._jobs.get()) is not None:
            future, job = next_job
            try:
                future.set_result(job())
            except BaseException as error:  # whoever waits gets it
                future.set_exception(error)

    def _wait(self, future: Future[Any]) -> Any:
        try:
            return future.result(self._timeout)
        except FutureTimeoutError:
            awaited = self._simulator.awaited if self._simulator else None
            who = "the environments" if awaited is None else f"environment {awaited}"
            text = f"{who} gave no answer within env_timeout = {self._timeout:g} seconds"
        except (BrokenEnvironmentError, UsageError) as error:
            text = str(error)
        except BaseException as error:  # of a VectorEnv, which may call sys.exit
            text = f"{type(error).__name__}: {error}"
        self.failure = TrainingError(
            f"env: {text} (vector step {self._steps:,}); checkpoints saved before are intact"
        )
        raise self.failure

    def close(self) -> None:
        self._jobs.put(None)
        if self._simulator:  # in a thread, for what hangs in a step may hang here too
            closing = threading.Thread(target=self._simulator.close, daemon=True)
            closing.start()
            closing.join(5)


class HostEpisodes:
    """Like `Episodes`, but the simulator is on the host: its state is in no checkpoint, and a run that goes on starts new
    episodes. `refill` sees to that.
    """

    on_host = True

    def __init__(
        self,
        env: HostEnvironment,
        num_envs: int,
        episode_length: int | None,
        action_repeat: int,
        timeout: float,
        hosts: list[_Host] | None = None,
    ) -> None:
        """`episode_length` None leaves time limits to the environment; `timeout` is in seconds; `hosts` are closed too."""
        try:
            jax.devices("cpu")
        except (RuntimeError, AssertionError):  # the latter where there is no GPU either
            platforms = jax.config.values["jax_platforms"]
            raise UsageError(
                f"JAX_PLATFORMS = {platforms!r}: an environment on the host needs the CPU beside it: set it to {platforms},cpu"
            ) from None
        self.env, self.num_envs, self.action_repeat, self.timeout = (
            env,
            num_envs,
            action_repeat,
            timeout,
        )
        self.episode_length = min(
            filter(None, (episode_length, env.time_limit)), default=EPISODE_LENGTH
        )
        self._hosts = [] if hosts is None else hosts
        self._host = _Host(lambda: env.simulator(num_envs, self.episode_length), timeout)
        self._hosts.append(self._host)

    def copies(self, num_envs: int) -> "HostEpisodes":
        """Other environments of the same kind, as evaluation needs them."""
        return HostEpisodes(
            self.env, num_envs, self.episode_length, self.action_repeat, self.timeout, self._hosts
        )

    @property
    def failure(self) -> TrainingError | None:
        """What broke a compiled program, if an environment did."""
        return next((host.failure for host in self._hosts if host.failure), None)

    def close(self) -> None:
        """Ends all simulators, those of `copies` too."""
        for host in self._hosts:
            host.close()

    def init(self) -> EpisodeState:
        """No episode is running: `refill` before the first `start`."""
        return EpisodeState(
            env=State(jnp.zeros((self.num_envs, self.env.observation_size)), ()),
            ended=jnp.ones(self.num_envs, bool),
            length=jnp.zeros(self.num_envs, jnp.int32),
            episode_return=jnp.zeros(self.num_envs),
            pool=(),
            pool_next=jnp.zeros((), jnp.int32),
        )

    def refill(self, state: EpisodeState, key: Key) -> EpisodeState:
        """Begins new episodes in environments that have none: after `init`, and in a process that goes on with a run."""
        shapes = (
            jax.ShapeDtypeStruct((self.num_envs, self.env.observation_size), jnp.float32),
            jax.ShapeDtypeStruct((), bool),
        )
        observation, begun = _call(self._host.begin, shapes, key, state.pool_next == 0)
        return state.replace(
            env=State(observation, ()), ended=state.ended | begun, pool_next=jnp.ones((), jnp.int32)
        )

    def start(self, state: EpisodeState) -> EpisodeState:
        """The host began new episodes already where one had ended."""
        return state.replace(
            length=jnp.where(state.ended, 0, state.length),
            episode_return=jnp.where(state.ended, 0.0, state.episode_return),
        )

    def send(
        self, state: EpisodeState, action: Float[Array, "num_envs action"]
    ) -> tuple[EpisodeState, UInt32[Array, ""]]:
        """Has the environments step. The ticket is zero, which the compiler cannot know: whatever needs it comes after."""
        return state, _call(self._host.send, jax.ShapeDtypeStruct((), jnp.uint32), action)

    def receive(
        self, state: EpisodeState, ticket: UInt32[Array, ""], after: Any = 0.0
    ) -> tuple[EpisodeState, Outcome]:
        """Waits for the environments, once `after` has been computed."""
        observation = jax.ShapeDtypeStruct((self.num_envs, self.env.observation_size), jnp.float32)
        number, flag, count = (
            jax.ShapeDtypeStruct((self.num_envs,), dtype)
            for dtype in (jnp.float32, jnp.bool_, jnp.int32)
        )
        shapes = Answer(
            observation,
            number,
            terminated=flag,
            truncated=flag,
            finite=flag,
            steps=count,
            current=observation,
        )
        answer = _call(self._host.receive, shapes, ticket, after)
        valid = answer.finite & (answer.steps > 0)
        step = Step(answer.observation, answer.reward, answer.terminated, answer.truncated)
        state = state.replace(
            env=State(answer.current, ()),
            ended=step.terminated | step.truncated | ~valid,
            length=state.length + answer.steps,
            episode_return=state.episode_return + step.reward,
        )
        return state, Outcome(step, valid, ~answer.finite)

    def step(
        self, state: EpisodeState, action: Float[Array, "num_envs action"]
    ) -> tuple[EpisodeState, Outcome]:
        """`send` and `receive`."""
        return self.receive(*self.send(state, action))
