"""Write what the documentation says of code and results: flags, algorithms, figures.

    python docs/generate.py

Each block stands between `<!-- NAME -->` and `<!-- /NAME -->` in README.md or a page here. No
figure is copied by hand; a test fails where a page is out of date.
"""

import importlib
import itertools
import json
import pathlib
import re
import runpy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, get_args

from mjx_sac.algorithms import PACKAGED
from mjx_sac.config import Config, mark

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "results"

Result = dict[str, Any]


def table(*rows: Iterable[str]) -> str:
    """Return rows as a Markdown table; the first is its head."""
    head, *others = [[*row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others))


# Flags


def default(value: Any) -> str:
    """Return a default as it is typed."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "auto" if value is None else str(value)


def meaning(config_class: type[Config], name: str) -> str:
    """Return a field's help text, with the values where there are few."""
    field = config_class.model_fields[name]
    values = [f"`{value}`" for value in get_args(field.annotation) if isinstance(value, str)]
    text = (field.description or "").replace("<", r"\<")  # no HTML
    return f"{text}{': ' * bool(values)}{', '.join(values)}"


def flags() -> str:
    """Return a table of flags for each group."""
    groups: dict[str, list[list[str]]] = {}
    for name, field in Config.model_fields.items():
        fixed = "fixed" if mark(Config, name, "fixed") else ""
        row = [f"`--{name}`", default(field.default), meaning(Config, name), fixed]
        groups.setdefault(mark(Config, name, "group"), []).append(row)
    head = ["flag", "default", "meaning", "when resuming"]
    return "\n\n".join(f"## {group}\n\n{table(head, *rows)}" for group, rows in groups.items())


# Algorithms


def algorithms() -> str:
    """Return what each packaged algorithm is, and how its configuration differs from SAC's."""
    rows = [["`--losses`", "algorithm", "other defaults", "flags it adds"]]
    rows += [["`auto`", "SAC: " + paper(importlib.import_module("mjx_sac.losses")), "", ""]]
    for name in PACKAGED:
        module = importlib.import_module(f"mjx_sac.algorithms.{name}")
        fields = module.Config.model_fields.items()
        changed = [
            f"`{field} = {default(info.default)}`"
            for field, info in fields
            if field in Config.model_fields and info.default != Config.model_fields[field].default
        ]
        added = [
            f"`--{field}` ({default(info.default)})"
            for field, info in fields
            if field not in Config.model_fields
        ]
        summary = module.__doc__.partition("\n")[0].rstrip(".")
        text = f"{summary}. {paper(module)}"
        rows.append([f"`{name}`", text, ", ".join(changed), ", ".join(added)])
    return table(*rows)


def paper(module: Any) -> str:
    """Return the references in a module's docstring."""
    text = " ".join(module.__doc__.partition("References:")[2].split())
    return re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


# Figures


class Row(NamedTuple):
    """A figure.

    Attributes:
      what: was measured.
      figure: reads it off the result.
      aim: what we want it to be.
      file: the result.
      short: its name in README; empty where it is not there.
    """

    what: str
    figure: Callable[[Result], str]
    aim: str
    file: str
    short: str = ""


def times(ratio: dict[str, float]) -> str:
    """Return a ratio with its spread."""
    return f"{ratio['median']:.2f} times ({ratio['min']:.2f} to {ratio['max']:.2f})"


def returns(peer: str, at: int | None = None) -> Callable[[Result], str]:
    """Return a reader of the mean return beside a peer's: at a count, or over all there are."""

    def read(result: Result) -> str:
        rows = [row for row in result["table"] if at in (None, row["iterations"])]
        names = ("mjx_sac", f"{peer.lower()}_sac")
        ours, theirs = (sum(row[name]["mean"] for row in rows) / len(rows) for name in names)
        return f"{ours:,.0f} ({peer}: {theirs:,.0f})"

    return read


