"""Write .mp4 and .gif files whose frames pass at the speed of what they show."""

# pyright: basic
import math
import pathlib
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from mjx_sac.config import UsageError, require
from mjx_sac.policy import viewer

_FASTEST = {".mp4": 60, ".gif": 30, ".html": 60}  # frames per second; more are not seen
_MODULES = {".mp4": ["av", "imageio"], ".gif": ["PIL"], ".html": ["trimesh"]}
_T = TypeVar("_T")


def check(out: pathlib.Path) -> None:
    """Make the directory of `out`; UsageError if its format is unknown, or it cannot be written."""
    if out.suffix not in _FASTEST:
        raise UsageError(f"out = {str(out)!r}: no such format: end it in {', '.join(_FASTEST)}")
    require(_MODULES[out.suffix], "record", f"out = {str(out)!r}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        existed = out.exists()
        out.open("ab").close()
        if not existed:
            out.unlink()
    except OSError as error:
        raise UsageError(f"out = {str(out)!r}: {error.strerror}: choose another --out") from None
    if out.suffix == ".html":
        viewer.three()


def period(dt: float, suffix: str) -> float:
    """Return seconds between frames: a multiple of `dt`; for a GIF a whole number of hundredths."""
    seconds = dt * max(1, math.ceil(1 / (_FASTEST[suffix] * dt) - 1e-6))
    return math.ceil(seconds * 100 - 1e-6) / 100 if suffix == ".gif" else seconds


def thinned(moments: Iterable[_T], dt: float, period: float) -> Iterator[_T]:
    """Yield, from moments every `dt` seconds, those to show every `period` seconds."""
    due = 0
    for i, moment in enumerate(moments):
        if i * dt >= due * period - 1e-6:
            due += 1
            yield moment


def write(frames: Iterator[np.ndarray], out: pathlib.Path, period: float) -> None:
    """Write frames of one size, `[height, width, 3]` bytes, each shown for `period` seconds."""
    {".mp4": _mp4, ".gif": _gif}[out.suffix](frames, out, period)


def _mp4(frames: Iterator[np.ndarray], out: pathlib.Path, period: float) -> None:
    import imageio.v3 as imageio

    with imageio.imopen(out, "w", plugin="pyav") as file:
        file.init_video_stream("libx264", fps=1 / period, pixel_format="yuv420p")
        for frame in frames:
            height, width = (n // 2 * 2 for n in frame.shape[:2])  # H.264 takes even sizes
            file.write_frame(frame[:height, :width])


def _gif(frames: Iterator[np.ndarray], out: pathlib.Path, period: float) -> None:
    from PIL import Image

    def reduced(frame: np.ndarray) -> Image.Image:
        image = Image.fromarray(frame)
        image.thumbnail((400, 300))
        return image

    small = map(reduced, frames)
    next(small).save(out, save_all=True, append_images=small, duration=round(1000 * period), loop=0)
