"""`--algorithm`: what is found under a name, what a run remembers of it, and what is refused."""

import contextlib
import hashlib
import json
import pathlib

import numpy as np
import pytest
from helpers.cli import run
from helpers.runs import SMALL, flags, save_run, scalars

from mjx_sac.algorithms import PACKAGED, loader
from mjx_sac.config import Config, UsageError
from mjx_sac.policy.policy import load_policy
from mjx_sac.runs import provenance, stored_policy
from mjx_sac.runs.resolve import attach, resolve
from mjx_sac.training.host import train as train_lib

MINE = """
import mjx_sac
from mjx_sac import networks as parts
from mjx_sac.losses import critic_loss

class Config(mjx_sac.Config):
    weight: float = 2.0
    tau: float = 0.25

def networks(config, action_size):
    return parts.make(config.model_copy(update={"hidden_sizes": (3, 5)}), action_size)

def critic(params, state, batch, key, *, networks, config):
    loss, metrics = critic_loss(params, state, batch, key, networks=networks, config=config)
    return config.weight * loss, {**metrics, "train/weight": config.weight}

losses = mjx_sac.Losses(critic)
"""


def edit(old, new):
    assert old in MINE
    return MINE.replace(old, new)


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(capsys, *more):
    return run(capsys, "train", *flags(logdir="run"), *more)


def test_a_run_resumes_with_the_losses_it_began_with(directory, capsys):
    mine = pathlib.Path("mine.py")
    mine.write_text(MINE)
    assert train(capsys, "--iterations=64", "--algorithm=mine.py", "--weight=3")[0] == 0
    kwargs = json.loads(pathlib.Path("run/kwargs.json").read_text())
    config = kwargs["config"]
    assert (config["algorithm"], config["weight"], config["tau"]) == ("mine.py", 3.0, 0.25)
    assert kwargs["algorithm_sha256"] == hashlib.sha256(MINE.encode()).hexdigest()

    longer = {"logdir": "run", "env": "counter", "iterations": 96}
    assert not attach(resolve(longer)).edited
    mine.write_text(MINE + "# a thought\n")
    code, out, err = train(capsys, "--iterations=96", "--weight=4")
    assert code == 0, err
    assert "mine.py has changed since run was saved" in out
    assert "weight 3.0 -> 4.0" in out
    assert scalars("run")["train/weight"] == {64: 3.0, 96: 4.0}
    assert not attach(resolve(longer)).edited
    config = json.loads(pathlib.Path("run/kwargs.json").read_text())["config"]
    assert config["schedule_iterations"] == 64, "those of the first start"

    policy = load_policy("run")
    assert policy.config.weight == 4.0
    assert policy.networks.actor.hidden_sizes == (3, 5)
    assert policy.predict(np.zeros((7, 2)))[0].shape == (7, 1)

    mine.unlink()
    code, _, err = train(capsys, "--iterations=128")
    assert (code, err.count("\n")) == (2, 1)
    assert "algorithm = 'mine.py': No such file" in err
    assert all(name in err for name in PACKAGED)
    assert stored_policy.find("run").iterations() == 96  # which does not need the file
    with pytest.raises(UsageError, match=r"'mine.py': No such file"):
        load_policy("run")


PLAIN = "import mjx_sac\n\nlosses = mjx_sac.Losses()\n"
LEAVES_A_FILE = f"{PLAIN}\nimport pathlib\n\npathlib.Path('ran').touch()\n"
COMMANDS = [("eval", "--episodes=2"), ("export",), ("record", "--out=a.html"), ("info",), ("plot",)]


def test_only_the_recorded_file_is_run_unless_asked_for(directory, capsys):
    """Whatever is done with the policy; `info` and `plot` run nothing."""
    pathlib.Path("mine.py").write_text(PLAIN)
    save_run(directory / "run", algorithm="mine.py")
    assert load_policy("run").config.algorithm == "mine.py"
    pathlib.Path("mine.py").write_text(LEAVES_A_FILE)
    for command in COMMANDS:
        code, _, err = run(capsys, command[0], "run", *command[1:])
        if command[0] not in ("info", "plot"):
            assert (code, err.count("\n")) == (2, 1), err
            assert "algorithm = 'mine.py': not the file that run was trained with" in err
            assert "--edited_algorithm" in err
    with pytest.raises(UsageError, match="SHA-256 differs"):
        load_policy("run")
    assert not pathlib.Path("ran").exists()
    assert run(capsys, "export", "run", "--edited_algorithm")[0] == 0
    assert pathlib.Path("ran").exists()
    assert load_policy("run", edited_algorithm=True).config.algorithm == "mine.py"


@pytest.mark.parametrize(("name", "refused"), [("cql", False), ("plain:losses", True)])
def test_an_older_run_recorded_no_hash(directory, name, refused):
    pathlib.Path("plain.py").write_text(PLAIN)
    with pytest.MonkeyPatch.context() as patch:
        described = provenance.description
        patch.setattr(
            provenance, "description", lambda c: {**described(c), "algorithm_sha256": None}
        )
        save_run(directory / "run", algorithm=name)
    with pytest.raises(UsageError) if refused else contextlib.nullcontext():
        assert load_policy("run").config.algorithm == name
    assert load_policy("run", edited_algorithm=True).config.algorithm == name


def test_a_file_is_found_again_from_another_directory(directory, monkeypatch):
    """As after an environment changed it; mistakes are still found in their line."""
    pathlib.Path("mine.py").write_text(edit("parts.make(", "parts.build("))
    algorithm = loader.find("mine.py")
    (directory / "deeper").mkdir()
    monkeypatch.chdir(directory / "deeper")
    assert loader.find("mine.py") is algorithm
    with pytest.raises(UsageError, match=r"'mine.py': line 11: AttributeError"):
        algorithm.algorithm.networks(Config(), 1)


