"""Trace and compile a run's programs, in the background where possible."""

import contextlib
import gc
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mjx_sac.algorithms import base, loader
from mjx_sac.config import Config, UsageError, ordinary_jax
from mjx_sac.envs.host.protocol import in_background
from mjx_sac.envs.spaces import spaces
from mjx_sac.networks import Networks
from mjx_sac.runs import warm_start
from mjx_sac.runs.recorded import Recorded
from mjx_sac.training.compiled import acting, history, normalizer, population, replay, sharding
from mjx_sac.training.compiled import critic_bias as bias_lib
from mjx_sac.training.compiled import metrics as metrics_lib
from mjx_sac.training.compiled.experiment import Experiment, RunState
from mjx_sac.training.host import kept, memory, offline
from mjx_sac.types import Transition, named_leaves


class Programs:
    """The compiled programs: the epoch compiles while the first state is made, evaluation while
    the first epochs run.

    Attributes:
      experiment: what they are made of.
      recorded: the data set that the run learns from; None without any.
      shapes: of its state.
      epoch: future of the compiled, donating `population.epoch`.
    """

    epoch: Future[Any]

    def __init__(
        self,
        experiment: Experiment,
        mesh: Mesh | None,
        recorded: Recorded | None = None,
        early: kept.Early | None = None,
        begins: bool = True,
    ) -> None:
        """Trace the epoch, for a state that has the data set `recorded`; or take what was traced
        before and is kept. What `begins` may do so with another run's networks.

        Raises:
          UsageError: the devices cannot share or hold the run, or a user's algorithm is wrong.
        """
        if mesh and experiment.episodes.on_host:
            raise UsageError(
                f"num_devices = {mesh.size}: an environment on the host cannot be shared by "
                f"several devices: train on one, or train an environment in JAX"
            )
        rows = experiment.config.batch_size  # of packaged algorithms, which alone are kept
        keep = early and early.path(experiment.episodes.env)
        if not (keep and keep.exists()):
            rows = check_algorithm(experiment)
        self.experiment, self._keys = experiment, population.keys(experiment.config)
        self.recorded, self._init = recorded, population.init(experiment, mesh)
        self._dataset = replay.of_recorded(recorded) if recorded else None
        dataset = jax.eval_shape(lambda: self._dataset)
        self.shapes: RunState = jax.eval_shape(self._init).replace(dataset=dataset)
        known = dict(named_leaves(self.shapes)), spaces(experiment.episodes.env)
        warm = begins and experiment.config.from_run
        self._known = warm_start.read(experiment.config, *known) if warm else {}
        self._shardings: dict[str, Any] = {}
        if mesh:
            everywhere = jax.tree.broadcast(population.shardings(experiment, mesh), self.shapes)
            self._shardings = dict(named_leaves(everywhere))
        memory.check(experiment.config, self.shapes, rows, mesh.size if mesh else 1)
        if keep:
            self._compile = kept.lower(experiment, self.shapes, keep, early)
        else:
            self._compile = population.lower(experiment, self.shapes, mesh).compile
        self._evaluate: Future[Any] | None = None

    def place(self, name: str, array: np.ndarray) -> jax.Array:
        """Put a named array of a state where `epoch` wants it."""
        return sharding.place(array, self._shardings.get(name))

    def init(self) -> RunState:
        """Return the state before the first vector step: statistics begin with the data set's or,
        as networks, with another run's.
        """
        state, known = self._init(), self._known
        if self.recorded:
            statistics = offline.statistics(self.recorded, self.experiment.config)
            known = dict(named_leaves(statistics)) | known
        leaves = [self.place(k, known[k]) if k in known else x for k, x in named_leaves(state)]
        state = jax.tree.unflatten(jax.tree.structure(state), leaves)
        return self.with_dataset(state) if self.recorded else state

    def with_dataset(self, state: RunState) -> RunState:
        """Return a state that a checkpoint has held, with the data set that it learns from."""
        named = named_leaves(self._dataset)
        placed = [self.place(f"dataset.{name}", x) for name, x in named]
        dataset = jax.tree.unflatten(jax.tree.structure(self._dataset), placed)
        return state.replace(dataset=dataset)

    def start(self) -> None:
        calls = self.experiment.episodes.on_host and not self.experiment.config.offline
        compiled = partial(self._compile, options(calls_host=calls))
        self.epoch = in_background(ordinary_jax()(compiled))

    def prepare_evaluation(self) -> Future[Any]:
        """Start to compile it once: when training begins, not to delay the first update."""
        self._evaluate = self._evaluate or in_background(self._compile_evaluation)
        return self._evaluate

    @ordinary_jax()
    def _compile_evaluation(self) -> Any:
        policy = (self.shapes.train.actor, self.shapes.normalizer)
        critics = bias_lib.critics_of(self.experiment.config, self.shapes)
        program = jax.jit(population.evaluate(self.experiment))
        return program.lower(*policy, self._keys, np.uint32(0), critics).compile()

    def evaluate(self, policy: Mapping[str, Any], epoch: int, critics: Any) -> dict[str, Any]:
        """Return the metrics of an evaluation of `policy` and, unless None, `critics`, on one
        device; the same epoch has the same initial states, so a resumed run repeats them.
        """
        parts = policy["actor_params"], policy["normalizer"]
        program = self.prepare_evaluation().result()
        return jax.device_get(program(*parts, self._keys, np.uint32(epoch % 2**32), critics))


