"""TensorBoard event files: scalars over iterations, and the hyperparameters."""

# pyright: basic
import contextlib
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]  # made at import
from tensorboardX.proto.summary_pb2 import HistogramProto, Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import hparams

from mjx_sac.config import UsageError
from mjx_sac.runs.tracking import Value

Curves = dict[str, dict[int, float]]
"""By tag, values by iterations."""


class EventWriter:
    """Writes one event file into a run's directory, so that TensorBoard shows one curve per run.

    What is logged is on disk when `log` returns: curves are never behind a checkpoint. (With
    `SummaryWriter` a full disk ends its thread, and training waits for its queue for ever.) Where
    nothing can be written, training continues.
    """

    def __init__(self, directory: Path, iterations: int, warn: Callable[[str], None]) -> None:
        """Open the file, and hide what an interrupted run logged past `iterations` and lost.

        `warn` is called once, if events cannot be written.
        """
        self._warn, self._wall_time = warn, 0.0
        self._writer: RecordWriter | None = None
        try:
            self._writer = RecordWriter(str(self._later_than_all(directory)))
        except OSError as error:
            self._give_up(error)
        self._write(Event(step=iterations + 1, file_version="brain.Event:2"))
        self._write(Event(step=iterations + 1, session_log=SessionLog(status=SessionLog.START)))

    def _later_than_all(self, directory: Path) -> Path:
        """Return a name after those that are there, and do not let wall times decrease either.

        TensorBoard orders files by name, and clocks are set back.
        """
        opened = int(time.time())
        for path in _paths(directory):
            if found := re.search(r"tfevents\.(\d+)", path.name):
                opened = max(opened, int(found[1]) + 1)
            with contextlib.suppress(UsageError, OSError):  # those who read it say what is wrong
                times = (event.wall_time for event in _events(path))
                self._wall_time = max(self._wall_time, *times, 0.0)
        host = socket.gethostname()
        return directory / f"events.out.tfevents.{opened:010d}.{host}.{time.time_ns()}"

    def hyperparameters(self, config: Mapping[str, Any]) -> None:
        """Fill the HParams tab, in this file; tensorboardX would make a directory for it."""
        # A path may hold bytes that are no UTF-8.
        texts = {k: str(v).encode(errors="replace").decode() for k, v in config.items()}
        plain = {k: v if isinstance(v, int | float) else texts[k] for k, v in config.items()}
        for summary in hparams(plain, {"eval/mean_reward": 0.0, "rollout/ep_rew_mean": 0.0}):
            self._write(Event(summary=summary))

    def log(self, iterations: int, metrics: Mapping[str, Value]) -> None:
        """Write scalars and histograms by tag."""
        values = [Summary.Value(tag=tag, **_summary(value)) for tag, value in metrics.items()]
        self._write(Event(step=iterations, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        if self._writer is None:
            return
        event.wall_time = self._wall_time = max(time.time(), self._wall_time)
        try:
            self._writer.write(event.SerializeToString())
            self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        reason = error.strerror or error
        self._warn(f"warning: no event file from here on ({reason}): curves will be missing")
        self._writer = None

    def film(self, iterations: int, path: Path) -> None:
        """Show a GIF in the images tab, where it plays."""
        data = path.read_bytes()
        width, height = struct.unpack_from("<HH", data, 6)
        image = Summary.Image(encoded_image_string=data, width=width, height=height, colorspace=3)
        value = Summary.Value(tag="film", image=image)
        self._write(Event(step=iterations, summary=Summary(value=[value])))

    def close(self, status: str = "finished") -> None:
        """Close the file."""
        if self._writer:
            self._writer.close()


def _summary(value: Value) -> dict[str, Any]:
    if not isinstance(value, tuple):
        return {"simple_value": value}
    shares, edges = value
    bins = {"bucket": shares, "bucket_limit": edges[1:], "min": edges[0], "max": edges[-1]}
    return {"histo": HistogramProto(num=sum(shares), **bins)}


def read(directory: Path) -> Curves:
    """Return a run's curves, without what was logged and lost.

    Files are in the order of their names, but one that resumes comes after one that got there. The
    names that older versions gave are wrong where the clock was set back in between. With
    `--fallback` too, two files may resume from what a third has, and nothing tells which was first.

    (TensorBoard's own reader takes a second to import, and imports TensorFlow if it is installed.)

    Raises:
      UsageError: an event file is damaged.
    """
    curves: Curves = {}
    logged, files = {0}, [[*_events(path)] for path in _paths(directory)]
    while files:
        ready = (i for i, events in enumerate(files) if _resumes_at(events) in logged)
        for event in files.pop(next(ready, 0)):
            if event.session_log.status == SessionLog.START:
                for tag, curve in curves.items():
                    curves[tag] = {x: y for x, y in curve.items() if x < event.step}
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    curves.setdefault(value.tag, {})[event.step] = value.simple_value
                    logged.add(event.step)
    return {tag: curve for tag, curve in curves.items() if curve}


def starts(directory: Path) -> list[int]:
    """Return after how many iterations a run was started, each time."""
    return [_resumes_at([*_events(path)]) for path in _paths(directory)]


def _paths(directory: Path) -> list[Path]:
    return sorted(directory.glob("events.out.tfevents.*"))


def _resumes_at(events: Sequence[Any]) -> int:
    """Return after how many iterations the run was started that wrote `events`."""
    return next((e.step - 1 for e in events if e.session_log.status == SessionLog.START), 0)


def _events(path: Path) -> Iterator[Any]:
    """Yield the events of a file, whose last record a run in progress may have half written.

    A record is a length (8 bytes), its checksum (4), an `Event` and its checksum (4).
    """
    data, start = path.read_bytes(), 0
    while start + 12 <= len(data):
        end = start + 12 + struct.unpack_from("<Q", data, start)[0]
        if end > len(data):
            return
        try:
            yield Event.FromString(data[start + 12 : end])
        except DecodeError:
            place = f"{path} is damaged at byte {start:,}"
            raise UsageError(f"{place}: set it aside, and the run's others are read") from None
        start = end + 4
