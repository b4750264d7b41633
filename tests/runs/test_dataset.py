"""Replay buffers of other runs, read as data sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.datasets import same_rows, transitions
from helpers.envs import Counter
from helpers.runs import make_config, save_run
from hypothesis import given, settings
from hypothesis import strategies as st

from mjx_sac.config import UsageError
from mjx_sac.runs import array_store, dataset
from mjx_sac.runs.directory import checkpoint_path
from mjx_sac.training.compiled import replay
from mjx_sac.training.host import train
from mjx_sac.types import Step

insert = jax.jit(replay.insert)


def filled(steps, num_envs=2, slots=6, agents=()):
    """Return arrays as a checkpoint has them, after so many (ended, terminated, valid) each."""
    state = replay.init(slots * num_envs, num_envs, 2, 1, episode_length=3)
    started, observation, counter = np.ones(num_envs, bool), np.zeros(num_envs), 0
    for ended, terminated, valid in steps:
        fresh = counter + np.arange(4.0 * num_envs).reshape(4, num_envs).astype(np.float32)
        counter += 4 * num_envs
        observation = np.where(started, fresh[0], observation).astype(np.float32)
        pair = lambda x: jnp.stack([x, -x], axis=-1)  # noqa: E731
        ended, terminated, valid = (np.array(x) for x in (ended, terminated, valid))
        step = Step(pair(fresh[1]), fresh[2], ended & terminated, ended & ~terminated)
        given = pair(observation), fresh[3][:, None], step, started, valid
        state = insert(state, *jax.tree.map(jnp.asarray, given))
        started, observation = ended | ~valid, fresh[1]
    names = {f"replay.{k}": np.asarray(getattr(state, k)) for k in state.__dataclass_fields__}
    return state, {**names, "episodes.ended": started}


def stored(path, arrays):
    """Write them as the state of a checkpoint."""
    (path / "state").mkdir(parents=True)
    spaces = {"action": {"low": [-1.0], "high": [1.0]}}
    array_store.write(path / "state", arrays, {"spaces": spaces}, None)
    return path


FLAGS = st.lists(st.booleans(), min_size=2, max_size=2)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(FLAGS, FLAGS, FLAGS), min_size=1, max_size=16))
def test_every_transition_is_the_buffers(tmp_path_factory, steps):
    state, arrays = filled(steps)
    path = stored(tmp_path_factory.mktemp("run") / "1", arrays)
    if not int(jnp.sum(state.size)):
        with pytest.raises(UsageError, match="x: the replay buffer is empty"):
            dataset.read_run(path, "x")
        return
    found = replay.of_recorded(dataset.read_run(path, "x"))
    for n_step in (1, 3):  # windows stop at ends and gaps in both
        same_rows(transitions(found, n_step), transitions(state, n_step))


def test_episodes_cut_by_the_buffer_or_still_running_are_not_whole(tmp_path):
    go, end = ([False] * 2, [False] * 2, [True] * 2), ([True] * 2, [True] * 2, [True] * 2)
    # Of each environment three episodes: the buffer of six has lost the first one's beginning, and
    # the third has not ended.
    _, arrays = filled([go, go, end, go, end, go, go])
    found = dataset.read_run(stored(tmp_path / "1", arrays), "x")
    assert found.whole.tolist() == [False, True, False] * 2
    assert found.last.sum() == 6
    _, arrays = filled([go, end])
    found = dataset.read_run(stored(tmp_path / "2", arrays), "x")
    assert found.whole.tolist() == [True, True]


def test_a_runs_buffer_is_read(tmp_path):
    directory = tmp_path / "run"
    how = {"episodes_per_eval": 0, "iterations": 64, "buffer_size": 128}
    result = train.train(make_config(logdir=str(directory), **how))
    found = dataset.read(f"run:{directory}")
    same_rows(transitions(replay.of_recorded(found)), transitions(result.state.replay))
    # Four environments take 16 steps: three episodes of five, and one step of the next.
    assert found.whole.tolist() == [True, True, True, False] * 4
    assert found.mean_return() == 0 + 1 + 2 + 3 + 4
    found.check("x", 2, found.spaces)


def test_all_agents_buffers_are_read(tmp_path):
    directory = tmp_path / "run"
    config = make_config(logdir=str(directory), episodes_per_eval=0, iterations=64, num_seeds=2)
    state = train.train(config).state.replay
    found = transitions(replay.of_recorded(dataset.read(f"run:{directory}")))
    agents = [
        replay.ReplayState(**{k: getattr(state, k)[i] for k in state.__dataclass_fields__})
        for i in range(2)
    ]
    same_rows(found, np.concatenate([transitions(agent) for agent in agents]))


def test_what_is_not_there_or_damaged_is_one_line(tmp_path):
    save_run(tmp_path / "ant", Counter())
    with pytest.raises(UsageError, match=r"ants': no such directory; did you mean ant\?"):
        dataset.check(f"run:{tmp_path}/ants")
    (tmp_path / "other").mkdir()
    with pytest.raises(
        UsageError, match="other': no checkpoint there: name the directory of a run"
    ):
        dataset.check(f"run:{tmp_path}/other")
    dataset.check(f"run:{tmp_path}/ant")
    with pytest.raises(UsageError, match="the replay buffer is empty: name a run that has"):
        dataset.read(f"run:{tmp_path}/ant")
    state = checkpoint_path(tmp_path / "ant", 32) / "state"
    next(path for path in state.iterdir() if path.suffix != ".json").write_bytes(b"x")
    with pytest.raises(UsageError, match="has been changed: its SHA-256 differs: name another"):
        dataset.read(f"run:{tmp_path}/ant")
