"""Checkpoints that are damaged, too new, too old or another run's."""

import itertools
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from helpers.evidence import COUNTER, saved_state
from helpers.runs import make_config

from mjx_sac.config import UsageError
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import ITEMS, steps
from mjx_sac.runs.resolve import attach
from mjx_sac.training.host import train

pytestmark = pytest.mark.slow


def files_of_a_checkpoint(logdir, step):
    """One of every kind: name -> path."""
    directory = logdir / "checkpoints" / str(step)
    kinds = {}
    for item in ITEMS:
        manifest = array_store.manifest(directory / item)
        kinds[f"{item}'s manifest"] = directory / item / "manifest.json"
        kinds[f"{item}'s small arrays"] = directory / item / manifest["packed"]
        pieces = [leaf.get("pieces", ()) for leaf in manifest["leaves"].values()]
        written = [piece for piece in itertools.chain(*pieces) if piece]
        if written:
            kinds[f"a piece of the {item}"] = directory / item / written[-1]
    return kinds


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A run whose replay buffer takes several files, and its second checkpoint has a new one."""
    logdir = tmp_path_factory.mktemp("large") / "run"
    train.train(make_config(logdir=str(logdir), iterations=96, buffer_size=400_000))
    return logdir


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()  # not in place: that would reach the files it is linked with, another case
    path.write_bytes(data)


def truncate(path):
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (flip, "one byte of it has flipped"),
        (truncate, "a file of it was cut short"),
        (pathlib.Path.unlink, "a file of it is gone"),
    ],
)
def test_damage_is_named_and_fallback_resumes_before_it(large, tmp_path, harm, words, outcome):
    kinds = files_of_a_checkpoint(large, 96)
    assert len(kinds) == 5, kinds.keys()
    for i, kind in enumerate(kinds):
        logdir = tmp_path / str(i) / "run"
        shutil.copytree(large, logdir)
        path = files_of_a_checkpoint(logdir, 96)[kind]
        harm(path)
        config = make_config(logdir=str(logdir), iterations=128, buffer_size=400_000)
        with pytest.raises(UsageError, match=f"{path.name}.*--fallback") as refusal:
            train.train(config)
        assert steps(logdir) == [32, 64, 96], "nothing is changed"
    resumed = []  # after damage that no manifest shows
    train.train(config, fallback=True, callbacks=[lambda n, *_: resumed.append(n)])
    assert resumed == [96, 128]
    assert (logdir / "checkpoints" / "damaged-96").is_dir()
    outcome(
        f"the newest checkpoint is damaged: {words}",
        "with `--fallback` one checkpoint interval",
        str(refusal.value),
    )


def test_fallback_without_a_whole_checkpoint_is_refused(large, tmp_path):
    logdir = tmp_path / "run"
    shutil.copytree(large, logdir)
    for step in steps(logdir):
        truncate(files_of_a_checkpoint(logdir, step)["policy's small arrays"])
    config = make_config(logdir=str(logdir), iterations=128, buffer_size=400_000)
    with pytest.raises(UsageError, match="no older checkpoint is whole"):
        train.train(config, fallback=True)


def test_the_newest_two_checkpoints_share_no_file(tmp_path, monkeypatch):
    """Where files are linked, a disk error in one shows in the other."""
    monkeypatch.setattr(array_store, "_PIECE", 256)
    train.train(make_config(logdir=str(tmp_path), iterations=128, buffer_size=1024))
    first, second, third = (
        {p.stat().st_ino for p in (tmp_path / "checkpoints" / str(s) / "state").iterdir()}
        for s in (64, 96, 128)
    )
    assert first & third, "what did not change since the checkpoint before the last is linked"
    assert not second & third


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
    body = array_store.manifest(directory)
    change(body)
    (directory / "manifest.json").write_text(
        json.dumps({**body, "sha256": array_store._digest(body)})
    )


def test_a_manifest_that_declares_a_giant_is_refused(whole, tmp_path, outcome):
    """Before anything is allocated."""
    logdir = tmp_path / "run"
    shutil.copytree(whole, logdir)

    def grow(body):
        body["leaves"]["replay.reward"] = {"dtype": "float32", "shape": [10**12], "pieces": []}

    reseal(logdir / "checkpoints" / "128" / "state", grow)
    message = r"replay\.reward is float32\[1000000000000\], this run's float32\[16, 4\]"
    with pytest.raises(UsageError, match=message) as refusal:
        train.train(make_config(env=COUNTER, logdir=str(logdir), iterations=160))
    outcome(
        "a checkpoint's arrays are not this run's (10^12 elements, say)",
        "nothing",
        str(refusal.value),
    )


def test_a_checkpoint_of_a_newer_version_is_refused(whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    shutil.copytree(whole, logdir)
    newer = {"schema": array_store.SCHEMA + 1}
    reseal(logdir / "checkpoints" / "128" / "state", lambda body: body.update(newer))
    message = "schema 2, this version reads up to 1: upgrade mjx-sac"
    with pytest.raises(UsageError, match=message) as refusal:
        attach(make_config(env=COUNTER, logdir=str(logdir), iterations=160))
    outcome("a newer mjx-sac wrote the checkpoint", "nothing", str(refusal.value))


@pytest.mark.parametrize("changes", [{"hidden_sizes": [16]}, {"buffer_size": 128}, {"num_envs": 2}])
def test_another_runs_checkpoint_is_refused_by_field(whole, tmp_path, changes, outcome):
    with pytest.raises(UsageError) as refusal:
        attach(make_config(env=COUNTER, logdir=str(whole), iterations=160, **changes))
    assert next(iter(changes)) in str(refusal.value)
    if "buffer_size" in changes:
        outcome(
            "another environment, network or buffer size than the run's",
            "nothing",
            str(refusal.value),
        )


def test_the_golden_checkpoint_of_every_release_resumes(tmp_path, outcome):
    """A change that cannot read them must say how to migrate, and change this test."""
    golden = pathlib.Path(__file__).parent / "golden"
    assert [path.name for path in golden.iterdir()]
    for release in golden.iterdir():
        logdir = tmp_path / release.name / "run"
        shutil.copytree(release, logdir)
        result = train.train(make_config(logdir=str(logdir), iterations=96))
        assert result.metrics["train/n_updates"] == 64
    outcome("a checkpoint of an earlier release", "nothing", "nothing: it is resumed")


def test_an_older_populations_checkpoint_resumes(tmp_path):
    """Where the hyperparameters in which agents differ were called `numbers`."""
    members = ({"tau": 0.1}, {"tau": 0.2})
    config = make_config(logdir=str(tmp_path / "new"), members=members, iterations=64)
    train.train(config)
    older = tmp_path / "old"
    shutil.copytree(tmp_path / "new", older)

    def rename(body):
        leaves = body["leaves"].items()
        body["leaves"] = {k.replace("hyperparameters.", "numbers."): leaf for k, leaf in leaves}
        assert "numbers.tau" in body["leaves"]

    reseal(older / "checkpoints" / "64" / "state", rename)
    results = [
        train.train(config.model_copy(update={"logdir": str(logdir), "iterations": 96}))
        for logdir in (tmp_path / "new", older)
    ]
    np.testing.assert_allclose(results[1].state.hyperparameters["tau"], [0.1, 0.2])
    jax.tree.map(np.testing.assert_array_equal, results[0].state, results[1].state)