def stall(result: Result) -> str:
    """Return the share of an epoch for which a checkpoint holds up training."""
    rates = dict(map(tuple, result["scalars"]["time/fps"]))
    interval = min(b - a for a, b in itertools.pairwise(rates))
    stalls = result["scalars"]["checkpoint/stall_seconds"]
    shares = [seconds * rates[step] / interval for step, seconds in stalls]
    return f"{min(shares):.2%} to {max(shares):.2%} of the time"


def environments(result: Result) -> str:
    """Return how many of others' environments train."""
    answers = [answer for group in result["table"].values() for answer in group.values()]
    train = answers.count("trains")
    broken = sum("AssertionError" in answer for answer in answers)  # their own
    refused = len(answers) - train - broken
    return f"{train} of {len(answers)} train, {refused} are refused, {broken} fails by itself"


LEARNING = [
    Row(
        "`ant`, 4 seeds (Brax: 3): mean return over 40,000 to 200,000 iterations",
        returns("Brax"),
        "Brax's",
        "learning_ant_packaged.json",
    ),
    Row(
        "the same at 200,000 iterations",
        returns("Brax", 200_000),
        "Brax's",
        "learning_ant_packaged.json",
        "`ant`: mean return at 200,000 iterations, 4 seeds (Brax's SAC: 3)",
    ),
    Row(
        "`HalfCheetah-v5`, 3 seeds each, at 150,000 iterations",
        returns("SBX", 150_000),
        "SBX's",
        "learning_HalfCheetah-v5.json",
        "`HalfCheetah-v5`: mean return at 150,000 iterations, 3 seeds each",
    ),
    Row(
        "`Hopper-v5`, 3 seeds each, at 100,000 iterations",
        returns("SBX", 100_000),
        "SBX's",
        "learning_Hopper-v5.json",
    ),
]
SPEED = [
    Row(
        "`ant`, 16 environments: iterations/s beside Brax's SAC",
        lambda r: times(r["ratios"]["epoch_to_brax"]),
        "1.3 times",
        "bench_ant_16.json",
    ),
    Row(
        "the same with 128 environments",
        lambda r: times(r["ratios"]["epoch_to_brax"]),
        "1.3 times",
        "bench_ant_128.json",
        "`ant`, 128 environments: iterations/s beside Brax's SAC",
    ),
    Row(
        "`Ant-v5`, 1 environment: iterations/s beside SBX's SAC",
        lambda r: times(r["ratio"]["to_sbx"]),
        "1.6 times",
        "throughput_Ant-v5_1.json",
        "`Ant-v5`, 1 environment: iterations/s beside SBX's SAC",
    ),
    Row(
        "the same with 8 environments",
        lambda r: times(r["ratio"]["to_sbx"]),
        "more than with 1",
        "throughput_Ant-v5_8.json",
    ),
    Row(
        "the same beside mjx-sac without overlap of host and device",
        lambda r: times(r["ratio"]["to_mjx_sac_serial"]),
        "",
        "throughput_Ant-v5_8.json",
    ),
    Row(
        "`inverted_pendulum`, small networks: 8 seeds side by side beside one after another",
        lambda r: times(r["ratio_of_whole"]),
        "more than 1",
        "seeds_inverted_pendulum.json",
    ),
    Row(
        "the same without start and compilation",
        lambda r: times(r["ratio_of_training"]),
        "",
        "seeds_inverted_pendulum.json",
    ),
]
COST = [
    Row(
        "`ant`: process start to first gradient step, nothing cached",
        lambda r: f"{r['median_seconds']['cold']:.0f} s",
        "30 s",
        "startup_ant.json",
        "`ant`: start of the process to the first gradient step, nothing cached",
    ),
    Row(
        "the same with a warm compilation cache",
        lambda r: f"{r['median_seconds']['warm']:.0f} s",
        "8 s",
        "startup_ant.json",
    ),
    Row(
        "gradient steps/s, as a share of what dense products on this machine allow",
        lambda r: f"{r['roofline']['fraction']:.0%}",
        "75%",
        "bench_ant_16.json",
    ),
    Row(
        "share of an epoch: environments, replay",
        lambda r: ", ".join(f"{r['share_of_an_epoch'][n]:.1%}" for n in ("environment", "replay")),
        "5%, 3%",
        "bench_ant_16.json",
    ),
    Row(
        "drawing from the replay buffer beside flashbax",
        lambda r: times(r["ratios"]["replay_sample_to_flashbax_sample"]),
        "",
        "bench_ant_16.json",
    ),
    Row(
        "replay memory for 1,000,000 transitions of `ant` beside Brax's",
        lambda r: f"{r['ratio']:.2f} times",
        "0.6 times",
        "replay_memory_ant.json",
        "replay memory for 1,000,000 transitions of `ant` beside Brax's",
    ),
    Row(
        "`ant`: training waits for a checkpoint, at the default interval",
        stall,
        "5%",
        "checkpoint_ant.json",
        "`ant`: training waits for checkpoints",
    ),
    Row("environments of others", environments, "", "gymnasium_table.json"),
]
LAUNCHES = [
    Row(
        "per gradient step",
        lambda r: f"{r['launches_per_update']:g}",
        "50",
        "gpu_launches_ant.json",
    ),
    Row(
        "per gradient step and agent, 10 seeds side by side",
        lambda r: f"{r['launches_per_update']:g}",
        "as for one",
        "gpu_launches_ant_10_seeds.json",
    ),
    Row(
        "per gradient step, networks as Pallas kernels (prototype `benchmarks/pallas_mlp.py`)",
        lambda r: f"{r['launches_per_update']:g}",
        "50",
        "gpu_launches_pallas.json",
    ),
    Row(
        "per vector step of 128 ants: physics alone",
        lambda r: f"{r['launches_per_vector_step_of_bare_physics']:,}",
        "",
        "gpu_launches_ant.json",
    ),
    Row(
        "the same with everything about episodes",
        lambda r: f"{r['launches_per_vector_step_of_physics_and_episodes']:,}",
        "1.05 times physics",
        "gpu_launches_ant.json",
    ),
    Row(
        "the same with policy, replay and statistics",
        lambda r: f"{r['launches_per_vector_step_beside_updates']:,}",
        "",
        "gpu_launches_ant.json",
    ),
]


