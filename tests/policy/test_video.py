"""Videos: what can be written, and their speed."""

import os
import re
import sys

import numpy as np
import pytest

from mjx_sac.config import UsageError
from mjx_sac.policy import video

FRAMES = [np.full((301, 501, 3), 20 * i, np.uint8) for i in range(4)]


@pytest.mark.parametrize(
    ("dt", "suffix", "period", "shown"),
    [
        (0.05, ".mp4", 0.05, [0, 1, 2, 3]),
        (0.008, ".mp4", 0.024, [0, 3, 6, 9]),  # 125 a second: every third, 41.7 a second
        # 0.045 s are no hundredths; at 0.05, 0.1 and 0.15 s the next one that is due.
        (0.015, ".gif", 0.05, [0, 4, 7, 10]),
    ],
)
def test_frames_are_left_out_at_the_same_speed(dt, suffix, period, shown):
    assert video.period(dt, suffix) == pytest.approx(period)
    assert list(video.thinned(range(shown[-1] + 1), dt, period)) == shown


def test_an_mp4_has_even_sizes_and_its_own_rate(tmp_path):
    import av

    video.write(iter(FRAMES), tmp_path / "v.mp4", 0.024)
    with av.open(str(tmp_path / "v.mp4")) as file:
        assert float(file.streams.video[0].average_rate) == pytest.approx(1 / 0.024)
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert np.shape(frames) == (4, 300, 500, 3)
    np.testing.assert_allclose([frame.mean() for frame in frames], [0, 20, 40, 60], atol=3)


def test_a_gif_is_small_and_repeats(tmp_path):
    from PIL import Image

    video.write(iter(FRAMES), tmp_path / "v.gif", 0.05)
    with Image.open(tmp_path / "v.gif") as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (4, 50, 0)
        assert image.size == (400, 240)  # 501 * 0.8 x 301 * 0.8


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".html"])
def test_a_check_leaves_nothing_but_the_folder(tmp_path, suffix):
    video.check(tmp_path / "new" / f"v{suffix}")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_check_leaves_what_is_there(tmp_path):
    (tmp_path / "v.gif").write_text("mine")
    video.check(tmp_path / "v.gif")
    assert (tmp_path / "v.gif").read_text() == "mine"


@pytest.mark.parametrize(
    ("file", "words"),
    [("v.avi", "end it in .mp4, .gif, .html"), ("/proc/none/v.mp4", "choose another --out")],
)
def test_what_cannot_be_written_is_one_line(tmp_path, file, words):
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        video.check(tmp_path / file)
    assert "\n" not in str(error.value)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "module"), [(".mp4", "av"), (".gif", "PIL"), (".html", "trimesh")]
)
def test_a_missing_extra_is_named(monkeypatch, tmp_path, suffix, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"needs {module}: .*--extra record"):
        video.check(tmp_path / "new" / f"v{suffix}")
    assert not os.listdir(tmp_path)
