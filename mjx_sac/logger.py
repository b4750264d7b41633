"""TensorBoard event files: scalars over iterations, and the hyperparameters."""

# pyright: basic
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]  # made at import
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.summary import hparams


class Logger:
    """Event files in the run's own directory, so that `tensorboard --logdir runs` shows one curve per run.

    What is logged is on disk when `log` returns: a checkpoint's curves are never behind it. (`SummaryWriter` writes from a thread,
    which a full disk ends, and then training waits for its queue for ever.) Where nothing can be written, training goes on.
    """

    def __init__(self, directory: pathlib.Path, iterations: int, warn: Callable[[str], None]) -> None:
        """A run that goes on continues its curves: what an interrupted one logged past `iterations`, and lost, is hidden.

        Args:
          directory: the run's.
          iterations: of the checkpoint that it goes on from.
          warn: called once, if events cannot be written.
        """
        self._warn = warn
        self._writer: EventsWriter | None = None
        try:
            # A name of its own even for two starts within a second.
            self._writer = EventsWriter(str(directory / "events"), f".{time.time_ns()}")
        except OSError as error:
            self._give_up(error)
        self._write(Event(step=iterations + 1, file_version="brain.Event:2"))
        self._write(Event(step=iterations + 1, session_log=SessionLog(status=SessionLog.START)))

    def hyperparameters(self, config: Mapping[str, Any]) -> None:
        """Fills the HParams tab, in this event file and not, as tensorboardX does, in a directory of its own."""
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in config.items()}
        for summary in hparams(plain, {"eval/mean_reward": 0.0, "rollout/ep_rew_mean": 0.0}):
            self._write(Event(summary=summary))

    def log(self, iterations: int, metrics: Mapping[str, float]) -> None:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()]
        self._write(Event(step=iterations, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        if self._writer is None:
            return
        event.wall_time = time.time()
        try:
            self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._warn(f"warning: no event file from here on ({error.strerror or error}): curves will be missing; training goes on")
        self._writer = None

    def close(self) -> None:
        if self._writer:
            self._writer.close()
