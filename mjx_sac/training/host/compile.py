"""Trace and compile a run's programs, in the background where possible."""

import contextlib
import gc
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mjx_sac.algorithms import base, loader
from mjx_sac.config import UsageError
from mjx_sac.training.compiled import acting, normalizer, population, sharding
from mjx_sac.training.compiled.epoch import Experiment, RunState
from mjx_sac.training.host import memory
from mjx_sac.types import Transition, named_leaves

_threads: list[threading.Thread] = []


class Programs:
    """The compiled programs: the epoch compiles while the first state is made, evaluation while
    the first epochs run.

    Attributes:
      experiment: what they are made of.
      init: makes the state before the first vector step.
      shapes: of that state.
      epoch: future of the compiled, donating `population.epoch`.
    """

    epoch: Future[Any]

    def __init__(self, experiment: Experiment, mesh: Mesh | None) -> None:
        """Trace the epoch.

        Raises:
          UsageError: the devices cannot share or hold the run, or a user's losses are wrong.
        """
        if mesh and experiment.episodes.on_host:
            raise UsageError(
                f"num_devices = {mesh.size}: an environment on the host cannot be shared by "
                f"several devices: train on one, or train an environment in JAX"
            )
        check_losses(experiment)
        self.experiment, self._keys = experiment, population.keys(experiment.config)
        self.init = population.init(experiment, mesh)
        self.shapes: RunState = jax.eval_shape(self.init)
        self._shardings: dict[str, Any] = {}
        if mesh:
            everywhere = jax.tree.broadcast(population.shardings(experiment, mesh), self.shapes)
            self._shardings = dict(named_leaves(everywhere))
        memory.check(experiment.config, self.shapes, mesh.size if mesh else 1)
        self._lowered = population.lower(experiment, self.shapes, mesh)
        self._evaluate: Future[Any] | None = None

    def place(self, name: str, array: np.ndarray) -> jax.Array:
        """Put a named array of a state where `epoch` wants it."""
        return sharding.place(array, self._shardings.get(name))

    def start(self) -> None:
        """Start to compile the epoch."""
        self.epoch = _in_background(partial(self._lowered.compile, compiler_options=options()))

    def prepare_evaluation(self) -> None:
        """Start to compile it once: when training begins, not to delay the first update."""
        if self._evaluate is None and self.experiment.config.episodes_per_eval:
            self._evaluate = _in_background(self._compile_evaluation)

    def _compile_evaluation(self) -> Any:
        policy = (self.shapes.train.actor_params, self.shapes.normalizer)
        program = jax.jit(population.evaluate(self.experiment))
        return program.lower(*policy, self._keys, jnp.int32(0)).compile()

    def evaluate(self, state: RunState, epoch: int) -> dict[str, np.ndarray]:
        """Return the metrics of an evaluation; the same epoch has the same initial states, so a
        resumed run repeats its evaluations.
        """
        self.prepare_evaluation()
        assert self._evaluate
        policy = (state.train.actor_params, state.normalizer)
        if len(state.key.devices()) > 1:
            policy = jax.device_get(policy)
        return jax.device_get(self._evaluate.result()(*policy, self._keys, jnp.int32(epoch)))


def options(platform: str | None = None) -> dict[str, str | bool]:
    """Return XLA's compiler options for the epoch on `platform`, by default the one in use.

    They avoid copies of what nobody reads any more: on a CPU of all parameters at every turn of
    the scan over updates, 5 % of its time; on a GPU of what leaves the branch on warm-up, 98
    launches per vector step of ant.
    """
    platform = platform or jax.default_backend()
    if platform not in ("cpu", "gpu"):
        return {}
    return {f"xla_{platform}_copy_insertion_use_region_analysis": True}


def check_losses(experiment: Experiment) -> None:
    """Trace one gradient step of a user's algorithm, to report mistakes before compiling.

    Raises:
      UsageError: one line, with the place in the losses file where it has one; the whole traceback
        is its cause.
    """
    name, config, env = experiment.config.losses, experiment.config, experiment.episodes.env
    if name is None:
        return
    sizes: tuple[tuple[int, ...], ...] = (env.observation_size,), (env.action_size,), ()
    observed, acted, scalar = (jnp.zeros((config.batch_size, *size)) for size in sizes)
    batch, stats = Transition(observed, acted, scalar, scalar, observed), normalizer.init(*sizes[0])
    static: dict[str, Any] = {**experiment.static, "losses": experiment.losses}

    def step(key: Any) -> Any:
        state = base.init(key, env.observation_size, env.action_size, **static)
        for sample_key in (key, None):
            params = state.actor_params
            action = acting.policy(params, stats, observed, sample_key, **experiment.static)
            if action.shape != acted.shape:
                raise ValueError(
                    f"the actor's actions have shape {action.shape}, not {acted.shape}"
                )
        return base.update(state, batch, jax.random.split(key), **static)[1]

    try:
        metrics = jax.eval_shape(step, jax.random.PRNGKey(0))
    except Exception as error:
        raise loader.usage_error_at(name, error, loader.source_of(name)[1]) from error
    for tag, value in metrics.items():
        if value.shape and (value.shape[0] != config.batch_size or not value.size):
            raise UsageError(
                f"losses = {name!r}: metric {tag} has shape {value.shape}: make it a scalar, or "
                f"an array with the batch's {config.batch_size} rows on its first axis"
            )


@contextlib.contextmanager
def without_garbage_collection() -> Generator[None]:
    """Switch it off while tracing, which makes many objects that stay: a quarter of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _in_background(function: Callable[[], Any]) -> Future[Any]:
    """Call `function` in a daemon thread."""
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # raised where the result is asked for
            future.set_exception(error)

    thread = threading.Thread(target=work, daemon=True)
    _threads.append(thread)
    thread.start()
    return future


def busy() -> bool:
    """Return whether something compiles, which cannot be stopped: Python would abort at exit."""
    return any(thread.is_alive() for thread in _threads)
