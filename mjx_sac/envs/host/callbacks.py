"""Environments on the host, as episodes of the compiled epoch: `Episodes`' functions by callbacks.

    device   act ─▶ send ─▶ all gradient steps of this vector step ─▶ receive ─▶ replay buffer
    host             └────▶ every environment steps ────────────────────▲

From `send` on the host steps in another thread, so device and host work at the same time.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jax.experimental.buffer_callback import buffer_callback
from jaxtyping import Array

from mjx_sac.config import Config, TrainingError, UsageError
from mjx_sac.envs.base import State, episode_length
from mjx_sac.envs.episodes import Actions, EpisodeState, Outcome, Stepped, blank_state
from mjx_sac.envs.host import protocol
from mjx_sac.types import Key, Step

CLOSING = 5.0
"""Seconds until what has not closed is left or killed."""


def _not_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], TrainingError | UsageError))


# JAX logs tracebacks of what becomes one line of ours.
logging.getLogger("jax._src.callback").addFilter(_not_ours)


def call(function: Callable[..., Any], shapes: Any, *args: Any) -> Any:
    """Make the compiled program call `function` with NumPy arrays, which it must not keep.

    Calls are in the order that data dependencies give. On a CPU it gets the program's own memory:
    `io_callback` would first make JAX arrays of everything, and the device would wait.
    """
    if jax.default_backend() != "cpu":
        return io_callback(function, shapes, *args)

    def write(_: Any, results: Any, *args: Any) -> None:
        returned = jax.tree.map(np.asarray, function(*map(np.asarray, args)))
        for memory, value in zip(jax.tree.leaves(results), jax.tree.leaves(returned), strict=True):
            if memory.shape != value.shape:
                raise ValueError(f"returned shape {value.shape}, not {memory.shape}")
            np.asarray(memory)[...] = value

    return buffer_callback(write, shapes, has_side_effect=True)(*args)


class SimulatorThread:
    """A simulator in its own thread, made at its first use.

    An environment has `start_timeout` seconds to start and then `timeout` for an answer. The
    trainer raises `failure`: an exception cannot cross the compiled program as it is.
    """

    def __init__(
        self, make: Callable[[], protocol.Simulator], timeout: float, start_timeout: float = 120.0
    ) -> None:
        self.timeout, self.start_timeout, self._make = timeout, start_timeout, make
        self.failure: TrainingError | UsageError | None = None
        self._simulator: protocol.Simulator | None = None
        self._hangs = False
        self._current: Any = None
        self._steps = 0
        self._pending: Future[protocol.HostStep] | None = None
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        # Not a ThreadPoolExecutor: Python waits for its threads when it exits, and an environment
        # may hang for ever.
        threading.Thread(target=self._work, daemon=True).start()

    def begin(self, seed: np.ndarray, blank: np.ndarray) -> tuple[Any, np.bool_]:
        """Return observations, and whether episodes began: on a `blank` state or new simulator."""
        number = int(np.asarray(seed)[-1]) % 2**31

        def reset() -> Any:
            self._simulator = self._simulator or self._make()
            return self._simulator.reset(number)

        begun = self._current is None or bool(np.asarray(blank))
        if begun:
            self._current = self._wait(self._submit(reset), starts=self._current is None)
        return self._current, np.bool_(begun)

    def send(self, action: np.ndarray) -> np.uint32:
        """Make the environments step; return 0 at once."""
        simulator = self._simulator
        assert simulator
        action = np.array(action)  # a copy: the program reuses its memory meanwhile
        self._pending = self._submit(lambda: simulator.step(action))
        return np.uint32(0)

    def receive(self, *_: np.ndarray) -> protocol.HostStep:
        """Wait for the environments and return their step."""
        assert self._pending
        step = self._wait(self._pending)
        self._current, self._steps = step.current, self._steps + 1
        return step

    def _submit(self, job: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._jobs.put((job, future))
        return future

    def _work(self) -> None:
        while (next_job := self._jobs.get()) is not None:
            protocol.do(*next_job)

    def _wait(self, future: Future[Any], starts: bool = False) -> Any:
        try:
            seconds = self.start_timeout if starts else self.timeout
            self._hangs = not self._answered(future, seconds)
            if not self._hangs:
                return future.result()
            how = "did not start within env_start_" if starts else "gave no answer within env_"
            text = f"{self._awaited} {how}timeout = {seconds:g} seconds"
        except UsageError as error:
            self.failure = error
            raise
        except protocol.BrokenEnvironmentError as error:
            text = str(error)
        except BaseException as error:  # from a VectorEnv, which may call sys.exit
            text = f"{type(error).__name__}: {error}"
        when = f"vector step {self._steps:,}"
        self.failure = TrainingError(f"env: {text} ({when}); checkpoints saved before are intact")
        raise self.failure

    def _answered(self, future: Future[Any], seconds: float) -> bool:
        """Wait until it is done or no environment has answered for so many seconds."""
        who, since = "", time.monotonic()
        while True:
            with contextlib.suppress(TimeoutError):
                future.exception(min(seconds / 4, 1))
                return True
            if (now := self._awaited) != who:
                who, since = now, time.monotonic()
            elif time.monotonic() - since > seconds:
                return False

    @property
    def _awaited(self) -> str:
        awaited = self._simulator.awaited if self._simulator else None
        return "the environments" if awaited is None else f"environment {awaited}"

    def close(self) -> Future[None]:
        """Ask the thread to close its environments and to end."""
        closed = self._submit(lambda: self._simulator and self._simulator.close())
        self._jobs.put(None)
        return closed

    def leave(self, closed: Future[None], deadline: float) -> None:
        """Wait for what `close` returned; kill what hangs."""
        with contextlib.suppress(TimeoutError):
            closed.exception(0 if self._hangs else max(0, deadline - time.monotonic()))
            return
        if not self._hangs:
            protocol.warn(f"{self._awaited} had not closed after {CLOSING:g} seconds")
        if self._simulator:
            self._simulator.kill()


class HostEpisodes:
    """Like `Episodes`, for a simulator on the host.

    Its state is in no checkpoint: a resumed run starts new episodes, which `refill` sees to.
    """

    on_host = True

    def __init__(
        self, env: protocol.HostEnvironment, num_envs: int, config: Config, once: bool = False
    ) -> None:
        try:
            jax.devices("cpu")
        except (RuntimeError, AssertionError):  # the latter where there is no GPU either
            given = jax.config.values["jax_platforms"]
            cure = f"an environment on the host needs the CPU beside it: set it to {given},cpu"
            raise UsageError(f"JAX_PLATFORMS = {given!r}: {cure}") from None
        self.env, self.num_envs, self.config = env, num_envs, config
        self.action_repeat = config.action_repeat
        self.reported: tuple[str, ...] = getattr(env, "reported", ())
        self.episode_length = limit = episode_length(env, config)
        make = partial(env.simulator, num_envs, limit, once)
        self.thread = SimulatorThread(make, config.env_timeout, config.env_start_timeout)
        self._threads = [self.thread]  # and those of copies

    def copies(self, num_envs: int) -> "HostEpisodes":
        """Return others, which `close` ends too and which play one episode after each `refill`."""
        copies = HostEpisodes(self.env, num_envs, self.config, once=True)
        self._threads.append(copies.thread)
        return copies

    @property
    def failure(self) -> TrainingError | UsageError | None:
        """What broke a compiled program, if an environment did."""
        found = next((thread.failure for thread in self._threads if thread.failure), None)
        return found and type(found)(str(found))  # without the traceback, which is all ours

    def close(self) -> None:
        """Close all environments, where they were stepped; kill those that hang."""
        deadline = time.monotonic() + CLOSING
        for thread, closed in [(thread, thread.close()) for thread in self._threads]:
            thread.leave(closed, deadline)

    def _array(self, dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.num_envs, *shape), dtype)

    def init(self, key: Key | None = None) -> EpisodeState:
        del key
        observation = jnp.zeros((self.num_envs, self.env.observation_size))
        return blank_state(State(observation, ()), (), self.num_envs, len(self.reported))

    def refill(self, state: EpisodeState, key: Key) -> EpisodeState:
        """Begin new episodes where none runs: after `init`, and in a process that resumes a run."""
        observation = self._array(jnp.float32, self.env.observation_size)
        shapes = (observation, jax.ShapeDtypeStruct((), bool))
        current, begun = call(self.thread.begin, shapes, key, state.pool_next == 0)
        return state.replace(
            env=State(current, ()), ended=state.ended | begun, pool_next=jnp.ones((), jnp.int32)
        )

    def start(self, state: EpisodeState) -> EpisodeState:
        return state.started()  # on the host they have been

    def send(self, state: EpisodeState, action: Actions) -> tuple[EpisodeState, Array]:
        # The token is zero, which the compiler cannot know: whatever uses it comes after this call.
        return state, call(self.thread.send, jax.ShapeDtypeStruct((), jnp.uint32), action)

    def receive(self, state: EpisodeState, order_token: Array, after: Any = 0.0) -> Stepped:
        """Wait for the environments, once `after` has been computed."""
        seen = self._array(jnp.float32, self.env.observation_size)
        number, flag, count = (self._array(kind) for kind in (jnp.float32, jnp.bool_, jnp.int32))
        metrics = self._array(jnp.float32, n) if (n := len(self.reported)) else None
        shapes = protocol.HostStep(seen, number, flag, flag, flag, count, seen, metrics)
        result = call(self.thread.receive, shapes, order_token, after)
        valid = result.finite & (result.steps > 0)
        step = Step(result.observation, result.reward, result.terminated, result.truncated)
        env, length = State(result.current, ()), state.length + result.steps
        state = state.stepped(env, step, valid, length, self.reported, result.metrics)
        return state, Outcome(step, valid, ~result.finite)

    def step(self, state: EpisodeState, action: Actions) -> Stepped:
        return self.receive(*self.send(state, action))