def options(platform: str | None = None, calls_host: bool = False) -> dict[str, str | bool]:
    """Return XLA's compiler options for the epoch on `platform`, by default the one in use.

    None where it `calls_host`: an observation that the host returned came a step late then, with
    XLA's older way to compile fusions (`--xla_cpu_use_fusion_emitters=false`, jaxlib 0.10.2). They
    avoid copies of what nobody reads any more: on a CPU of all parameters at every turn of
    the scan over updates, 5 % of its time; on a GPU of what leaves the branch on warm-up, 98
    launches per vector step of ant.
    """
    platform = platform or jax.default_backend()
    if calls_host or platform not in ("cpu", "gpu"):
        return {}
    return {f"xla_{platform}_copy_insertion_use_region_analysis": True}


def check_algorithm(experiment: Experiment) -> int:
    """Trace one gradient step of a user's algorithm, to report mistakes before compiling; return
    the rows of a batch that it learns from: `batch_size`, unless `augment` makes others of them.

    Raises:
      UsageError: one line, with the place in its file where it has one; the whole traceback is its
        cause. Losses that `train` was called with raise what they raise.
    """
    name, config, env = experiment.config.algorithm, experiment.config, experiment.episodes.env
    unnamed = name == "sac"
    if unnamed and experiment.algorithm == base.Algorithm():
        return config.batch_size
    sizes = env.observation_size, env.action_size
    try:
        metrics, rows = trace_update(sizes, experiment.algorithm, **experiment.static)
    except (Exception, SystemExit) as error:
        if unnamed or isinstance(error, UsageError):
            raise
        raise loader.usage_error_at(name, error) from error
    if problem := metrics_lib.problem(metrics, rows):
        raise UsageError(f"{'losses' if unnamed else f'algorithm = {name!r}'}: {problem}")
    return rows


