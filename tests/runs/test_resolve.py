"""Where a configuration comes from, and which run it resumes."""

import collections
import pathlib
import sys

import pytest
from helpers.cli import run
from helpers.runs import flags, make_config, save_run

from mjx_sac import load_policy
from mjx_sac.algorithms import loader
from mjx_sac.config import UsageError, build
from mjx_sac.runs import array_store, config_files
from mjx_sac.runs.directory import checkpoint_path
from mjx_sac.runs.info import inspect
from mjx_sac.runs.resolve import attach, check_device, newest, resolve

PACKAGED = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("algorithm", ["sac", "flashsac"])
@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_a_packaged_configuration_says_only_what_differs(path, algorithm):
    values = config_files.read(path)
    for env in values.get(config_files.FOR, [path.stem]):
        given = {"env": env.replace("*", "X"), "logdir": "nowhere", "algorithm": algorithm}
        config, defaults = resolve(given), loader.config_class(algorithm)(**given)
        said = config_files.packaged(given["env"], algorithm, type(config))
        assert said or algorithm not in values
        for name in said:
            assert getattr(config, name) == getattr(build(type(config), said), name)
            assert getattr(config, name) != getattr(defaults, name), f"{name} is the default"


def test_flags_win_over_the_file_over_the_run_over_the_default(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("tau = 0.01\npolicy_lr = 1e-3\n")
    save_run(tmp_path / "run", tau=0.02, discount=0.5)
    given = {"env": "counter", "policy_lr": "2e-3", "logdir": str(tmp_path / "run")}
    config = resolve(given, config_file=str(path))
    assert (config.policy_lr, config.tau, config.discount) == (2e-3, 0.01, 0.5)
    assert config.q_lr == 3e-4
    restarted = resolve(given, config_file=str(path), overwrite=True)
    assert restarted.discount == 0.99


@pytest.mark.parametrize("logdir", ["auto", "none", None])
def test_an_automatic_directory_is_the_environments(logdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = resolve({"env": "counter", "logdir": logdir})
    assert config.run_dir == "runs/counter"
    assert attach(config).directory == tmp_path / "runs" / "counter"


def test_a_home_directory_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.toml").write_text('logdir = "~/run"\ntau = 0.25\n')
    config = resolve({"env": "counter"}, config_file="~/mine.toml")
    assert attach(config).directory == tmp_path / "run"
    save_run(tmp_path / "run")
    assert load_policy("~/run").iterations == 32
    assert inspect("~/run")["iterations"]["saved"] == 32


def test_resolving_writes_nothing(tmp_path):
    attach(resolve({"env": "counter", "logdir": str(tmp_path / "run")}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tau = \n", ["line 1"]),
        ("a = 1\nb = [\n", ["line"]),
        ("tua = 0.1\n", ["tua", "did you mean tau?"]),
        (b"\xff\xfe", ["not a text file"]),
        (None, ["No such file"]),
        ("env = 5\n", ["env = 5", "string"]),
        ("logdir = 5\n", ["logdir = 5", "string"]),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as error:
        resolve({}, config_file=str(path))
    assert all(word in str(error.value) for word in words), error.value


def test_a_run_is_resumed_where_its_newest_checkpoint_is(tmp_path):
    assert attach(make_config(logdir=str(tmp_path))).latest is None
    save_run(tmp_path, steps=(32, 64))
    attached = attach(make_config(logdir=str(tmp_path), iterations=256))
    assert (attached.latest, attached.steps) == (64, (32, 64))
    assert attached.changed == {"iterations": (128, 256)}
    assert attach(attached.config, overwrite=True).latest is None


def test_a_schedule_keeps_the_iterations_of_the_first_start(tmp_path):
    first = attach(make_config(logdir=str(tmp_path))).config
    assert first.schedule_iterations == 128
    save_run(tmp_path, schedule_iterations=128)
    longer = {"logdir": str(tmp_path), "iterations": 256}
    resumed = attach(make_config(**longer))
    assert (resumed.config.schedule_iterations, resumed.config.schedule_updates) == (128, 128)
    assert resumed.changed == {"iterations": (128, 256)}
    assert resolve({"env": "counter", **longer}).schedule_iterations == 128
    with pytest.raises(UsageError, match=r"schedule_iterations 128 \(now 256\)"):
        attach(make_config(**longer, schedule_iterations=256))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_sizes": (16,)}, ["hidden_sizes (8,) (now (16,))"]),
        ({"num_envs": 8, "seed": 3}, ["num_envs 4 (now 8)", "seed 0 (now 3)"]),
        ({"env": "ant"}, ["env 'counter' (now 'ant')"]),
    ],
)
def test_another_run_is_refused_field_by_field(tmp_path, changes, words):
    save_run(tmp_path)
    with pytest.raises(UsageError) as error:
        attach(make_config(logdir=str(tmp_path), **changes))
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("item", ["state", "policy"])
def test_a_damaged_manifest_is_refused_unless_passed_over(tmp_path, item):
    save_run(tmp_path, steps=(32, 64))
    (checkpoint_path(tmp_path, 64) / item / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match="--fallback"):
        newest(tmp_path)
    assert newest(tmp_path, fallback=True)[0] == 32
    with pytest.raises(UsageError, match="no older checkpoint is whole"):
        newest(tmp_path, fallback=True, before=32)


def test_a_device_without_support_is_refused(monkeypatch):
    for name in ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "libtpu"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(UsageError, match="--extra cuda12"):
        check_device("gpu")
    with pytest.raises(UsageError, match=r"jax\[tpu\]"):
        check_device("tpu")
    check_device("cpu")


def test_a_resumed_run_reads_and_hashes_each_file_once(capsys, monkeypatch, tmp_path):
    """From the command line; what it saves later is not read."""
    given = {"logdir": tmp_path / "run", "buffer_size": 400_000}
    assert run(capsys, "train", *flags(**given, iterations=64))[0] == 0
    state = checkpoint_path(tmp_path / "run", 64) / "state"
    body = array_store.manifest(state)
    pieces = {name for leaf in body["leaves"].values() for name in leaf.get("pieces", ()) if name}
    assert pieces, "some files hold nothing but the replay buffer"
    counts = collections.Counter()

    def counting(function):
        def counted(path, *rest):
            counts[path] += 1
            return function(path, *rest)

        return counted

    monkeypatch.setattr(array_store, "manifest", counting(array_store.manifest))
    monkeypatch.setattr(array_store, "_load", counting(array_store._load))
    code, out, _ = run(capsys, "train", *flags(**given, iterations=96))
    assert code == 0
    assert "at 64 iterations" in out
    assert counts[state] == 1, "the manifest"
    assert {name: counts[state / name] for name in pieces} == dict.fromkeys(pieces, 1)
    assert counts[state / body["packed"]] == 1
    looked_at = {path.parts[-2] for path in counts if "checkpoints" in path.parts}
    assert "32" not in looked_at, "older checkpoints are not looked at"
