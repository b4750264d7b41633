"""Arrays on disk: what is written comes back, what is the same is shared, zeros take no room."""

import os
import pathlib
import tempfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mjx_sac.runs import array_store
from mjx_sac.runs.checkpoint import Checkpoints
from mjx_sac.runs.directory import ITEMS

pytestmark = pytest.mark.smoke

DTYPES = [np.float32, np.int32, np.uint32, np.bool_, np.float16, ml_dtypes.bfloat16]


@st.composite
def arrays(draw):
    shape = tuple(draw(st.lists(st.integers(0, 6), max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(0, 2 if draw(st.booleans()) else 200, size=shape) * draw(
        st.integers(0, 1)
    )
    return np.asarray(values).astype(draw(st.sampled_from(DTYPES)))


@settings(max_examples=60, deadline=None)
@given(
    named=st.dictionaries(st.text("abc.", min_size=1, max_size=4), arrays(), max_size=5),
    piece=st.sampled_from([16, 64, 2**20]),
)
def test_what_is_written_comes_back_bit_for_bit(named, piece):
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_store, "_PIECE", piece)
        array_store.write(pathlib.Path(directory), named, {"iterations": 7}, None)
        patch.setattr(array_store, "_PIECE", 2**20)  # an older or newer version may cut otherwise
        assert array_store.verify(pathlib.Path(directory))["iterations"] == 7
        back = dict(array_store.read(pathlib.Path(directory)))
    assert list(back) == list(named)
    for name, array in named.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()


def test_zeros_take_no_room_and_what_is_the_same_is_written_once(tmp_path):
    rows = array_store._PIECE // 4  # of one float32: a piece each
    ring = np.zeros((4 * rows, 1), np.float32)
    ring[:rows] = 1.0
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    written = array_store.write(first, {"ring": ring}, {}, None)
    assert written == (array_store._PIECE, array_store._PIECE), "three of four pieces are zeros"
    ring[rows : 2 * rows] = 2.0
    written = array_store.write(second, {"ring": ring}, {}, first)
    assert written == (2 * array_store._PIECE, array_store._PIECE), "the first piece is linked"
    (_, back), *_ = array_store.read(second)
    np.testing.assert_array_equal(back, ring)


def test_names_are_on_the_disk_too(tmp_path, monkeypatch):
    """After a power cut a file without its name would be gone."""
    synced, fsync = [], os.fsync

    def record(descriptor):
        path = pathlib.Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced.append(str(path.relative_to(tmp_path)).replace("writing-", ""))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    checkpoints = Checkpoints(tmp_path, 1, {}, fetch=dict)
    checkpoints.save(7, {item: {"x": np.ones(3)} for item in ITEMS})
    checkpoints.wait()
    checkpoints.close()
    for item in ITEMS:
        where = f"checkpoints/7/{item}"
        assert synced.index(where) > synced.index(f"{where}/manifest.json")
    assert synced[-2:] == ["checkpoints/7", "checkpoints"]


def test_minus_zero_is_not_taken_for_zero(tmp_path):
    array = np.full(array_store._PIECE, -0.0, np.float32)
    array_store.write(tmp_path, {"x": array}, {}, None)
    assert np.signbit(dict(array_store.read(tmp_path))["x"]).all()