def trace_update(
    sizes: tuple[int, int], algorithm: base.Algorithm, *, networks: Networks, config: Config
) -> tuple[dict[str, Any], int]:
    """Return the metrics of one gradient step, as shapes, and rows of its batch; raise what goes
    wrong in it.

    `sizes` are those of an observation and an action. No device is touched.
    """
    static: Any = {"networks": networks, "config": config}
    made: Any = algorithm.optimizers(config)
    if not isinstance(made, base.Optimizers):
        raise TypeError(f"optimizers: returns a {type(made).__name__}, no base.Optimizers")

    def project(params: Any) -> Any:
        assert algorithm.project
        return _unchanged("project", params, algorithm.project(params))

    checked = algorithm._replace(project=project if algorithm.project else None)

    def step(key: Any) -> Any:
        seen = history.size(config.history, *sizes), sizes[1]
        shapes = ((config.batch_size, *size) for size in ((seen[0],), (seen[1],), ()))
        observed, acted, scalar = map(jnp.zeros, shapes)
        batch = Transition(observed, acted, scalar, scalar, observed)
        if algorithm.augment:
            batch = _still_a_batch(batch, algorithm.augment(batch, key))
        state = base.init(key, *seen, algorithm=checked, **static)
        _try_to_act(key, state.actor, sizes, algorithm, static)
        if config.eval_q_bias:
            bias_lib.values(algorithm, state.critic, observed, acted, **static)
        keys = jax.random.split(key)
        moved, measured = base.update(state, batch, keys, algorithm=checked, **static)
        _unchanged("a gradient step", state, moved)
        metrics = {tag: value for metrics, _ in measured for tag, value in metrics.items()}
        return metrics, batch.reward

    metrics, reward = jax.eval_shape(step, jax.ShapeDtypeStruct((2,), jnp.uint32))
    return metrics, len(reward)


def _still_a_batch(drawn: Transition, augmented: Any) -> Transition:
    """Return what `augment` has made; raise an error where it is no batch of such rows."""
    if not isinstance(augmented, Transition):
        raise TypeError(
            f"augment returns a {type(augmented).__name__}, no mjx_sac.types.Transition"
        )
    for field, before, after in zip(drawn._fields, drawn, augmented, strict=True):
        shape, kind = jnp.shape(after), jnp.result_type(after)
        if shape[1:] != before.shape[1:] or not shape or kind != before.dtype:
            wanted = f"{before.dtype}{['rows', *before.shape[1:]]}".replace("'", "")
            raise ValueError(f"augment makes {field} {kind}{[*shape]}, not {wanted}")
    if len(rows := {len(x) for x in augmented}) > 1 or 0 in rows:
        counts = ", ".join(f"{len(x)} of {k}" for k, x in augmented._asdict().items())
        raise ValueError(f"augment returns rows that do not belong together: {counts}")
    return augmented


def _try_to_act(
    key: Any, actor: Any, sizes: tuple[int, int], algorithm: base.Algorithm, static: Any
) -> None:
    """Act in all environments; raise ValueError where actions have another shape, or noise has."""
    config: Config = static["config"]
    seen = history.size(config.history, *sizes)
    observed, wanted = jnp.zeros((config.num_envs, seen)), (config.num_envs, sizes[1])
    chosen = acting.distribution(actor, normalizer.init(sizes[0]), observed, **static)
    actions = [("the actor", action) for action in (chosen.sample(key)[0], chosen.mode())]
    if explore := algorithm.explore:
        noise = explore.init(key, *wanted, config)
        started = jnp.zeros(config.num_envs, bool)
        action, after = explore.act(chosen, noise, started, key, config)
        _unchanged("explore", noise, after)
        actions.append(("explore", action))
    for which, action in actions:
        if action.shape != wanted:
            raise ValueError(f"{which}'s actions have shape {action.shape}, not {wanted}")


def _unchanged(what: str, before: Any, after: Any) -> Any:
    """Return `after`; raise ValueError where its arrays have other names, shapes or types than
    those of `before`, for it goes around a loop.
    """
    old, new = (
        {name: f"{jnp.result_type(x)}{list(jnp.shape(x))}" for name, x in named_leaves(tree)}
        for tree in (before, after)
    )
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            is_now, was = new.get(name, "nothing"), old.get(name, "nothing")
            raise ValueError(f"{what} makes {name or 'it'} {is_now}, which was {was}")
    return after


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