def read(row: Row) -> str:
    """Return a row's figure."""
    return row.figure(json.loads((RESULTS / row.file).read_text()))


def figures(rows: list[Row]) -> str:
    """Return rows as a table."""
    lines = ([row.what, read(row), row.aim, f"`{row.file}`"] for row in rows)
    return table(["what", "figure", "aim", "file"], *lines)


def measured() -> str:
    """Return README's rows."""
    rows = [row for row in (*LEARNING, *SPEED, *COST) if row.short]
    return table(["what, on 2 CPU cores", "figure"], *([row.short, read(row)] for row in rows))


def devices() -> dict[str, str]:
    """Return what `benchmarks/devices.py` says of its result."""
    say = runpy.run_path(str(BENCHMARKS / "devices.py"))
    result = json.loads((RESULTS / "devices_ant.json").read_text())
    return {
        "exchanges": say["exchanges"](result),
        "shared": say["table"](result, grows=False),
        "grown": f"{say['table'](result, grows=True)}\n\n{say['limits'](result)}",
    }


BLOCKS: dict[str, Callable[[], str]] = {
    "flags": flags,
    "algorithms": algorithms,
    "learning": lambda: figures(LEARNING),
    "speed": lambda: figures(SPEED),
    "cost": lambda: figures(COST),
    "launches": lambda: figures(LAUNCHES),
    "measured": measured,
    "exchanges": lambda: devices()["exchanges"],
    "shared": lambda: devices()["shared"],
    "grown": lambda: devices()["grown"],
}


def renew(text: str) -> str:
    """Return a page with its blocks as they are now."""
    for name, make in BLOCKS.items():
        block = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if block.search(text):
            body = make()
            text = block.sub(lambda m, body=body: f"{m[1]}\n{body}\n\n{m[2]}", text)
    return text


def pages() -> Iterator[tuple[pathlib.Path, str]]:
    """Yield every page with the text it should have."""
    for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))):
        yield path, renew(path.read_text())


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text)
