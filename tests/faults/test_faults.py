"""What a run survives: real processes, real signals, real damage. Each case says what was lost and what the user was told.

The README's table is made of just that: `RENEW_README=1 pytest tests/faults` writes it, and without it every row must be there.
"""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import make_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mjx_sac import api, rundir, snapshot
from mjx_sac.config import UsageError

pytestmark = pytest.mark.slow

COUNTER = "conftest:Counter"  # as the processes name it
README = pathlib.Path(__file__).parents[2] / "README.md"
ROWS: dict[str, str] = {}
"""The README's table of what becomes of a run, filled by the tests below."""


@pytest.fixture(scope="module", autouse=True)
def _renew_readme(request):
    yield
    if os.environ.get("RENEW_README") and not request.session.testsfailed:
        README.write_text(with_table(README.read_text(), "\n".join(ROWS.values())))


def with_table(text: str, rows: str) -> str:
    table = f"| what happens | lost | what you are told |\n|---|---|---|\n{rows}"
    return re.sub(r"(<!-- faults:.*?-->\n).*?(<!-- /faults -->)", lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text, flags=re.S)


@pytest.fixture
def outcome():
    """Call it when the case has been shown: what was lost, and the words that the user read."""

    def record(case: str, lost: str, told: str) -> None:
        told = re.sub(r"/\S*/(?=run\b)", "", " ".join(told.split())).replace("|", "\\|")
        told = re.sub(r"process \d+ on \S+", "process 4711 on host", re.sub(r"[0-9a-f]{64}", "3b5d...", told))
        ROWS[case] = f"| {case} | {lost} | {told} |"
        if not os.environ.get("RENEW_README"):
            assert ROWS[case] in README.read_text(), "run RENEW_README=1 pytest tests/faults"

    return record


@pytest.fixture(scope="session")
def start():
    """Starts a training process: `start(logdir, fault, *flags, **config)`."""

    def start(logdir, fault=None, *flags, stdout=subprocess.PIPE, environment=None, **config):
        request = {"config": {"logdir": str(logdir), **config}, "fault": fault or {}, "flags": flags}
        command = [sys.executable, str(pathlib.Path(__file__).parent / "driver.py"), json.dumps(request)]
        env = {**os.environ, **(environment or {})}
        return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env)

    return start


@pytest.fixture(scope="session")
def run(start):
    """Runs one to its end: exit code, standard output, and the last line of standard error."""

    def run(*args, **kwargs):
        process = start(*args, **kwargs)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, (err.strip().splitlines() or [""])[-1], err

    return run


@pytest.fixture(scope="session")
def whole(run, tmp_path_factory):
    """A run of four epochs that nothing befell."""
    logdir = tmp_path_factory.mktemp("whole") / "run"
    code, _, _, err = run(logdir)
    assert code == 0, err
    return logdir


def saved_state(logdir, step=None):
    """Shapes and SHA-256 of everything in a checkpoint's state: equal exactly when every leaf is, bit for bit."""
    step = step or rundir.steps(logdir)[-1]
    manifest = snapshot.verify(logdir / "checkpoints" / str(step) / "state")
    return manifest["leaves"], manifest["packed"]


