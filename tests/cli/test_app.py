"""The command line, as a person types it."""

import subprocess
import sys

import pytest
from helpers.cli import run
from pydantic import Field

from mjx_sac.config import Config


def test_help_comes_without_importing_jax():
    code = "import sys; sys.argv = ['mjx-sac', 'train', '--help']\n" \
           "try:\n    from mjx_sac.cli import main; main()\n" \
           "except SystemExit: print('heavy:', sorted({'jax', 'brax', 'flax', 'orbax'} & set(sys.modules)))"  # fmt: skip
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "heavy: []" in out
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
        assert f"--{name}" in out
    assert "step of the target critics towards the critics (default 0.005)" in out


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
    (["train", "--device", "tpux"], ["device = 'tpux'", "'tpu'"]),
    (["train", "--tau"], ["--tau", "argument"]),
    (["trian"], ["trian"]),
    ([], []),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=lambda x: " ".join(x) or "nothing")
def test_bad_input_is_one_line_exit_2_and_nothing_written(
    capsys, monkeypatch, tmp_path, arguments, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("mine")
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert err.count("\n") == (1 if arguments else 0)
    assert all(word in err for word in words), err
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"]


@pytest.mark.parametrize(
    "arguments", [["--env", "atn"], ["--tau", "2"], ["--iterations", "1e3"], ["--env", "swimmer"]]
)
def test_bad_input_is_found_before_jax_is_imported(arguments, tmp_path):
    code = "import sys\ntry:\n    from mjx_sac.cli import main; main()\nexcept SystemExit as e: print(e.code, 'jax' in sys.modules)"
    command = [sys.executable, "-c", code, "train", *arguments]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert out == "2 False\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "value", "extra"),
    [("--device", "gpu", "cuda12"), ("--env", "playground/CheetahRun", "mjx-sac[playground]")],
)
def test_what_needs_an_extra_names_it(capsys, monkeypatch, tmp_path, flag, value, extra):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run(capsys, "train", flag, value)
    assert code == 2
    assert extra in err


def test_a_subclass_of_config_gets_flags(capsys, monkeypatch, tmp_path):
    class Mine(Config):
        cql_weight: float = Field(5.0, ge=0, description="weight of the conservative penalty")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    assert (
        "weight of the conservative penalty (default 5.0)"
        in run(capsys, "train", "-h", config_class=Mine)[1]
    )
    code, _, err = run(capsys, "train", "--cql-weight", "-1", config_class=Mine)
    assert code == 2
    assert "cql_weight = '-1'" in err
