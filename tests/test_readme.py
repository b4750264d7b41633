"""README says what is true: its flags are `Config`'s, and its Python runs. `python tests/test_readme.py` renews the table."""

import pathlib
import re
import runpy
import shlex

import pytest
import typer

from mjx_sac.config import Config, mark

README = pathlib.Path(__file__).parent.parent / "README.md"


def flag_tables() -> str:
    """One table per group, as Markdown."""
    groups: dict[str, list[str]] = {}
    for name, field in Config.model_fields.items():
        value = field.default
        default = (
            "auto"
            if value is None
            else ",".join(map(str, value))
            if isinstance(value, tuple)
            else f"{value}"
        )
        row = f"| `--{name}` | {default} | {field.description} |"
        groups.setdefault(mark(Config, name, "group"), []).append(row)
    return "\n\n".join(
        f"| {group} | default | |\n|---|---|---|\n" + "\n".join(rows)
        for group, rows in groups.items()
    )


def with_tables(text: str) -> str:
    return re.sub(
        r"(<!-- flags:.*?-->\n).*?(<!-- /flags -->)",
        lambda m: f"{m[1]}\n{flag_tables()}\n\n{m[2]}",
        text,
        flags=re.S,
    )


def test_every_flag_is_in_the_readme_with_its_default():
    text = README.read_text()
    assert with_tables(text) == text, "run python tests/test_readme.py"


ALGORITHMS = dict(
    re.findall(r"<summary>(\w+\.py).*?```python\n(.*?)```", README.read_text(), flags=re.S)
)
"""Losses files by name; `test_algorithms.py` runs them."""

SNIPPETS = [
    s
    for s in re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    if s not in ALGORITHMS.values()
]


@pytest.mark.parametrize(
    "snippet", SNIPPETS, ids=["policy", "train", "loss", "environment", "gymnasium"]
)
def test_the_readmes_python_runs(snippet, monkeypatch, tmp_path):
    """As printed, but for the size of the run and, where it says ant, the environment."""
    from helpers.envs import Counter
    from helpers.runs import SMALL

    import mjx_sac
    from mjx_sac.envs import to_gymnasium
    from mjx_sac.training.host import train as train_lib

    def train(config, **kwargs):
        env = Counter() if config.env == "ant" else None
        return train_lib.train(
            config.model_copy(update={k: v for k, v in SMALL.items() if k != "env"}),
            env=env,
            **kwargs,
        )

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mjx_sac, "train", train, raising=False)
    to_gymnasium.register(["counter"])
    if "load_policy" in snippet:
        train(Config(env="ant", logdir="runs/ant"))
    exec(
        compile(snippet.replace("mjx_sac/ant", "mjx_sac/counter"), "README.md", "exec"),
        {"__name__": "readme"},
    )
    assert ".train(" not in snippet or list(pathlib.Path("runs").glob("*/checkpoints/128"))


PREFIX = r"^(?:pip install uv && )?(?:uv run (?:--extra \w+ )?)?"
COMMANDS = re.findall(PREFIX + r"(mjx-sac train[^#\n]*)", README.read_text(), flags=re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readmes_train_commands_are_understood(command, monkeypatch, tmp_path):
    """Everything up to the training itself, in a directory that has the files the command names."""
    from mjx_sac.cli import app

    trained = []
    monkeypatch.setattr(train, "train", lambda config, **_: trained.append(config))
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: name
    )  # as if every extra were installed
    monkeypatch.chdir(tmp_path)
    pathlib.Path("mine.toml").write_text("tau = 0.01\n")
    for name, text in ALGORITHMS.items():
        pathlib.Path(name).write_text(text)
    with pytest.raises(SystemExit) as stop:
        app.main(shlex.split(command)[1:])
    assert stop.value.code == 0
    assert "--help" in command or trained[0].env in command


OTHERS = re.findall(r"^(mjx-sac (?!train)[a-z][^#\n]*)", README.read_text(), flags=re.M)


@pytest.mark.parametrize("command", OTHERS)
def test_the_readmes_other_commands_have_those_flags(command):
    from mjx_sac.cli import app

    name, *arguments = shlex.split(command)[1:]
    app = typer.main.get_command(app.make_app())
    with app.commands[name].make_context(name, arguments):
        pass


def test_every_command_is_in_the_readme():
    from mjx_sac.cli import commands

    assert {shlex.split(command)[1] for command in OTHERS} >= commands.ALL.keys() - {"bench"}
    assert "`mjx-sac bench`" in README.read_text()


def test_the_readmes_figures_are_those_of_the_results():
    path = README.parent / "benchmarks" / "readme.py"
    figures = runpy.run_path(str(path))
    text = README.read_text()
    assert figures["renewed"](text) == text, "run python benchmarks/readme.py"


def test_the_readme_has_exactly_two_set_up_commands():
    set_up = (
        README.read_text().partition("## Set up")[2].partition("On a machine with an NVIDIA GPU")[0]
    )
    commands = re.findall(r"```sh\n(.*?)\n```", set_up, flags=re.S)
    assert [command.partition(" && ")[0] for command in commands] == ["pip install uv"] * 2


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