def curves(logdir):
    events = EventAccumulator(str(logdir)).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith(("time/", "checkpoint/"))]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def test_stopped_halfway_and_gone_on_in_a_new_process(run, whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    assert run(logdir, iterations=64)[0] == 0
    code, out, _, _ = run(logdir)
    assert code == 0
    assert saved_state(logdir) == saved_state(whole)
    assert curves(logdir) == curves(whole)
    told = next(line for line in out.splitlines() if "going on from" in line).split("] ")[1]
    outcome("a run ends, and the same command with more iterations goes on", "nothing: every bit as in one run", told)


def test_ant_stopped_halfway_and_gone_on_in_a_new_process(run, tmp_path):
    """MJX physics: one process against two."""
    ant = {"env": "ant", "num_envs": 2, "episode_length": 20, "episodes_per_eval": 1, "reset_pool_size": 4}
    assert run(tmp_path / "whole", **ant)[0] == 0
    for iterations in (64, 128):
        assert run(tmp_path / "parts", **ant, iterations=iterations)[0] == 0
    assert saved_state(tmp_path / "parts") == saved_state(tmp_path / "whole")
    assert curves(tmp_path / "parts") == curves(tmp_path / "whole")


@pytest.mark.parametrize("phase", ["compiling", "warm-up", "training", "evaluating", "saving"])
def test_sigterm_in_every_phase(run, whole, tmp_path, outcome, phase):
    logdir = tmp_path / "run"
    code, _, last, err = run(logdir, {"signal": signal.SIGTERM, "phase": phase})
    assert code == 130, err
    assert run(logdir)[0] == 0
    assert saved_state(logdir) == saved_state(whole)
    lost = "the compilation" if phase == "compiling" else "nothing: the epoch is finished and saved"
    outcome(f"SIGTERM or Ctrl-C during {phase}", lost, last)


def test_sigterm_twice_leaves_at_once(run, whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    code, *_ = run(logdir, {"signal": signal.SIGTERM, "phase": "saving", "times": 2})
    assert code == -signal.SIGTERM
    assert run(logdir)[0] == 0
    assert saved_state(logdir) == saved_state(whole)
    outcome("SIGTERM twice", "what was not saved yet", "nothing: the process is gone")


@pytest.mark.parametrize("write", [1, 4, 6, 7])
def test_sigkill_in_the_middle_of_writing_a_file(run, whole, tmp_path, write):
    logdir = tmp_path / "run"
    code, *_ = run(logdir, {"kill_write": write})
    assert code == -signal.SIGKILL
    assert rundir.steps(logdir) == list(range(32, 32 * (1 + (write - 1) // 4), 32)), "four files a checkpoint"
    assert run(logdir)[0] == 0
    assert saved_state(logdir) == saved_state(whole)
    assert curves(logdir) == curves(whole)


def test_sigkill_at_random_moments(run, tmp_path, outcome):
    """Two runs that are killed eight times each, gone on with after every kill, and let go to the end. With the four kills
    above that makes twenty.
    """
    moments = random.Random(0)
    long = {"iterations": 6400}
    assert run(tmp_path / "whole", **long)[0] == 0
    for i in range(2):
        logdir, reached = tmp_path / str(i) / "run", 0
        for _ in range(8):
            code, *_ = run(logdir, {"kill_after": moments.uniform(0, 0.4)}, **long)
            assert code == -signal.SIGKILL
            steps = rundir.steps(logdir)  # none where the first kill came before the first checkpoint
            assert max(steps, default=0) >= reached, "nothing that was committed is lost"
            reached = max(steps, default=0)
            for step in steps:
                saved_state(logdir, step)  # verifies it
        code, out, *_ = run(logdir, **long)
        assert code == 0
        assert not reached or f"at {reached:,} iterations" in out
        assert saved_state(logdir) == saved_state(tmp_path / "whole")
    outcome("SIGKILL while saving or training", "what came after the last checkpoint", "nothing")


def test_a_disk_quota_that_is_used_up(run, whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    code, _, last, _ = run(logdir, {"quota": 2})
    assert code == 3
    assert rundir.steps(logdir) == [32]
    outcome("no file can grow any more: a quota", "what came after the last checkpoint", last)
    assert run(logdir)[0] == 0
    assert saved_state(logdir) == saved_state(whole)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_full(run, whole, small_disk, outcome):
    logdir = small_disk / "run"
    code, out, last, _ = run(logdir, {"disk_full": 2})
    assert code == 3
    steps = rundir.steps(logdir)
    assert steps in ([32], [32, 64]), "the second may be on disk already, or just being written"
    for step in steps:
        saved_state(logdir, step)  # verifies it
    assert "warning: no event file from here on" in out
    outcome("the disk is full", "what came after the last checkpoint, and its curves", last)
    (logdir / "filler").unlink()
    assert run(logdir)[0] == 0
    assert saved_state(logdir) == saved_state(whole)


def test_a_directory_that_cannot_be_written(run, outcome):
    """/proc, where not even root may write: a directory's own permissions stop nobody who tests as root."""
    code, _, last, _ = run("/proc/run")
    assert code == 2
    outcome("the run's directory cannot be made or written to", "nothing", last)


def test_an_event_file_that_cannot_be_written(tmp_path, outcome, capsys, monkeypatch):
    def refuse(self, event):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tensorboardX.event_file_writer.EventsWriter.write_event", refuse)
    api.train(make_config(logdir=str(tmp_path / "run"), iterations=64))
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(warnings) == 1
    outcome("the event file cannot be written", "curves from there on", warnings[0].split("] ")[1])


def files_of_a_checkpoint(logdir, step):
    """One of every kind: name -> path."""
    directory = logdir / "checkpoints" / str(step)
    kinds = {}
    for item in rundir.ITEMS:
        manifest = snapshot.manifest(directory / item)
        kinds[f"{item}'s manifest"] = directory / item / "manifest.json"
        kinds[f"{item}'s small arrays"] = directory / item / manifest["packed"]
        pieces = [piece for leaf in manifest["leaves"].values() for piece in leaf.get("pieces", ()) if piece]
        if pieces:
            kinds[f"a piece of the {item}"] = directory / item / pieces[-1]
    return kinds


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A run whose replay buffer takes several files, and its second checkpoint has a new one."""
    logdir = tmp_path_factory.mktemp("large") / "run"
    api.train(make_config(logdir=str(logdir), iterations=96, buffer_size=400_000))
    return logdir


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()  # not in place: that would reach the files it is linked with, whose damage is another case
    path.write_bytes(data)


def truncate(path):
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


@pytest.mark.parametrize("harm", [flip, truncate, pathlib.Path.unlink])
def test_damage_is_named_before_training_and_fallback_goes_on(large, tmp_path, harm, outcome):
    kinds = files_of_a_checkpoint(large, 96)
    assert len(kinds) == 5, kinds.keys()
    for i, kind in enumerate(kinds):
        logdir = tmp_path / str(i) / "run"
        shutil.copytree(large, logdir)
        path = files_of_a_checkpoint(logdir, 96)[kind]
        harm(path)
        config = make_config(logdir=str(logdir), iterations=128, buffer_size=400_000)
        with pytest.raises(UsageError, match=f"{path.name}.*--fallback") as refusal:
            rundir.attach(config, verify=True, check_env=False)
        attached = rundir.attach(config, fallback=True, verify=True, check_env=False)
        assert (attached.latest, attached.damaged) == (64, [96])
    words = {flip: "one byte of it has flipped", truncate: "a file of it was cut short"}.get(harm, "a file of it is gone")
    outcome(f"the newest checkpoint is damaged: {words}", "with `--fallback` one checkpoint interval", str(refusal.value))


def test_damage_in_place_does_not_reach_the_checkpoint_before(tmp_path, monkeypatch):
    """Where files are linked, a disk error in one shows in the other: so the newest two share none."""
    monkeypatch.setattr(snapshot, "_PIECE", 256)
    api.train(make_config(logdir=str(tmp_path), iterations=128, buffer_size=1024))
    inodes = [{p.stat().st_ino for p in (tmp_path / "checkpoints" / str(s) / "state").iterdir()} for s in (64, 96, 128)]
    assert inodes[0] & inodes[2], "what did not change since the checkpoint before the last is not written again"
    assert not inodes[1] & inodes[2]


def test_fallback_repeats_what_was_lost(run, whole, tmp_path):
    logdir = tmp_path / "run"
    shutil.copytree(whole, logdir)
    (logdir / "checkpoints" / "damaged-128").mkdir()  # it has happened before
    for path in files_of_a_checkpoint(logdir, 128).values():
        flip(path)
    assert run(logdir, iterations=160)[0] == 2
    code, out, _, err = run(logdir, None, "--fallback")
    assert code == 0, err
    assert "at 96 iterations" in out
    assert saved_state(logdir) == saved_state(whole)
    assert (logdir / "checkpoints" / "damaged-128-again" / "state").is_dir()


def reseal(directory, change):
    """Changes a manifest as one would who knows how to compute its SHA-256."""
    body = snapshot.manifest(directory)
    change(body)
    (directory / "manifest.json").write_text(json.dumps({**body, "sha256": snapshot._digest(body)}))


def test_a_manifest_that_declares_a_giant_is_refused_before_anything_is_allocated(whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    shutil.copytree(whole, logdir)

    def grow(body):
        body["leaves"]["replay.reward"] = {"dtype": "float32", "shape": [10**12], "pieces": []}

    reseal(logdir / "checkpoints" / "128" / "state", grow)
    with pytest.raises(UsageError, match=r"replay\.reward is float32\[1000000000000\], this run's float32\[16, 4\]") as refusal:
        api.train(make_config(env=COUNTER, logdir=str(logdir), iterations=160))
    outcome("a checkpoint's arrays are not this run's (10^12 elements, say)", "nothing", str(refusal.value))


def test_a_checkpoint_of_a_newer_version_is_refused(whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    shutil.copytree(whole, logdir)
    reseal(logdir / "checkpoints" / "128" / "state", lambda body: body.update(schema=snapshot.SCHEMA + 1))
    with pytest.raises(UsageError, match="schema 2, this version reads up to 1: upgrade mjx-sac") as refusal:
        rundir.attach(make_config(env=COUNTER, logdir=str(logdir), iterations=160))
    outcome("a newer mjx-sac wrote the checkpoint", "nothing", str(refusal.value))


@pytest.mark.parametrize("changes", [{"hidden_sizes": [16]}, {"buffer_size": 128}, {"num_envs": 2}])
def test_a_checkpoint_of_another_run_is_refused_field_by_field(whole, tmp_path, changes, outcome):
    with pytest.raises(UsageError) as refusal:
        rundir.attach(make_config(env=COUNTER, logdir=str(whole), iterations=160, **changes))
    assert next(iter(changes)) in str(refusal.value)
    if "buffer_size" in changes:
        outcome("another environment, network or buffer size than the run's", "nothing", str(refusal.value))


def test_nan_in_the_state_of_some_environments(run, tmp_path, outcome):
    """Its observations and rewards look well: only a number inside is NaN. The environment is reset, the others go on."""
    logdir = tmp_path / "run"
    code, _, _, err = run(logdir, {"nan": "state"})
    assert code == 0, err
    steps = curves(logdir)["health/nonfinite_steps"]
    assert all(0 < count < 32 for _, count in steps)
    state = dict(snapshot.read(logdir / "checkpoints" / "128" / "state"))
    assert all(np.isfinite(x).all() for name, x in state.items() if name.startswith("replay.") and x.dtype.kind == "f")
    outcome("NaN in some environments: state, observation or reward", "those steps", "`health/nonfinite_steps` counts them")


def test_nan_in_the_reward_alone(run, tmp_path):
    logdir = tmp_path / "run"
    assert run(logdir, {"nan": "reward"})[0] == 0
    state = dict(snapshot.read(logdir / "checkpoints" / "128" / "state"))
    assert np.isfinite(state["replay.reward"]).all()
    assert all(count > 0 for _, count in curves(logdir)["health/nonfinite_steps"])


def test_nan_in_all_environments(run, tmp_path, outcome):
    code, _, last, err = run(tmp_path / "run", {"nan": "all"})
    assert code == 3, err
    outcome("NaN in every environment", "nothing was there to lose", last)


def test_nan_in_the_loss(run, tmp_path, outcome):
    logdir = tmp_path / "run"
    code, _, last, err = run(logdir, {"nan": "loss"})
    assert code == 3, err
    assert rundir.steps(logdir) == [32, 64]
    state = dict(snapshot.read(logdir / "checkpoints" / "64" / "state"))
    assert all(np.isfinite(x).all() for x in state.values() if x.dtype.kind == "f")
    outcome("NaN in a loss or a parameter", "the epoch it came in", last)


def test_two_processes_on_one_directory(start, run, tmp_path, outcome):
    logdir = tmp_path / "run"
    first = start(logdir, iterations=10**9)
    try:
        while not (logdir / "lock").exists() or not (logdir / "lock").read_text():
            assert first.poll() is None
        code, _, last, _ = run(logdir, iterations=10**9)
        assert code == 2
        assert f"process {first.pid} on" in last
    finally:
        first.kill()
        first.communicate()
    assert run(logdir)[0] == 0, "a lock whose process is gone holds nobody up"
    outcome("a second process starts in the same directory", "nothing", last)


def test_standard_output_is_closed(start, whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    process = start(logdir)
    process.stdout.close()
    assert process.wait(timeout=300) == 0, process.stderr.read()
    process.stderr.close()
    assert saved_state(logdir) == saved_state(whole)
    outcome("standard output is closed, as by `head`", "nothing", "nothing")


def test_a_corrupt_compilation_cache(run, whole, tmp_path, outcome):
    logdir, cache = tmp_path / "run", {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert run(tmp_path / "first", environment=cache)[0] == 0
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    code, _, _, err = run(logdir, environment=cache)
    assert code == 0, err
    assert saved_state(logdir) == saved_state(whole)
    outcome("the compilation cache is corrupt", "a compilation", "nothing: it is compiled again")


def test_counters_past_two_to_the_31(whole, tmp_path):
    """A run that has come so far is made by renaming a checkpoint: iterations are counted nowhere but in its name."""
    logdir, far = tmp_path / "run", 2**31 + 32
    shutil.copytree(whole, logdir)
    (logdir / "checkpoints" / "128").rename(logdir / "checkpoints" / str(far))
    result = api.train(make_config(env=COUNTER, logdir=str(logdir), iterations=far + 64))
    assert rundir.steps(logdir)[-1] == far + 64
    assert result.metrics["train/n_updates"] == far + 64 - 32
    assert curves(logdir)["rollout/episodes"][-1][0] == far + 64


def test_more_memory_than_there_is(tmp_path, outcome):
    config = make_config(logdir=str(tmp_path / "run"), buffer_size=10**12)
    with pytest.raises(
        UsageError, match=r"buffer_size = 1000000000000: the run needs about [\d,.]+ GB.* has [\d,.]+ GB"
    ) as refusal:
        api.train(config)
    assert not (tmp_path / "run").exists()
    words = str(refusal.value)
    assert "replay buffer" in words
    outcome("the run needs more memory than the device has", "nothing", "both figures, and which field to lower; exit code 2")


def test_the_golden_checkpoint_of_every_release_goes_on(tmp_path, outcome):
    """Checkpoints that earlier versions wrote. A change that cannot read them must say how to migrate, and change this test."""
    golden = pathlib.Path(__file__).parent / "golden"
    assert [path.name for path in golden.iterdir()]
    for release in golden.iterdir():
        logdir = tmp_path / release.name / "run"
        shutil.copytree(release, logdir)
        result = api.train(make_config(logdir=str(logdir), iterations=96))
        assert result.metrics["train/n_updates"] == 64
    outcome("a checkpoint of an earlier release", "nothing", "nothing: it goes on")
