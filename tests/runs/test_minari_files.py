"""Minari's data sets: written and read back row by row, read as others write them, refused."""

import itertools
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from helpers.cli import run
from helpers.datasets import SPACES, episode, recorded, same_rows, transitions
from helpers.envs import Counter
from helpers.runs import flags, make_config, save_run
from hypothesis import given, settings
from hypothesis import strategies as st

from mjx_sac.config import UsageError
from mjx_sac.runs import dataset, minari_files
from mjx_sac.training.compiled import replay
from mjx_sac.training.host import train

minari = pytest.importorskip("minari")
pytest.importorskip("h5py")
pytest.importorskip("pyarrow")


@pytest.fixture(autouse=True)
def _root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


ONE = {
    "observations": np.arange(6.0, dtype=np.float32).reshape(3, 2),
    "actions": np.array([[-2.0], [1.0]], np.float32),
    "rewards": [5.0, 6.0],
    "terminations": [False, True],
    "truncations": [False, False],
}
"""An episode of two steps."""


NUMBERS = itertools.count()


def create(name, *episodes, observation=None, action=None, form="hdf5"):
    """Write what others would, in a format of Minari's: `episodes` are changes of ONE."""
    from minari.data_collector import EpisodeBuffer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            name,
            [EpisodeBuffer(**{**ONE, **changes}) for changes in episodes],
            observation_space=observation or Box(-np.inf, np.inf, (2,)),
            action_space=action or Box(-2, 2, (1,)),
            data_format=form,
        )


def same(a, b):
    for name in ("observation", "action", "reward", "terminated", "row"):
        one, other = getattr(a, name), getattr(b, name)
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other, err_msg=name)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=5))
def test_what_is_written_is_read_back(lengths):
    given_ = recorded(*(episode(i, n, over) for i, (n, over) in enumerate(lengths)))
    name = f"mine/x{next(NUMBERS)}-v0"
    minari_files.write(given_, name, None, "sac", "a test")
    found = dataset.read(name)
    same(found, given_)
    assert found.sha256() == given_.sha256()


@pytest.mark.parametrize("form", ["arrow", "parquet"])
@settings(deadline=None, max_examples=5)
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=12))
def test_the_same_rows_are_read_from_arrow_and_parquet(form, lengths):
    given_ = recorded(*(episode(i, n, over) for i, (n, over) in enumerate(lengths)))
    name = f"mine/x{next(NUMBERS)}-v0"
    minari_files.write(given_, name, None, "sac", "a test")
    written = minari.load_dataset(name)
    names = ("observations", "actions", "rewards", "terminations", "truncations")
    episodes = [{k: getattr(one, k) for k in names} for one in written]
    spaces = {"observation": written.observation_space, "action": written.action_space}
    create(f"theirs/{name}", *episodes, form=form, **spaces)
    data = minari_files.root() / "theirs" / name / "data"
    assert len([*data.glob(f"*/*.{form}")]) == len(lengths), "a file for each episode"
    same(dataset.read(f"theirs/{name}"), given_)


def test_a_runs_buffer_survives_the_round_trip_row_by_row(tmp_path, capsys):
    directory = tmp_path / "run"
    result = train.train(make_config(logdir=str(directory), episodes_per_eval=0, iterations=96))
    code, out, err = run(capsys, "dataset", directory, "mine/counter-v0")
    assert (code, err) == (0, "")
    assert "counter-v0: 64 transitions of counter, 16 episodes; mean return 10.0 of the" in out
    buffer = replay.of_recorded(dataset.read("mine/counter-v0"))
    for n_step in (1, 3):
        same_rows(transitions(buffer, n_step), transitions(result.state.replay, n_step))
    whole = [one.rewards.sum() for one in minari.load_dataset("mine/counter-v0") if len(one) == 5]
    assert set(whole) == {0 + 1 + 2 + 3 + 4}


@pytest.mark.parametrize("bound", [1.0, 2.0, 0.4])
def test_actions_are_written_as_the_environment_takes_them(bound):
    action = {"shape": [1], "dtype": "float32", "low": [-bound], "high": [bound]}
    given_ = recorded(episode(1, 4, True), spaces={"action": action})
    minari_files.write(given_, "mine/x-v0", None, "sac", "a test")
    (written,) = minari.load_dataset("mine/x-v0")
    np.testing.assert_allclose(written.actions, bound * given_.action, rtol=1e-6)
    assert (written.actions.dtype, written.truncations.tolist()) == (np.float32, [False] * 4)
    found = dataset.read("mine/x-v0")
    if bound == 0.4:  # no power of two: a rounding
        np.testing.assert_allclose(found.action, given_.action, rtol=1e-6)
    else:
        same(found, given_)
    assert found.spaces["action"]["high"] == [pytest.approx(bound)]


def test_a_gymnasium_environment_can_be_recovered():
    action = {"shape": [1], "dtype": "float32", "low": [-2.0], "high": [2.0]}
    given_ = recorded(episode(1, 4, True), spaces={"action": action})
    minari_files.write(given_, "mine/x-v0", "Pendulum-v1", "sac", "a test")
    env = minari.load_dataset("mine/x-v0").recover_environment()
    assert env.spec.id == gymnasium.spec("Pendulum-v1").id
    env.close()