def test_a_module_and_an_attribute(directory):
    text = MINE.replace("losses = mjx", "heavy = mjx")
    pathlib.Path("my_module.py").write_text(text)
    config = resolve({**SMALL, "algorithm": "my_module:heavy"})
    assert (config.weight, config.tau) == (2.0, 0.25)
    assert loader.load(config).losses.critic.__name__ == "critic"
    assert loader.sha256("my_module:heavy") == hashlib.sha256(text.encode()).hexdigest()
    assert resolve(SMALL, config_class=type(config)).algorithm == "sac"


def test_a_toml_file_names_losses_and_hyperparameters(directory):
    pathlib.Path("mine.py").write_text(MINE)
    pathlib.Path("mine.toml").write_text('algorithm = "mine.py"\nweight = 7.0\n')
    assert resolve(SMALL, config_file="mine.toml").weight == 7.0
    pathlib.Path("mine.toml").write_text('algorithm = "mine.py"\nwieght = 7.0\n')
    with pytest.raises(UsageError, match=r"wieght: no such hyperparameter; did you mean weight\?"):
        resolve(SMALL, config_file="mine.toml")


def test_a_mistyped_flag_of_an_algorithm_has_a_hint(directory, capsys):
    code, _, err = run(capsys, "train", "--algorithm=redq", "--target_critic", "3")
    assert code == 2
    assert "did you mean --target_critics?" in err


def test_a_configuration_without_the_fields_is_refused(directory):
    message = r"algorithm = 'td3': needs a configuration with exploration_noise, .*mjx_sac.resolve"
    with pytest.raises(UsageError, match=message):
        train_lib.train(Config(**SMALL, algorithm="td3"))
    assert not list(directory.glob("*"))


BAD = {
    "missing": (None, ["No such file"]),
    "no_python": ("import mjx_sac\nlosses = (\n", ["line 2: SyntaxError: '(' was never closed"]),
    "no_module": (
        "\n\nimport nosuchmodule\n",
        ["line 3: ModuleNotFoundError: No module named 'nosuchmodule'"],
    ),
    "exits": ("import sys\nsys.exit(7)\n", ["line 2: SystemExit: 7"]),
    "raises": (
        "def f():\n    return 1 / 0\nf()\n",
        ["line 2: ZeroDivisionError: division by zero"],
    ),
    "no_losses": ("import mjx_sac\n", ["`losses` is no such name", "losses = mjx_sac.Losses("]),
    "our_module": ("from mjx_sac import losses\n", ["`losses` is no such name"]),
    "a_tuple": (edit("mjx_sac.Losses(critic)", "(critic,)"), ["`losses` is a tuple"]),
    "misses_one": (
        edit("Losses(critic)", "Losses(critic, None)"),
        ["actor: None is not a callable object"],
    ),
    "signature": (
        edit("batch, key, *", "batch, *"),
        ["critic: too many positional arguments", "(params, state, batch, key, *,"],
    ),
    "no_config": (
        edit("*, networks, config", "*, networks"),
        ["critic: got an unexpected keyword argument 'config'"],
    ),
    "config": (
        edit("class Config(mjx_sac.Config)", "class Config"),
        ["`Config` is no subclass of mjx_sac.Config"],
    ),
    "networks": (
        edit("networks(config, action_size)", "networks(config)"),
        ["networks: too many positional arguments"],
    ),
    "factory": (
        edit("parts.make(", "parts.build("),
        ["line 11: AttributeError", "no attribute 'build'"],
    ),
    "no_networks": (
        edit(
            "networks(config, action_size):\n    return",
            "networks(config, action_size):\n    return 0,",
        ),
        ["returns a tuple"],
    ),
    "unused": (
        edit("    tau:", "    unused = ('widht',)\n    tau:"),
        ["Config.unused: widht: no such hyperparameter"],
    ),
    "actions": (
        edit("(3, 5)}), action_size", "(3, 5)}), 2"),
        ["the actor's actions have shape (4, 2), not (4, 1)"],
    ),
    "inside": (
        edit("config.weight * loss", "config.wieght * loss"),
        ["line 15: AttributeError", "wieght"],
    ),
    "vector": (
        edit("config.weight * loss", "batch.reward"),
        ["Gradient only defined for scalar-output"],
    ),
    "no_metrics": (edit(', {**metrics, "train/weight": config.weight}', ""), ["TypeError"]),
    "metric": (
        edit('"train/weight": config.weight', '"train/weight": "heavy"'),
        ["TypeError", "train/weight"],
    ),
    "empty_metric": (
        edit('"train/weight": config.weight', '"train/weight": batch.reward[:0]'),
        ["metric 'train/weight' is float32[0]"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_and_nothing_is_written(directory, capsys, name):
    text, words = BAD[name]
    if text is not None:
        pathlib.Path(f"{name}.py").write_text(text)
    code, _, err = train(capsys, f"--algorithm={name}.py")
    assert (code, err.count("\n")) == (2, 1), err
    assert all(word in err for word in [f"algorithm = '{name}.py': ", *words]), err
    assert {path.name for path in directory.iterdir()} <= {f"{name}.py"}


@pytest.mark.parametrize("name", ["no.such.module:losses", "nothing_like_it:losses", "json:losses"])
def test_a_bad_module_is_one_line(directory, capsys, name):
    code, _, err = train(capsys, f"--algorithm={name}")
    assert (code, err.count("\n")) == (2, 1), err
    assert f"algorithm = '{name}': " in err
