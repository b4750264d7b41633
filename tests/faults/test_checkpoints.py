"""Checkpoints that are damaged, too new, too old or another run's."""

import json
import pathlib
import shutil

import pytest
from helpers.evidence import COUNTER, saved_state
from helpers.runs import make_config

from mjx_sac.config import UsageError
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import ITEMS
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
        pieces = [
            piece
            for leaf in manifest["leaves"].values()
            for piece in leaf.get("pieces", ())
            if piece
        ]
        if pieces:
            kinds[f"a piece of the {item}"] = directory / item / pieces[-1]
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
            attach(config, verify=True, check_env=False)
        attached = attach(config, fallback=True, verify=True, check_env=False)
        assert (attached.latest, attached.damaged) == (64, [96])
    words = {flip: "one byte of it has flipped", truncate: "a file of it was cut short"}.get(
        harm, "a file of it is gone"
    )
    outcome(
        f"the newest checkpoint is damaged: {words}",
        "with `--fallback` one checkpoint interval",
        str(refusal.value),
    )


def test_damage_in_place_does_not_reach_the_checkpoint_before(tmp_path, monkeypatch):
    """Where files are linked, a disk error in one shows in the other: so the newest two share none."""
    monkeypatch.setattr(array_store, "_PIECE", 256)
    train.train(make_config(logdir=str(tmp_path), iterations=128, buffer_size=1024))
    inodes = [
        {p.stat().st_ino for p in (tmp_path / "checkpoints" / str(s) / "state").iterdir()}
        for s in (64, 96, 128)
    ]
    assert inodes[0] & inodes[2], (
        "what did not change since the checkpoint before the last is not written again"
    )
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
    body = array_store.manifest(directory)
    change(body)
    (directory / "manifest.json").write_text(
        json.dumps({**body, "sha256": array_store._digest(body)})
    )


def test_a_manifest_that_declares_a_giant_is_refused_before_anything_is_allocated(
    whole, tmp_path, outcome
):
    logdir = tmp_path / "run"
    shutil.copytree(whole, logdir)

    def grow(body):
        body["leaves"]["replay.reward"] = {"dtype": "float32", "shape": [10**12], "pieces": []}

    reseal(logdir / "checkpoints" / "128" / "state", grow)
    with pytest.raises(
        UsageError, match=r"replay\.reward is float32\[1000000000000\], this run's float32\[16, 4\]"
    ) as refusal:
        train.train(make_config(env=COUNTER, logdir=str(logdir), iterations=160))
    outcome(
        "a checkpoint's arrays are not this run's (10^12 elements, say)",
        "nothing",
        str(refusal.value),
    )


def test_a_checkpoint_of_a_newer_version_is_refused(whole, tmp_path, outcome):
    logdir = tmp_path / "run"
    shutil.copytree(whole, logdir)
    reseal(
        logdir / "checkpoints" / "128" / "state",
        lambda body: body.update(schema=array_store.SCHEMA + 1),
    )
    with pytest.raises(
        UsageError, match="schema 2, this version reads up to 1: upgrade mjx-sac"
    ) as refusal:
        attach(make_config(env=COUNTER, logdir=str(logdir), iterations=160))
    outcome("a newer mjx-sac wrote the checkpoint", "nothing", str(refusal.value))


@pytest.mark.parametrize("changes", [{"hidden_sizes": [16]}, {"buffer_size": 128}, {"num_envs": 2}])
def test_a_checkpoint_of_another_run_is_refused_field_by_field(whole, tmp_path, changes, outcome):
    with pytest.raises(UsageError) as refusal:
        attach(make_config(env=COUNTER, logdir=str(whole), iterations=160, **changes))
    assert next(iter(changes)) in str(refusal.value)
    if "buffer_size" in changes:
        outcome(
            "another environment, network or buffer size than the run's",
            "nothing",
            str(refusal.value),
        )


def test_the_golden_checkpoint_of_every_release_goes_on(tmp_path, outcome):
    """Checkpoints that earlier versions wrote. A change that cannot read them must say how to migrate, and change this test."""
    golden = pathlib.Path(__file__).parent / "golden"
    assert [path.name for path in golden.iterdir()]
    for release in golden.iterdir():
        logdir = tmp_path / release.name / "run"
        shutil.copytree(release, logdir)
        result = train.train(make_config(logdir=str(logdir), iterations=96))
        assert result.metrics["train/n_updates"] == 64
    outcome("a checkpoint of an earlier release", "nothing", "nothing: it goes on")
