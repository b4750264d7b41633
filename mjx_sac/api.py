"""Training from Python: the host's loop around the compiled epoch."""

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.stages import Lowered

from mjx_sac import algorithm, compilation, envs, evaluation, memory, rundir, trainer
from mjx_sac.checkpoint import Checkpoints
from mjx_sac.config import Config, TrainingError
from mjx_sac.console import Console
from mjx_sac.envs.base import Environment, spaces
from mjx_sac.envs.simulator import HostEnvironment
from mjx_sac.logger import Logger
from mjx_sac.losses import Losses
from mjx_sac.networks import Networks
from mjx_sac.trainer import Agent, RunState


class Result(NamedTuple):
    """What `train` returns.

    Attributes:
      state: the final state.
      metrics: the scalars of the last epoch.
      agent: what is needed to use the state: environment, networks, configuration.
    """

    state: RunState
    metrics: dict[str, float]
    agent: Agent


Callback = Callable[[int, Mapping[str, float], RunState], bool | None]
"""Called after every epoch with iterations, scalars and state, which is only lent: the next epoch overwrites it. Returning
False ends the run, with a checkpoint."""


def train(
    config: Config,
    *,
    losses: Losses | None = None,
    networks: Networks | None = None,
    env: Environment | HostEnvironment | None = None,
    callbacks: Iterable[Callback] = (),
    overwrite: bool = False,
    fallback: bool = False,
) -> Result:
    """Trains as `config` says, going on from the newest checkpoint in its run directory if there is one.

    Args:
      config: hyperparameters; `resolve({"env": "ant"})` also reads the tuned ones that come with the package.
      losses: the algorithm, by default what `config.losses` names, or soft actor-critic.
      networks: actor and critic, by default that algorithm's.
      env: the environment, by default the one that `config.env` names.
      callbacks: called after every epoch.
      overwrite: start anew where a run exists.
      fallback: pass over newer checkpoints that are damaged.

    Raises:
      UsageError: the configuration cannot be trained, or does not fit the run it should go on with.
      TrainingError: a loss or a parameter stopped being finite, or a checkpoint cannot be written.
      KeyboardInterrupt: Ctrl-C or SIGTERM: at once before the first epoch, then after the epoch it came in was finished and
        saved.
    """
    found = algorithm.load(config)
    attach = partial(rundir.attach, config, overwrite=overwrite, fallback=fallback, check_env=env is None)
    directory = attach().directory
    with Console(config.iterations) as console, _Interrupt(console) as interrupt, rundir.lock(directory):
        run = attach(verify=True)  # again: now that nobody else can save there
        console.phase(f"building {config.env}")
        compilation.set_up(config.device, config.deterministic)
        env = env or envs.make(config.env, config)
        networks = networks or found.networks(config, env.action_size)
        agent = trainer.make_agent(config, env, networks, losses or found.losses)
        algorithm.check(agent)
        init = partial(trainer.init, agent, jax.random.PRNGKey(config.seed))
        memory.check(config, jax.eval_shape(init), jax.devices()[0])
        lowered = jax.jit(partial(trainer.epoch, agent), donate_argnums=0).lower(jax.eval_shape(init))
        if overwrite:  # only now: what can be wrong with an environment has shown itself
            rundir.clear(run.directory)
        rundir.set_aside(run)
        checkpoints = Checkpoints(run.directory, config, spaces(env))
        state = _restore(run, agent, checkpoints, jax.eval_shape(init), console)
        rundir.write_kwargs(run)
        logger = Logger(run.directory, run.latest or 0, console.message)
        host = _Host(run, agent, checkpoints, logger, console, list(callbacks))
        try:
            return host.loop(state, init, lowered, interrupt)
        except jax.errors.JaxRuntimeError as error:
            raise agent.episodes.failure or error from None
        finally:
            agent.episodes.close()
            logger.close()
            checkpoints.close()


