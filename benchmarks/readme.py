"""Writes README's table of figures from `benchmarks/results/`: no figure is copied by hand. A test fails where the two differ.

python benchmarks/readme.py
"""

import itertools
import json
import pathlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


class Row(NamedTuple):
    """What was measured, how to read the figure off a result, what we aim at, and the file."""

    what: str
    figure: Callable[[dict[str, Any]], str]
    aim: str
    file: str


def times(ratio: dict[str, float]) -> str:
    """A ratio with its spread."""
    return f"{ratio['median']:.2f} times ({ratio['min']:.2f} to {ratio['max']:.2f})"


def returns(result: dict[str, Any], peer: str, at: int | None = None) -> str:
    """Mean return, over all counts in the table or at one, beside a peer's."""
    rows = [row for row in result["table"] if at in (None, row["iterations"])]
    ours, theirs = (
        sum(row[name]["mean"] for row in rows) / len(rows) for name in ("mjx_sac", f"{peer}_sac")
    )
    return f"{ours:,.0f} ({peer.capitalize() if peer == 'brax' else peer.upper()}'s SAC: {theirs:,.0f})"


def stall(result: dict[str, Any]) -> str:
    """Share of an epoch's time for which a checkpoint holds up training."""
    scalars = result["scalars"]
    rates = dict(map(tuple, scalars["time/fps"]))
    interval = min(b - a for a, b in itertools.pairwise(rates))
    shares = [
        seconds / (interval / rates[iterations])
        for iterations, seconds in scalars["checkpoint/stall_seconds"]
    ]
    return f"{min(shares):.2%} to {max(shares):.2%} of the time"


def environments(result: dict[str, Any]) -> str:
    """How many environments of others train."""
    all_of_them = [answer for table in result["table"].values() for answer in table.values()]
    train = sum(answer == "trains" for answer in all_of_them)
    broken = sum("AssertionError" in answer for answer in all_of_them)  # their own
    return f"{train} of {len(all_of_them)} train, {len(all_of_them) - train - broken} refused in a line, {broken} broken by itself"


ROWS = [
    Row(
        "`ant`: process start to first gradient step, cold",
        lambda r: f"{r['median_seconds']['cold']:.0f} s",
        "30 s",
        "startup_ant.json",
    ),
    Row(
        "the same with a warm compilation cache",
        lambda r: f"{r['median_seconds']['warm']:.0f} s",
        "8 s",
        "startup_ant.json",
    ),
    Row(
        "`ant`: iterations/s against Brax's SAC, taking turns, 16 environments, no layer norm",
        lambda r: times(r["ratios"]["epoch_to_brax"]),
        "1.3 times",
        "bench_ant_16.json",
    ),
    Row(
        "the same with 128 environments",
        lambda r: times(r["ratios"]["epoch_to_brax"]),
        "1.3 times",
        "bench_ant_128.json",
    ),
    Row(
        "gradient updates/s against what the machine's dense products allow",
        lambda r: f"{r['roofline']['fraction']:.0%}",
        "75 %",
        "bench_ant_16.json",
    ),
    Row(
        "of an epoch: environments, replay",
        lambda r: (
            f"{r['share_of_an_epoch']['environment']:.1%}, {r['share_of_an_epoch']['replay']:.1%}"
        ),
        "5 %, 3 %",
        "bench_ant_16.json",
    ),
    Row(
        "drawing from the replay buffer against flashbax",
        lambda r: times(r["ratios"]["replay_sample_to_flashbax_sample"]),
        "",
        "bench_ant_16.json",
    ),
    Row(
        "replay memory for 1,000,000 rows of `ant` against Brax's",
        lambda r: f"{r['ratio']:.3f} times",
        "0.6 times",
        "replay_memory_ant.json",
    ),
    Row(
        "`ant`: training stands still for a checkpoint, at the default interval",
        stall,
        "5 %",
        "checkpoint_ant.json",
    ),
    Row(
        "kernels a GPU launches per gradient update (compiled for an H200, not run)",
        lambda r: f"{r['launches_per_update']:g}",
        "50",
        "gpu_launches_ant.json",
    ),
    Row(
        "the same per vector step of 128 ants and everything about episodes, against bare physics",
        lambda r: (
            f"{r['launches_per_vector_step_of_physics_and_episodes']:,} against {r['launches_per_vector_step_of_bare_physics']:,}"
        ),
        "1.05 times and one",
        "gpu_launches_ant.json",
    ),
    Row(
        "the same with policy, replay and statistics",
        lambda r: f"{r['launches_per_vector_step_beside_updates']:,}",
        "",
        "gpu_launches_ant.json",
    ),
    Row(
        "the same for a gradient update of each of 10 seeds side by side",
        lambda r: f"{r['launches_per_update']:g}",
        "as for one",
        "gpu_launches_ant_10_seeds.json",
    ),
    Row(
        "an update of one agent with the prototype of networks as Pallas kernels, `benchmarks/pallas_mlp.py`",
        lambda r: f"{r['launches_per_update']:g}",
        "50",
        "gpu_launches_pallas.json",
    ),
    Row(
        "`inverted_pendulum`, small networks, a CPU: seconds of 8 seeds one after another against side by side, compiling included",
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
    Row(
        "`ant`: mean evaluation return, seeds 0 to 3 (Brax: 0 to 2), as packaged: mean from 40,000 to 200,000 iterations",
        lambda r: returns(r, "brax"),
        "Brax's",
        "learning_ant_packaged.json",
    ),
    Row(
        "the same at 200,000 iterations",
        lambda r: returns(r, "brax", 200_000),
        "Brax's",
        "learning_ant_packaged.json",
    ),
    Row(
        "`Ant-v5`: iterations/s against SBX's SAC, taking turns, 1 environment",
        lambda r: times(r["ratio"]["to_sbx"]),
        "1.6 times",
        "throughput_Ant-v5_1.json",
    ),
    Row(
        "the same with 8 environments",
        lambda r: times(r["ratio"]["to_sbx"]),
        "more",
        "throughput_Ant-v5_8.json",
    ),
    Row(
        "the same against ourselves without overlap of host and device",
        lambda r: times(r["ratio"]["to_mjx_sac_serial"]),
        "",
        "throughput_Ant-v5_8.json",
    ),
    Row("environments of others", environments, "", "gymnasium_table.json"),
]


def table() -> str:
    """The table, as Markdown."""
    lines = ["| what | figure | aim | file |", "|---|---|---|---|"]
    for row in ROWS:
        result = json.loads((RESULTS / row.file).read_text())
        lines.append(f"| {row.what} | {row.figure(result)} | {row.aim} | `{row.file}` |")
    return "\n".join(lines)


def renewed(text: str) -> str:
    """README with the table as the results have it."""
    return re.sub(
        r"(<!-- figures:.*?-->\n).*?(<!-- /figures -->)",
        lambda m: f"{m[1]}\n{table()}\n\n{m[2]}",
        text,
        flags=re.S,
    )


if __name__ == "__main__":
    README = ROOT / "README.md"
    README.write_text(renewed(README.read_text()))
