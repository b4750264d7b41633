"""The command line: help, flags, exit codes, one-line errors."""

import os
import re
import shlex
import sys

import pytest
import typer
from helpers.cli import run, run_in_new_process
from pydantic import Field

from mjx_sac.cli import app
from mjx_sac.config import Config, flag

COMMANDS = [*app.COMMANDS]


def test_help_comes_without_importing_jax():
    code, out, heavy = run_in_new_process("train", "--help")
    assert (code, heavy) == (0, [])
    assert "Example" in out


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ("train", "-h"), ("train", "--help")])
def test_help(capsys, arguments):
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert "train" in out


def test_version(capsys):
    assert run(capsys, "--version")[:2] == (0, "mjx-sac 0.1.0\n")


def test_every_hyperparameter_is_a_flag_with_its_help(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = run(capsys, "train", "--help")[1]
    for name in Config.model_fields:
        assert f"{flag(name)} " in out
    assert "step of the target critics towards the critics (default 0.005)" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_has_an_example_that_parses(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(capsys, name, "--help")
    example = re.search(r"Example: mjx-sac (.*?)\s*$", out, flags=re.MULTILINE)
    assert code == 0
    assert example, out
    first, *arguments = shlex.split(example[1])
    assert first == name
    group = typer.main.get_command(app.make_app())
    parent = group.make_context("mjx-sac", [name])
    group.commands[name].make_context(name, arguments, parent=parent)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_gets_the_nearest(capsys, name):
    code, out, err = run(capsys, name, "--hepl")
    assert (code, out, err) == (2, "", "mjx-sac: --hepl: no such flag; did you mean --help?\n")
    err = run(capsys, name, "--qqqqqqqqqq")[2]
    assert err == f"mjx-sac: --qqqqqqqqqq: no such flag; `mjx-sac {name} --help` lists them\n"


BAD = [
    (["train", "--env", "atn"], ["env = 'atn'", "did you mean ant?"]),
    (["train", "--env", "Ant-v2"], ["Ant-v2", "use --env ant"]),
    (["train", "--env", "HalfCheetah-v3"], ["use --env halfcheetah"]),
    (["train", "--env", "InvertedPendulum-v2"], ["use --env inverted_pendulum"]),
    (["train", "--env", "no.such.module:make"], ["no module named 'no.such.module'"]),
    (["train", "--polcy_lr", "1"], ["--polcy_lr", "did you mean --policy_lr?"]),
    (["train", "--policy-lr", "fast"], ["policy_lr = 'fast'"]),
    (["train", "--tau=2"], ["tau = '2'", "less than or equal to 1"]),
    (["train", "--iterations", "1e3"], ["iterations 1000", "warm_up_steps 1000"]),
    (["train", "--buffer_size", "10"], ["buffer_size 10", "num_envs 16"]),
    (["train", "--config", "missing.toml"], ["missing.toml", "No such file"]),
    (["train", "--logdir", "a_file"], ["a_file is a file"]),
    (["train", "--logdir", "a_file/deeper"], ["a_file is a file"]),
    (["train", "--logdir", os.fsdecode(b"run\xff")], ["logdir = ", "UTF-8"]),
    (["train", "--logdir"], ["--logdir", "argument", "`mjx-sac train --help`"]),
    (["train", "--device", "tpux"], ["device = 'tpux'", "'tpu'"]),
    (["train", "--tau"], ["--tau", "argument"]),
    (["trian"], ["trian: no such command; did you mean train?"]),
    (["zzzzzz"], [f"zzzzzz: no such command; there are {', '.join(COMMANDS)}"]),
    (["--vresion"], ["--vresion: no such flag; did you mean --version?"]),
    (["eval"], ["argument 'RUN'", "`mjx-sac eval --help` shows how"]),
    (["dataset", "x", "--out", "d"], ["--out: no such flag; `mjx-sac dataset --help` lists them"]),
    (["eval", "x", "--epsodes", "3"], ["--epsodes: no such flag; did you mean --episodes?"]),
    (["eval", "none"], ["run = 'none': no such directory"]),
    (["export", "x", "--format", "tf"], ["'tf' is not one of 'stablehlo', 'npz', 'onnx'"]),
    ([], []),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=lambda x: " ".join(x) or "nothing")
def test_bad_input_is_one_line_and_writes_nothing(capsys, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("mine")
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.count("\n") == (1 if arguments else 0)
    assert all(word in err for word in words), err
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--env", "atn"],
        ["--tau", "2"],
        ["--track", "tensorboard"],
        ["--film_interval", "-1"],
        ["--iterations", "1e3"],
        ["--env", "swimmer"],
        ["--env_option", "nothing"],
    ],
)
def test_bad_input_is_found_before_jax_is_imported(arguments, tmp_path):
    code, _, heavy = run_in_new_process("train", *arguments, cwd=tmp_path)
    assert (code, heavy) == (2, [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "value", "extra"),
    [
        ("--device", "gpu", "cuda12"),
        ("--env", "playground/CheetahRun", "mjx-sac[playground]"),
        (
            "--track",
            "wandb",
            "track = 'wandb': needs wandb: install the extra: `pip install -e '.[wandb]'",
        ),
        ("--track", "trackio, mlflow,trackio", "track = 'mlflow': needs mlflow"),
        ("--film_interval", "1e4", "film_interval = 10000: needs PIL: install the extra: "),
    ],
)
def test_what_needs_an_extra_names_it(capsys, monkeypatch, tmp_path, flag, value, extra):
    monkeypatch.chdir(tmp_path)
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin")
    for module in (*plugins, "mujoco_playground", "wandb", "mlflow", "PIL"):
        monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    code, _, err = run(capsys, "train", flag, value)
    assert code == 2
    assert extra in err


def test_options_are_given_one_by_one(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--env_option", "ends_at=3", "--env-option", "break_at=4")
    code, _, err = run(capsys, "train", "--env", "helpers.envs:Counter", *options)
    assert code == 2
    assert "env_option = 'break_at': helpers.envs:Counter takes no such argument" in err


def test_a_subclass_of_config_gets_flags(capsys, monkeypatch, tmp_path):
    class Mine(Config):
        cql_weight: float = Field(5.0, ge=0, description="weight of the conservative penalty")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    out = run(capsys, "train", "-h", config_class=Mine)[1]
    assert "weight of the conservative penalty (default 5.0)" in out
    code, _, err = run(capsys, "train", "--cql-weight", "-1", config_class=Mine)
    assert code == 2
    assert "cql_weight = '-1'" in err
