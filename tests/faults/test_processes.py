"""Several processes that train together: real ones, on this machine, with real signals."""

import signal
import socket
import time

import numpy as np
import pytest
from helpers.envs import Counter
from helpers.evidence import COUNTER
from helpers.runs import make_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mjx_sac.policy import opengl
from mjx_sac.runs import array_store, event_files
from mjx_sac.runs.directory import best_path, steps
from mjx_sac.training.host import processes, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def together(start, tmp_path_factory):
    """Run two processes to their ends: `together(logdir, faults)`.

    Returns exit code, last line of standard error, standard output and time of the end of each.
    """
    cache = tmp_path_factory.mktemp("cache")

    def together(logdir, faults=({}, {}), num_processes=(2, 2), **config):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        running = []
        for i in (0, 1):
            where = {
                "coordinator": address,
                "num_processes": num_processes[i],
                "process_id": i,
                "logdir": str(logdir),
                **config,
            }
            environment = {"XDG_CACHE_HOME": str(cache)}
            running.append(start(fault=faults[i], environment=environment, **where))
        ends = [None, None]
        while None in ends:
            for i, process in enumerate(running):
                if ends[i] is None and process.poll() is not None:
                    ends[i] = time.monotonic()
            time.sleep(0.05)
        outputs = [process.communicate() for process in running]
        return [
            (process.returncode, (err.strip().splitlines() or [""])[-1], out, end)
            for process, (out, err), end in zip(running, outputs, ends, strict=True)
        ]

    return together


def arrays(logdir, step):
    return dict(array_store.read(logdir / "checkpoints" / str(step) / "state"))


def close(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of one process that nothing befell."""
    logdir = tmp_path_factory.mktemp("whole") / "run"
    train.train(make_config(env=COUNTER, logdir=str(logdir)), env=Counter())
    return logdir


@pytest.fixture(scope="module")
def interrupted(together, tmp_path_factory):
    """Two processes, of which one gets a SIGTERM in the first epoch that learns."""
    logdir = tmp_path_factory.mktemp("interrupted") / "run"
    return logdir, together(logdir, ({}, {"signal": signal.SIGTERM, "phase": "training"}))


def test_sigterm_to_one_ends_all_after_the_epoch(interrupted, whole):
    logdir, ends = interrupted
    assert [code for code, *_ in ends] == [130, 130], ends
    assert all("resumes from the newest checkpoint" in line for _, line, *_ in ends)
    assert steps(logdir) == [32, 64]
    close(arrays(logdir, 64), arrays(whole, 64))


def test_one_of_them_speaks_evaluates_and_logs(interrupted):
    logdir, ends = interrupted
    assert "64/128 iterations" in ends[0][2]
    assert "iterations" not in ends[1][2]
    assert len(list(logdir.glob("events.out.tfevents.*"))) == 1


def test_one_process_resumes_what_two_have_saved(interrupted, whole):
    logdir, _ = interrupted
    train.train(make_config(env=COUNTER, logdir=str(logdir)), env=Counter())
    close(arrays(logdir, 128), arrays(whole, 128))


@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_is_killed_the_other_says_so_and_ends(together, whole, tmp_path, killed):
    logdir, fault = tmp_path / "run", {"signal": signal.SIGKILL, "phase": "training"}
    ends = together(logdir, ({}, fault) if killed else (fault, {}))
    code, line, _, end = ends[1 - killed]
    assert ends[killed][0] == -signal.SIGKILL
    assert code == 3, ends
    assert "another process of this run has ended" in line
    assert end - ends[killed][3] < processes.HEARTBEAT_SECONDS
    if killed:  # who writes lives on, and what it had begun to write is there
        assert steps(logdir) == [32]
    for step in steps(logdir):
        close(arrays(logdir, step), arrays(whole, step))


@pytest.fixture(scope="module")
def population(together, tmp_path_factory):
    """Two agents by two processes, which are stopped after the first evaluation and resume."""
    logdir = tmp_path_factory.mktemp("population") / "run"
    faults = {"report": True, "signal": signal.SIGTERM, "phase": "training"}, {"report": True}
    first = together(logdir, faults, num_seeds=2)
    assert steps(logdir) == [32, 64], first
    return logdir, first, together(logdir, ({"report": True},) * 2, num_seeds=2)


def test_agents_of_several_processes_evaluate_save_and_resume(population, tmp_path):
    logdir, first, second = population
    assert [code for code, *_ in (*first, *second)] == [130, 130, 0, 0], (first, second)
    alone = make_config(env=COUNTER, logdir=str(tmp_path), num_seeds=2)
    train.train(alone, env=Counter())
    close(arrays(logdir, 128), arrays(tmp_path, 128))
    bests = [dict(array_store.read(best_path(directory))) for directory in (logdir, tmp_path)]
    close(*bests)
    for name in alone.agent_names():
        assert list(event_files.read(logdir / name)["eval/mean_reward"]) == [64, 96, 128]


def test_callbacks_see_the_same_in_every_process(population):
    _, *both = population
    for ends, evaluated in zip(both, (1, 2), strict=True):
        seen = [[line for line in out.splitlines() if line[:1] == "{"] for _, _, out, _ in ends]
        assert seen[0] == seen[1]
        for tag in ('"eval/mean_reward": [10.0, 10.0]', '"time/eval_share": [', '"time/fps": ['):
            assert sum(tag in line for line in seen[1]) >= evaluated, tag


def test_processes_that_count_differently_are_refused(together, tmp_path):
    ends = together(tmp_path / "run", num_processes=(2, 3))
    assert [code for code, *_ in ends] == [2, 2], ends
    message = "num_processes = 2 in process 0, 3 in process 1"
    assert all(message in line for _, line, *_ in ends), ends
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(all(map(opengl.problem, opengl.BACKENDS)), reason="no OpenGL here")
def test_one_of_them_films_the_first_agent(together, tmp_path):
    ends = together(tmp_path, ({}, {}), env="helpers.slider:Slider", num_seeds=2, film_interval=128)
    assert [code for code, *_ in ends] == [0, 0], ends
    assert "film" not in ends[1][2]
    events = [EventAccumulator(str(tmp_path / f"seed_{i}")).Reload() for i in (0, 1)]
    assert [[*each.Tags()["images"]] for each in events] == [["film"], []]
    (film,) = events[0].Images("film")
    assert film.step == 128
    assert (tmp_path / "films" / "128.gif").read_bytes() == film.encoded_image_string