def test_others_data_are_read():
    cut = {"terminations": [False, False], "truncations": [False, True]}
    create("theirs/x-v1", {}, {**cut, "actions": np.array([[9.0], [0.0]])})
    found = dataset.read("theirs/x-v1")
    # The second is cut by a time limit, and 9 is what the environment would have made 2.
    assert found.terminated.tolist() == [False, True, False, False]
    assert found.action.ravel().tolist() == [-1, 0.5, 1, 0]
    assert found.observation.tolist() == [[0, 1], [2, 3], [4, 5]] * 2
    assert found.mean_return() == 11
    assert found.spaces["action"] == {"low": [-2.0], "high": [2.0]}


def test_observations_in_parts_are_made_flat():
    space = Dict({"b": Box(-9, 9, (1,)), "a": Box(-9, 9, (2, 1))})  # sorted by Gymnasium: a, b
    parts = {"a": np.arange(6.0).reshape(3, 2, 1), "b": np.array([[7.0], [8.0], [9.0]])}
    create("theirs/x-v0", {"observations": parts}, observation=space)
    assert dataset.read("theirs/x-v0").observation.tolist() == [[0, 1, 7], [2, 3, 8], [4, 5, 9]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"terminations": [False, False]}, "episode 0 has no end: its last step must terminate or"),
        ({"truncations": [True, False]}, "episode 0 continues after its end at step 1: cut it"),
        ({"observations": np.zeros((2, 2))}, "episode 0 returned .*observation"),
        ({"rewards": [1.0, np.nan]}, "a number under reward is not finite: leave that episode"),
    ],
)
def test_what_cannot_be_learned_from_is_one_line(changes, words):
    create("theirs/x-v0", {}, changes) if "rewards" in changes else create("theirs/x-v0", changes)
    bounds = {"action": {**SPACES["action"], "low": [-2.0], "high": [2.0]}}
    with pytest.raises(UsageError, match=f"dataset = 'theirs/x-v0': {words}"):
        dataset.read("theirs/x-v0").check("theirs/x-v0", 2, bounds)


def test_empty_damaged_and_other_kinds_of_actions_are_one_line(tmp_path):
    create("theirs/none-v0")
    with pytest.raises(UsageError, match="'theirs/none-v0': there is no transition in it"):
        dataset.read("theirs/none-v0")
    create("theirs/few-v0", {"actions": np.array([0, 1])}, action=Discrete(2))
    with pytest.raises(UsageError, match=r"actions are Discrete\(2\): .*actions Box with finite"):
        dataset.read("theirs/few-v0")
    create("theirs/bad-v0", {})
    path = minari_files.root() / "theirs/bad-v0/data/main_data.hdf5"
    path.write_bytes(path.read_bytes()[:1000])
    message = r"'theirs/bad-v0': cannot be read \(OSError: .*\): write or download it again"
    with pytest.raises(UsageError, match=message):
        dataset.read("theirs/bad-v0")
    path.with_name("metadata.json").write_text("{")
    with pytest.raises(UsageError, match="'theirs/bad-v0': cannot be read"):
        dataset.read("theirs/bad-v0")


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_empty_and_damaged_files_of_other_formats_are_one_line(form):
    create("theirs/none-v0", form=form)
    with pytest.raises(UsageError, match="'theirs/none-v0': there is no transition in it"):
        dataset.read("theirs/none-v0")
    create("theirs/bad-v0", {}, {}, form=form)
    dataset.read("theirs/bad-v0")
    path = next((minari_files.root() / "theirs/bad-v0/data/1").glob(f"*.{form}"))
    whole = path.read_bytes()
    for damaged in (whole[:100], b""):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match=r"'theirs/bad-v0': cannot be read \(ArrowInvalid"):
            dataset.read("theirs/bad-v0")


def test_the_nearest_name_is_suggested():
    with pytest.raises(UsageError, match=r"no Minari data set in .*: name a run as run:DIRECTORY"):
        dataset.check("theirs/x-v0")
    create("theirs/x-v0", {})
    with pytest.raises(UsageError, match=r"'theirs/x-v1': no Minari.*; did you mean theirs/x-v0\?"):
        dataset.check("theirs/x-v1")
    with pytest.raises(UsageError, match=r"'zzz': no Minari .*; there are theirs/x-v0"):
        dataset.check("zzz")


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"'x-v0': needs minari and h5py .*'\.\[offline\]'"):
        dataset.check("x-v0")
    with pytest.raises(UsageError, match=r"out = 'x-v0': needs minari .*'\.\[offline\]'"):
        minari_files.check_name("x-v0")


def test_bad_commands_are_one_line(tmp_path, capsys):
    save_run(tmp_path / "run", Counter())
    create("theirs/x-v0", {})

    def message(*arguments):
        code, _, err = run(capsys, *arguments)
        assert (code, err.count("\n")) == (2, 1)
        return err

    here = ("dataset", tmp_path / "run")
    assert "out = '/tmp/Mine': no name of Minari's: such as Mine-v0" in message(*here, "/tmp/Mine")
    assert "no name of Minari's: such as mine-v0" in message(*here, "a/mine-v3")
    assert "is there: choose another name or version" in message(*here, "theirs/x-v0")
    assert "the replay buffer is empty: name a run that" in message(*here, "mine-v0")
    assert "no such checkpoint" in message(*here, "mine-v0", "--step", "7")
    assert "has no replay buffer" in message(*here, "mine-v0", "--step", "best")
    assert "no such directory" in message("dataset", tmp_path / "no", "mine-v0")
    command = ("train", *flags(logdir=tmp_path / "new", dataset="theirs/x-v0"))
    assert "lower bounds of actions: -2, the environment's -1: name one" in message(*command)
    assert not (tmp_path / "new").exists()
