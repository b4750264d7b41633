"""Files of moving pictures: what can be written, and how many frames are needed to show things at their own speed."""

# pyright: basic
import itertools
import math
import pathlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

from mjx_sac.config import UsageError
from mjx_sac.policy import viewer

FORMATS = (".mp4", ".gif", ".html")

_FASTEST = {".mp4": 60, ".gif": 30, ".html": 60}  # frames per second; more are not seen
_GIF_SIZE = (400, 300)
_Moment = TypeVar("_Moment")


def check(out: pathlib.Path) -> None:
    """Refuses a file that cannot be made, before anything is compiled; makes its directory.

    Raises:
      UsageError: one line.
    """
    if out.suffix not in FORMATS:
        raise UsageError(f"out = {str(out)!r}: no such format: end it in {', '.join(FORMATS)}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        there = out.exists()
        out.open("ab").close()
        if not there:
            out.unlink()
    except OSError as error:
        raise UsageError(f"out = {str(out)!r}: {error.strerror}: choose another --out") from None
    if out.suffix == ".html":
        viewer.three()


def period(dt: float, suffix: str) -> float:
    """Seconds between frames: a multiple of `dt`, for a GIF a whole number of hundredths."""
    seconds = dt * max(1, math.ceil(1 / (_FASTEST[suffix] * dt) - 1e-6))
    return math.ceil(seconds * 100 - 1e-6) / 100 if suffix == ".gif" else seconds


def thinned(moments: Iterable[_Moment], dt: float, period: float) -> Iterator[_Moment]:
    """Of moments every `dt` seconds those to be shown every `period` seconds."""
    due = 0
    for i, moment in enumerate(moments):
        if i * dt >= due * period - 1e-6:
            due += 1
            yield moment


def write(frames: Iterator[np.ndarray], out: pathlib.Path, period: float) -> None:
    """Frames, one at a time, as `[height, width, 3]` bytes; shown for `period` seconds each."""
    {".mp4": _mp4, ".gif": _gif}[out.suffix](frames, out, period)


def _mp4(frames: Iterator[np.ndarray], out: pathlib.Path, period: float) -> None:
    import av

    first = next(frames)
    height, width = (n // 2 * 2 for n in first.shape[:2])  # as the encoder wants them
    with av.open(str(out), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(1 / period).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in itertools.chain([first], frames):
            image = np.ascontiguousarray(frame[:height, :width])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode())


def _gif(frames: Iterator[np.ndarray], out: pathlib.Path, period: float) -> None:
    from PIL import Image

    def reduced(frame: np.ndarray) -> Any:
        image = Image.fromarray(frame)
        image.thumbnail(_GIF_SIZE)
        return image

    images = map(reduced, frames)
    next(images).save(
        out, save_all=True, append_images=images, duration=round(period * 1000), loop=0
    )