def _restore(run: rundir.Run, agent: Agent, checkpoints: Checkpoints, like: RunState, console: Console) -> RunState | None:
    """The state to go on from, told with what has changed since; None where the run begins."""
    if run.latest is None:
        return None
    state = checkpoints.restore(run.latest, like)
    changes = "".join(f", {name} {old} -> {new}" for name, (old, new) in run.changed.items())
    fresh = "; the simulator starts new episodes" if agent.episodes.on_host else ""
    console.message(f"going on from {run.directory} at {run.latest:,} iterations{changes}{fresh}")
    if run.edited:
        console.message(f"{run.config.losses} has changed since {run.directory} was saved: training goes on with what it says now")
    return state


@dataclasses.dataclass(frozen=True)
class _Host:
    """What the host keeps hold of while the device works."""

    run: rundir.Run
    agent: Agent
    checkpoints: Checkpoints
    logger: Logger
    console: Console
    callbacks: list[Callback]

    def loop(self, restored: RunState | None, init: Callable[[], RunState], lowered: Lowered, interrupt: "_Interrupt") -> Result:
        """Epoch, evaluation, log, checkpoint, until all iterations are done."""
        config, iterations = self.run.config, self.run.latest or 0
        saved = iterations
        metrics: dict[str, float] = {}
        if restored is not None and iterations >= config.iterations:
            return Result(restored, metrics, self.agent)
        self.console.phase("compiling")
        self.logger.hyperparameters(config.model_dump())
        programs = _Programs(self.agent, lowered, jax.eval_shape(init))
        state: RunState = restored or jax.jit(init)()
        epoch = programs.epoch.result()
        going_on = True
        interrupt.patient = True
        while iterations < config.iterations and going_on and not interrupt.received:
            started = time.perf_counter()
            self._announce(iterations, programs)
            state, raw = epoch(state)
            metrics = scalars(jax.device_get(raw), config, iterations, time.perf_counter() - started)
            iterations += config.epoch_iterations
            _check_finite(metrics, iterations)
            if config.episodes_per_eval and metrics["train/n_updates"]:
                self.console.phase("evaluating")
                metrics |= programs.evaluate(state, iterations // config.epoch_iterations)
            metrics |= self.checkpoints.cost
            metrics["time/fps"] = config.epoch_iterations / (time.perf_counter() - started)
            self.logger.log(iterations, metrics)
            for callback in self.callbacks:
                going_on &= callback(iterations, metrics, state) is not False
            if iterations // config.checkpoint_interval > saved // config.checkpoint_interval:
                self.console.phase("saving")
                self.checkpoints.save(iterations, state)
                saved = iterations
            reward = metrics.get("eval/mean_reward", metrics.get("rollout/ep_rew_mean"))
            self.console.progress(iterations, (metrics["time/fps"], metrics["time/updates_per_second"]), reward)
        self.console.phase("saving")
        if iterations > saved:
            self.checkpoints.save(iterations, state)
        self.checkpoints.wait()
        if interrupt.received:
            raise KeyboardInterrupt
        self.console.phase("done")
        cost = self.checkpoints.cost
        size = f", checkpoint {cost['checkpoint/bytes'] / 1e6:,.1f} MB in {cost['checkpoint/seconds']:.1f} s" if cost else ""
        self.console.message(f"done: {iterations:,} iterations in {self.run.directory}{size}")
        return Result(state, metrics, self.agent)

    def _announce(self, iterations: int, programs: "_Programs") -> None:
        if iterations < self.run.config.warm_up_steps:
            self.console.phase("warm-up")
        else:
            self.console.phase("training")
            programs.prepare_evaluation()


class _Interrupt:
    """Ctrl-C or SIGTERM ends the run after the current epoch, with a checkpoint; a second one ends the process at once.

    Attributes:
      patient: there is an epoch to wait for. Until then a signal raises KeyboardInterrupt where it strikes.
      received: a signal came.
    """

    def __init__(self, console: Console) -> None:
        self.patient = self.received = False
        self._console, self._previous = console, {}

    def __enter__(self) -> "_Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous = {s: signal.signal(s, self._receive) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: Any) -> None:
        del number, frame
        self.received = True
        for each in self._previous:
            signal.signal(each, signal.SIG_DFL)
        if not self.patient:
            raise KeyboardInterrupt
        self._console.message("interrupted: finishing this epoch and saving; once more ends at once")


class _Programs:
    """The two compiled programs, built in the background: the epoch while the first state is made, evaluation while the
    first epochs run.

    Attributes:
      epoch: future of the compiled, donating `trainer.epoch`.
    """

    def __init__(self, agent: Agent, lowered: Lowered, shapes: RunState) -> None:
        self._agent = agent
        self._key = jax.random.fold_in(jax.random.PRNGKey(agent.config.seed), 0x6576616C)  # "eval": no key of training's
        self._shapes = (shapes.train.actor_params, shapes.normalizer)
        self._evaluate: Future[Any] | None = None
        self.epoch = compilation.in_background(partial(lowered.compile, compiler_options=compilation.options()))

    def prepare_evaluation(self) -> None:
        """Starts to compile, unless it has been: when training begins, so as not to delay the first gradient step."""
        if self._evaluate is None and self._agent.config.episodes_per_eval:
            self._evaluate = compilation.in_background(self._compile_evaluation)

    def _compile_evaluation(self) -> Any:
        episodes = self._agent.config.episodes_per_eval

        def evaluate(actor_params: Any, stats: Any, key: Any) -> Any:
            result = evaluation.evaluate(self._agent, actor_params, stats, key, episodes=episodes)
            return evaluation.summary(result)

        return jax.jit(evaluate).lower(*self._shapes, self._key).compile()

    def evaluate(self, state: RunState, epoch: int) -> dict[str, float]:
        """The same initial states whenever the same epoch is evaluated, so a run that goes on repeats its evaluations."""
        self.prepare_evaluation()
        assert self._evaluate
        key = jax.random.fold_in(self._key, epoch)
        metrics = self._evaluate.result()(state.train.actor_params, state.normalizer, key)
        return {tag: float(value) for tag, value in jax.device_get(metrics).items()}


def scalars(raw: Mapping[str, Any], config: Config, iterations: int, seconds: float) -> dict[str, float]:
    """What was measured in the epoch that began at `iterations`, as floats; what was not is left out."""
    metrics = {tag: float(value) for tag, value in raw.items()}
    trained = round(metrics.pop("trained_vector_steps"))
    if not trained:
        metrics = {tag: value for tag, value in metrics.items() if not tag.startswith(("train/", "diagnostics/"))}
    if not metrics["rollout/episodes"]:
        metrics = {tag: value for tag, value in metrics.items() if tag not in ("rollout/ep_rew_mean", "rollout/ep_len_mean")}
    updates = trained * config.updates_per_vector_step
    vector_steps = (iterations + config.epoch_iterations) // config.num_envs
    total = max(vector_steps - config.warm_up_vector_steps, 0) * config.updates_per_vector_step
    return {
        **metrics,
        "train/n_updates": float(total),
        "time/iterations_per_second": config.epoch_iterations / seconds,
        "time/updates_per_second": updates / seconds,
    }


def _check_finite(metrics: Mapping[str, float], iterations: int) -> None:
    if not metrics["replay/size"]:
        raise TrainingError(
            f"no environment step was finite in {iterations:,} iterations, so there is nothing to learn from: look for NaN in "
            f"the environment's observations, rewards and state"
        )
    if metrics["health/nonfinite_parameters"]:
        metrics = {**metrics, "train/parameters": math.nan}
    for tag, value in sorted(metrics.items(), key=lambda item: not item[0].startswith("train/")):
        if not math.isfinite(value):
            raise TrainingError(
                f"{tag} is {value} after {iterations:,} iterations: the run cannot go on; checkpoints saved before are "
                f"intact (a lower q_lr, policy_lr or reward_scale may help)"
            )
