"""Event files: what is written is read, without what an interrupted run lost."""

import time

import pytest
from helpers.runs import scalars
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mjx_sac.config import UsageError
from mjx_sac.runs.event_files import EventWriter, read, starts

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
    assert starts(tmp_path) == [0, 2000]


def set_clock(monkeypatch, seconds):
    monkeypatch.setattr(time, "time", lambda: float(seconds))
    monkeypatch.setattr(time, "time_ns", lambda: seconds * 10**9)


def test_a_clock_that_is_set_back_changes_no_order(tmp_path, monkeypatch):
    """Three parts of a run at 9, 5 and 7 o'clock; TensorBoard goes by names."""
    for part, oclock in enumerate((9, 5, 7)):
        set_clock(monkeypatch, 3600 * oclock)
        write(tmp_path, [part + 1.0] * 3, first=1000 + 2000 * part)
    expected = {1000: 1.0, 2000: 1.0, 3000: 2.0, 4000: 2.0, 5000: 3.0, 6000: 3.0, 7000: 3.0}
    assert read(tmp_path) == {TAG: expected}
    assert scalars(tmp_path) == read(tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload().Scalars(TAG)
    times = [event.wall_time for event in events]
    assert times == sorted(times)
    assert times[0] == 9 * 3600


@pytest.mark.parametrize("oclock", [(9, 5, 7), (9, 7, 5), (5, 9, 7), (5, 7, 9)])
def test_older_files_are_ordered_by_what_is_in_them(tmp_path, monkeypatch, oclock):
    """Each resumes from the checkpoint at 2,000 and 4,000, one entry before the last."""
    for part, hour in enumerate(oclock):
        where = tmp_path / str(part)  # alone: an older version looked at no other file
        where.mkdir()
        set_clock(monkeypatch, 3600 * hour)
        write(where, [part + 1.0] * 3, first=1000 + 2000 * part)
        (path,) = where.iterdir()
        path.rename(tmp_path / path.name)
        where.rmdir()
    assert [*read(tmp_path)[TAG].values()] == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0]


def test_a_fallback_hides_what_came_after_the_older_checkpoint(tmp_path):
    """Logged until 2000, resumed until 4000, and then again from 1000."""
    write(tmp_path, [1.0, 1.0])
    write(tmp_path, [2.0, 2.0], first=3000)
    write(tmp_path, [3.0], first=2000)
    assert read(tmp_path) == {TAG: {1000: 1.0, 2000: 3.0}}
    assert scalars(tmp_path) == read(tmp_path)


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
