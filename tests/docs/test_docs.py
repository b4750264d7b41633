"""What README and docs/ show: programs run, command lines parse, generated blocks are current."""

import copy
import functools
import pathlib
import re
import runpy
import shlex

import gymnasium
import pytest
import typer
from helpers.envs import Counter
from helpers.runs import SMALL, save_run

import mjx_sac
from mjx_sac import envs
from mjx_sac.algorithms import PACKAGED
from mjx_sac.cli import app
from mjx_sac.envs import registry
from mjx_sac.runs import resolve
from mjx_sac.training.host import train as train_lib

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> dict[str, str]:
    """Return the code blocks of all pages by page and number; one shown twice counts once."""
    found = {}
    for page in PAGES:
        for i, block in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)):
            found.setdefault(block, f"{page.stem}-{i}")
    return {name: block for block, name in found.items()}


PROGRAMS = blocks("python")
FILES = {name[1]: text for text in PROGRAMS.values() if (name := re.match(r"# (\w+\.py)\n", text))}
"""Programs that begin with a file's name, which other programs and commands use."""


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory to be in, with the files that pages name."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        pathlib.Path(name).write_text(text)
    pathlib.Path("mine.toml").write_text("tau = 0.01\n")
    return tmp_path


@pytest.fixture
def small(directory, monkeypatch):
    """Training takes two short epochs, and where a program says ant it gets a counter."""
    shape = {**SMALL, "iterations": 64, "episodes_per_eval": 0}
    del shape["env"]

    def train(config, **kwargs):
        config = config.model_copy(update=shape)
        env = Counter() if config.env == "ant" else None
        return train_lib.train(config, env=env, **kwargs)

    monkeypatch.setattr(mjx_sac, "train", train, raising=False)
    registry.register_with_gymnasium()
    ant = copy.deepcopy(gymnasium.registry["mjx_sac/ant"])
    ant.kwargs["name"] = "counter"
    monkeypatch.setitem(gymnasium.registry, "mjx_sac/ant", ant)
    return directory


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_runs(name, small):
    text = PROGRAMS[name]
    if "load_policy" in text:
        save_run(pathlib.Path("runs/ant"), env="counter")
    exec(compile(text, name, "exec"), {"__name__": "__main__"})
    if "\nlosses = " in text:
        file = next(file for file, program in FILES.items() if program == text)
        mjx_sac.train(mjx_sac.resolve({"algorithm": file}))
    if ".train(" in text or "\nlosses = " in text:
        assert [*pathlib.Path("runs").glob("*/checkpoints/64")]


def command_lines() -> list[str]:
    """Return every `mjx-sac ...` of shell blocks and of the text, without what comes before it."""
    shown = [line for block in blocks("sh").values() for line in block.splitlines()]
    for page in PAGES:
        shown += re.findall(r"`((?:uv run )?mjx-sac \w+ [^`\n]+)`", page.read_text())
    words = (shlex.split(part, comments=True) for line in shown for part in line.split("&&"))
    commands = [line[line.index("mjx-sac") + 1 :] for line in words if "mjx-sac" in line]
    return sorted({shlex.join(command) for command in commands if command})


@pytest.fixture
def parse(monkeypatch):
    """Return a function that parses a command line, and what the command would have been given."""
    given = []
    for name, command in app.COMMANDS.items():
        record = functools.wraps(command)(lambda *args, **kwargs: given.append((args, kwargs)))
        monkeypatch.setitem(app.COMMANDS, name, record)

    def parse(line):
        with pytest.raises(SystemExit) as stop:
            app.main(shlex.split(line))
        assert stop.value.code == 0
        return given

    return parse


@pytest.mark.parametrize("line", command_lines())
def test_command_line_parses(line, directory, parse, capsys):
    for args, kwargs in parse(line):
        flags = next((each for each in (*args, *kwargs.values()) if hasattr(each, "found")), None)
        if flags:
            config = resolve.configure(flags.found, flags.given)
            if not config.env.startswith("playground/"):  # an extra
                envs.check(config.env)


def test_every_command_is_shown():
    assert {line.split()[0] for line in command_lines()} >= app.COMMANDS.keys()


def test_every_flag_in_the_text_exists(directory):
    named = [*PACKAGED, "my_losses.py"]
    commands = [["train", "--algorithm", name] for name in named]
    known = set()
    for arguments in commands:
        group = typer.main.get_command(app.make_app(arguments, mjx_sac.Config, None))
        for command in group.commands.values():
            known |= {opt for each in command.params for opt in (*each.opts, *each.secondary_opts)}
    for page in PAGES:
        shown = set(re.findall(r"`(--[\w-]+)", page.read_text()))
        shown = {flag.replace("-", "_").replace("__", "--", 1) for flag in shown}
        assert shown <= known, page


def test_generated_blocks_are_current():
    for page, text in runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]():
        assert page.read_text() == text, f"{page.name}: run python docs/generate.py"


def test_the_table_of_algorithms_has_a_row_for_each_and_says_what_is_missing():
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    rows = [line.split(" | ") for line in generate["algorithms"]().splitlines()[2:]]
    names = [row[0].strip("|` ") for row in rows if len(row) == 8]
    assert names == [*PACKAGED]
    recordings = (ROOT / "tests" / "algorithms" / "recorded").glob("*.npz")
    held = {name for name in PACKAGED if generate["difference"](name) != "by hand"}
    assert held == {path.stem for path in recordings}, "run benchmarks/recorded_steps.py"
    assert generate["learned"]("no such algorithm") == "not measured"
    assert generate["speed"]("no such algorithm") == "not measured"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path = target.partition("#")[0]
        assert "://" in path or not path or (page.parent / path).exists(), target


def test_readme_is_short():
    assert len(PAGES[0].read_bytes()) <= 9 * 1024
