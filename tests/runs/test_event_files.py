"""Event files: what is written is read, without what an interrupted run lost."""

import pytest
from helpers.runs import scalars

from mjx_sac.config import UsageError
from mjx_sac.runs.event_files import EventWriter, read

TAG = "eval/mean_reward"


def write(directory, values, first=1000):
    """One entry per 1,000 iterations, by a run that resumed just before `first`."""
    writer = EventWriter(directory, first - 1000, pytest.fail)
    for i, value in enumerate(values):
        writer.log(first + 1000 * i, {TAG: value})
    writer.close()


def test_curves_lack_what_an_interrupted_run_lost(tmp_path):
    """It logged at 1000 to 4000, had saved at 2000, and was resumed there."""
    write(tmp_path, [1.0, 2.0, 30.0, 40.0])
    write(tmp_path, [3.0], first=3000)
    assert read(tmp_path) == {TAG: {1000: 1.0, 2000: 2.0, 3000: 3.0}}
    assert scalars(tmp_path) == read(tmp_path), "TensorBoard's own reader agrees"


def test_a_half_written_record_ends_a_curve(tmp_path):
    write(tmp_path, [1.0, 2.0])
    path = next(tmp_path.glob("events*"))
    path.write_bytes(path.read_bytes()[:-6])
    assert read(tmp_path) == {TAG: {1000: 1.0}}


def test_a_damaged_record_is_named(tmp_path):
    write(tmp_path, [1.0, 2.0])
    path = next(tmp_path.glob("events*"))
    data = bytearray(path.read_bytes())
    data[data.index(TAG.encode()) - 1] = 0xFF  # the length of the tag
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is damaged at byte"):
        read(tmp_path)


def test_a_file_that_cannot_be_written_warns_once(tmp_path):
    (tmp_path / "file").touch()
    warnings = []
    writer = EventWriter(tmp_path / "file", 0, warnings.append)
    writer.log(1000, {TAG: 1.0})
    writer.close()
    (warning,) = warnings
    assert "no event file from here on" in warning
