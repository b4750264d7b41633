"""What a shell, a terminal or a user's program has set around us ends and changes nothing."""

import json
import os
import pathlib
import pty
import random
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import cli
from helpers.evidence import COUNTER
from helpers.runs import flags, save_run

from mjx_sac.config import surroundings
from mjx_sac.runs import array_store

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "helpers" / "host_program.py"
CHANGED = {
    f"JAX_{name.upper()}": {False: "1", True: "0", "threefry2x32": "rbg"}.get(value, "raise")
    for name, value in surroundings.ORDINARY.items()
}
"""Every setting that a run must not see; some of these values JAX would refuse."""
HOSTILE = {
    **CHANGED,
    "TERM": "dumb",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONWARNINGS": "error",
    "NO_COLOR": "1",
    "OMP_NUM_THREADS": "1",
}
TEMPORARY = {"TMPDIR": "/nonexistent", "COLUMNS": "1"}
CLOSED = 'exec "$@" <&- >&- 2>/dev/full'
FULL = 'exec "$@" >/dev/full 2>&-'


def command(*arguments):
    return [sys.executable, "-m", "mjx_sac", *arguments]


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT / "tests"), **more}


def policy(logdir, step=64):
    return dict(array_store.read(logdir / "checkpoints" / str(step) / "policy"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The same run in three places, all at once: where it trained, its exit code and output."""
    folder, processes = tmp_path_factory.mktemp("surroundings"), {}
    toml = folder / "café.toml"
    toml.write_text("# é\nseed = 7\n", encoding="utf-8")

    def start(name, before=(), terminal=None, **more):
        given = flags(env=COUNTER, logdir=str(folder / name), iterations=64)
        line = [*before, *command("train", *given, "--config", str(toml))]
        output = terminal or subprocess.PIPE
        streams = {"stdout": output, "stderr": subprocess.STDOUT}
        processes[name] = subprocess.Popen(line, env=environment(**more), **streams)

    master, terminal = pty.openpty()
    start("hostile", terminal=terminal, **HOSTILE)
    start("closed", ["sh", "-c", CLOSED, "sh"], **TEMPORARY)
    start("full", ["sh", "-c", FULL, "sh"])
    os.close(terminal)
    said = {"hostile": read(master)}
    for name in processes.keys() - said.keys():
        said[name] = processes[name].communicate()[0]
    return {
        name: (folder / name, process.wait(timeout=100), said[name].decode())
        for name, process in processes.items()
    }


def read(terminal):
    parts = []
    while True:
        try:
            parts.append(os.read(terminal, 65536))
        except OSError:  # the other end is closed
            return b"".join(parts)


@pytest.mark.parametrize("name", ["full", "hostile", "closed"])
def test_a_run_ends_well_and_alike_wherever_it_prints(trained, name):
    logdir, code, said = trained[name]
    assert code == 0, said
    expected = policy(trained["full"][0])
    found = policy(logdir)
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)


def test_what_can_be_shown_is_shown_and_says_what_is_unused(trained):
    said = trained["hostile"][2]
    assert "done: 64 iterations" in said
    for name, value in CHANGED.items():
        assert f"{name}={value}" in said


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """What a user's program reports that trains with JAX as it is, and with JAX changed."""
    line = [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("program"))]
    done = subprocess.run(line, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_program_finds_its_process_as_it_was(program):
    assert program["changes"] == []


def test_jax_changed_by_a_program_changes_no_result(program):
    assert program["same"]
    assert program["said"].count("not used") == 1  # in the second run
    assert "not used in a run: jax_enable_x64=True" in program["said"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("XLA_FLAGS", "--xla_nonsense=1", "Unknown flag in XLA_FLAGS: --xla_nonsense=1"),
        ("JAX_LOG_COMPILES", "maybe", "JAX_LOG_COMPILES = 'maybe'"),
    ],
)
def test_what_jax_or_xla_refuse_is_one_line(tmp_path, name, value, words):
    line = command("train", *flags(env=COUNTER, logdir=str(tmp_path / "run")))
    done = subprocess.run(line, capture_output=True, text=True, env=environment(**{name: value}))
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_result_that_nobody_could_read_is_an_error(tmp_path):
    save_run(tmp_path / "run")
    with open("/dev/full", "w") as full:
        line = command("info", str(tmp_path / "run"))
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "standard output: No space left on device" in done.stderr


def draw(**_):
    """An environment's factory that says what it finds in the global generators."""
    raise ValueError(f"{random.random()} {np.random.random()}")


def test_global_generators_have_the_runs_seed(capsys, monkeypatch, tmp_path):
    """So two runs of an environment that draws from them are equal by their seeds alone."""
    monkeypatch.setitem(sys.modules, "drawing", sys.modules[__name__])

    def drawn(seed):
        given = flags(env="drawing:draw", logdir=str(tmp_path / "run"), seed=seed)
        code, _, err = cli.run(capsys, "train", *given)
        assert code == 2
        return err

    assert re.search(r"ValueError: 0\.\d+ 0\.\d+", drawn(3))
    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_files_are_utf_8_whatever_the_shell_says():
    calls = re.compile(r"\.(?:read_text|write_text)\([^\n]*|\.open\(\"[wra]\+?\"[^\n]*")
    files = (ROOT / "mjx_sac").rglob("*.py")
    found = [call for path in files for call in calls.findall(path.read_text(encoding="utf-8"))]
    assert found
    assert [call for call in found if "encoding=" not in call] == []


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        ("nonsense", ("train", "--env", "mjx/Ant-v5", "--logdir", "run")),
        ("nonsense", ("train", "--env", "Reacher-v5", "--logdir", "run")),  # behind a thread
        ("nonsense", ("eval", ROOT / "mjx_sac" / "policy" / "demos" / "halfcheetah")),
        ("nonsense", ("envs", "--search", "ant")),
        ("osmesa", ("train", "--env", "mjx/Ant-v5", "--logdir", "run")),  # with a broken library
    ],
    ids=str,
)
def test_a_way_to_opengl_with_which_mujoco_does_not_start_is_one_line(value, arguments, tmp_path):
    """Nothing is to be drawn, but MuJoCo reads the variable when it is imported."""
    (tmp_path / "OpenGL.py").write_text("raise AttributeError('no glGetError')")
    own = {"MUJOCO_GL": value, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    how = {"env": environment(**own), "cwd": tmp_path, "timeout": 120}
    words = command(*map(str, arguments))
    done = subprocess.run(words, capture_output=True, text=True, check=False, **how)
    *_, last = done.stderr.splitlines()
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert f"MUJOCO_GL = '{value}': MuJoCo does not start with it (" in last
    assert last.endswith("unset it, or choose another")
    assert not (tmp_path / "run").exists()
