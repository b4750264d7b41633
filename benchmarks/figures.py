"""Tables of what was measured, read off `results/`; `python docs/generate.py` writes them."""

import itertools
import json
import pathlib
import statistics
from collections.abc import Callable, Iterable
from typing import Any

from readings import evaluated
from rows import COST, LAUNCHES, LEARNING, OURS, SPEED, Row

RESULTS = pathlib.Path(__file__).parent / "results"


def table(*rows: Iterable[str]) -> str:
    """Return rows as a Markdown table; the first is its head."""
    head, *others = [[*row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *others))


def read(row: Row) -> str:
    """Return a row's figure."""
    return row.figure(json.loads((RESULTS / row.file).read_text()))


def figures(rows: list[Row]) -> str:
    """Return rows as a table."""
    lines = ([row.what, read(row), row.aim, f"`{row.file}`"] for row in rows)
    return table(["what", "figure", "aim", "file"], *lines)


def measured() -> str:
    """Return README's rows."""
    rows = [row for row in (*SPEED, *OURS, *COST) if row.short]
    return table(["what, on 2 CPU cores", "figure"], *([row.short, read(row)] for row in rows))


ALGORITHMS, TASKS = (
    ("sac", "csac", "flashsac", "xqc"),
    ("HalfCheetah-v5", "Walker2d-v5", "Humanoid-v5", "HalfCheetah-v4"),
)


def tasks() -> str:
    """Return what algorithms reach on Gymnasium's tasks at 100,000 iterations."""
    files = ("learning_tasks.json", "learning_tasks_v4.json", "learning_tasks_speed.json")
    result, published, speed = (json.loads((RESULTS / file).read_text()) for file in files)
    cost = json.loads((RESULTS / "algorithm_costs.json").read_text())["cost"]
    rates = speed["iterations_per_second"]

    def cell(name: str, task: str) -> str:
        found = [
            row["seeds"]
            for row in (*result["table"], *published["table"])
            if (row["algorithm"], row["task"], row["iterations"]) == (name, task, 100_000)
        ]
        if not found:
            return "not run"
        seeds = found[0]
        return f"{sum(seeds) / len(seeds):,.0f} ({len(seeds)})"

    def rate(name: str) -> str:
        return f"{sorted(rates[name])[len(rates[name]) // 2]:.3g}"

    head = ["algorithm", *(f"`{task}`" for task in TASKS), "iterations/s", "cost"]
    lines = (
        [f"`{name}`", *(cell(name, task) for task in TASKS), rate(name), f"{cost[name]:g}"]
        for name in ALGORITHMS
    )
    return table(head, *lines)


CHANGES = {
    "scalar": "critics of one value, not of 101 atoms",
    "n1": "returns of 1 step, not 3",
    "delay1": "the actor moves every time, not every second",
    "no_layer_norm": "critics without layer norm",
    "entropy": "target entropy of minus the actions' number, not by a deviation of 0.15",
    "raw_rewards": "rewards as they come, atoms on [-1,000, 1,000]",
    "no_normalizer": "observations as they come",
    "wide": "layers of 512, not 256",
    "updates2": "two gradient steps per iteration",
}


def screening() -> str:
    """Return what one change does to `csac` in 50,000 iterations, beside its same seeds."""
    files = ("learning_tasks.json", "learning_tasks_screening.json")
    final, tried = (json.loads((RESULTS / file).read_text())["table"] for file in files)
    found = {}
    for row in (*final, *tried):
        if row["iterations"] == 50_000:
            first, second = row["seeds"][:2]
            found[row["algorithm"], row["task"]] = (first + second) / 2
    two = TASKS[:2]
    lines = (
        [
            CHANGES.get(name, f"`{name}`"),
            *(f"{found[name, task]:,.0f}" for task in two),
            *(f"{found[name, task] / found['csac', task]:.2f}" for task in two),
        ]
        for name in ("csac", "sac", *CHANGES)
    )
    beside = (f"beside `csac`, {task.partition('-')[0]}" for task in two)
    return table(["change", *(f"`{task}`" for task in two), *beside], *lines)


def rounded() -> str:
    """Return what seeds reach after 50,000 iterations in float32, and with products in bfloat16."""
    found = {
        (row["task"], row["algorithm"]): [f"{value:,.0f}" for value in sorted(row["seeds"])]
        for file in ("learning_tasks.json", "learning_tasks_bfloat16.json")
        for row in json.loads((RESULTS / file).read_text())["table"]
        if row["iterations"] == 50_000
    }
    rows = [
        [f"`{task}`", f"`{name}`", *(", ".join(found[task, name + x]) for x in ("", "16"))]
        for task in TASKS[:2]
        for name in ("sac", "csac")
    ]
    return table(["task", "algorithm", "float32", "bfloat16"], *rows)


def fidelity() -> str:
    """Return how far the tasks of `mjx/` are from C, and their speed."""
    head = [
        "task",
        "1 step",
        "1 step, float32",
        "10 steps",
        "100 steps",
        "C, moved by 1e-14, 100 steps",
        "steps/s",
        "`solver=fast`",
    ]
    rows = []
    for name, task in json.loads((RESULTS / "mjx_tasks.json").read_text())["tasks"].items():
        newton = "float64_against_c_newton" in task
        exact = task["float64_against_c_newton" if newton else "float64"]
        moved = task["c_moved_by_1e-14"]["100"]
        seen = [exact["one_step"], task["float32"]["one_step"]]
        seen += [exact["after"]["10"], exact["after"]["100"], moved]
        cells = [" / ".join(f"{x:.1g}" for x in each["observation"]) for each in seen]
        speeds = [task[solver]["steps_per_second"] for solver in ("float32", "fast")]
        rows.append([f"`{name}`", *cells, *(f"{x:,.0f}" for x in speeds)])
    return table(head, *rows)


def transfer() -> str:
    """Return what policies earn in both simulators, over 100 episodes."""
    rows = []
    runs = [("csac", TASKS[0], "C"), ("csac", TASKS[1], "C"), ("mjx_csac", TASKS[0], "MJX")]
    for run, task, trained in runs:
        files = (f"eval_{run}_{where}{task}.json" for where in ("", "mjx_"))
        returns = (evaluated(json.loads((RESULTS / file).read_text())) for file in files)
        rows.append([f"`{task}`", trained, *returns])
    return table(["task", "trained in", "return in C", "on MJX"], *rows)


def playground() -> str:
    """Return what runs reach on Playground's tasks, one seed each, at some iterations."""
    counts, rows = (102_400, 204_800, 307_200, 512_000), []
    for file in sorted(RESULTS.glob("learning_playground*.json")):
        result = json.loads(file.read_text())
        for name, tasks in result["curves"].items():
            for task, seeds in tasks.items():
                found = {n: f"{value:.0f}" for n, value in next(iter(seeds.values()))}
                thrown = result.get("nonfinite_steps", {name: {task: ["not counted"]}})[name][task]
                returns = (found.get(n, "not run") for n in counts)
                rows.append([f"`{task}`", f"`{name}`", *returns, f"{thrown[0]}"])
    head = ["task", "algorithm", *(f"{n:,}" for n in counts), "steps thrown away as NaN"]
    return table(head, *rows)


def offline() -> str:
    """Return what is learned from a run's replay buffer alone, beside what is in it."""
    result = json.loads((RESULTS / "learning_offline_HalfCheetah-v5.json").read_text())

    def mean(values: list[float]) -> str:
        return f"{sum(values) / len(values):,.0f} ({len(values)})"

    rows = [
        [
            "an episode of the data, in the mean",
            "",
            mean([x["mean_return"] for x in result["data"]]),
        ],
        [
            f"`sac`, after the {result['iterations']:,} iterations that collected them",
            "",
            mean([x["evaluated_at_the_end"] for x in result["data"]]),
        ],
    ]
    for name, runs in result["final"].items():
        steps = f"{min(run['iterations'] for run in runs):,}"
        rows.append([f"`{name}`, offline", steps, mean([run["return"] for run in runs])])
    return table(["what", "gradient steps", "return (seeds)"], *rows)


LAUNCH, FLOPS, BYTES = 2.5e-6, 0.4 * 494e12, 0.7 * 3.35e12
"""Seconds of a launch, and what of an H100's (SXM) dense TF32 products per second and of its memory
traffic per second we assume to be reached. Its peaks: NVIDIA's data sheet; TF32 without sparsity.
"""


REGIMES = (
    ("gpu_launches_ant.json", 128, 1.0),
    ("gpu_launches_csac.json", 128, 1.0),
    ("gpu_launches_flashsac.json", 2, 2048 / 512),
    ("gpu_launches_g1.json", 2, 2048 / 512),
)
"""Where launches were counted: a file, gradient steps per vector step, and how many times the batch
of `algorithm_costs.json` they take."""


def _regime(file: str, updates: int) -> tuple[dict[str, Any], str, int]:
    """Return what was counted, its name, and the launches of a whole vector step."""
    found = json.loads((RESULTS / file).read_text())
    name = f"`{found['env'].removeprefix('playground/')}`, `{found['algorithm']}`"
    whole = found.get("launches_per_vector_step")
    if whole is None:
        beside = found["launches_per_vector_step_beside_updates"]
        whole = round(beside + updates * found["launches_per_update"])
    return found, f"{name}, {found['num_envs']:,}", whole


def regimes() -> str:
    """Return what a GPU launches for the parts of a run."""
    head = ["task, algorithm, environments", "gradient step", "physics", "the same with episodes"]
    head += ["whole vector step", "initial states of all", "step of an evaluation", "in place"]
    rows = []
    for file, updates, _ in REGIMES:
        found, name, whole = _regime(file, updates)
        physics = "launches_per_vector_step_of_"
        parts = [f"{physics}bare_physics", f"{physics}physics_and_episodes", None]
        parts += ["launches_of_resets", f"{physics}evaluation"]
        counts = [f"{found[part] if part else whole:,}" for part in parts]
        size = found["bytes"]["in_place"], found["bytes"]["state"]
        kept = f"{size[0] / 1e6:,.0f} of {size[1] / 1e6:,.0f} MB"
        rows.append([name, f"{found['launches_per_update']:g}", *counts, kept])
    return table(head, *rows)


def predicted() -> str:
    """Return what bounds a vector step on an H100, from what was counted without one."""
    costs = json.loads((RESULTS / "algorithm_costs.json").read_text())["flops"]
    head = ["task, algorithm, environments", "gradient steps", "launches", "products", "memory"]
    rows = []
    for file, updates, batches in REGIMES:
        found, name, launches = _regime(file, updates)
        step = costs[found["algorithm"]]
        seconds = {
            "launches": launches * LAUNCH,
            "products": updates * batches * step["gradient_step"] / FLOPS,
            "memory": updates * batches * step["bytes_per_gradient_step"] / BYTES,
        }
        rate = found["num_envs"] / max(seconds.values())
        times = [f"{1e3 * x:.2g} ms" for x in seconds.values()]
        rows.append([name, f"{updates}", *times, f"{float(f'{rate:.2g}'):,.0f} iterations/s"])
    return table([*head, "bound"], *rows)


STARTS = {
    "cold": "nothing cached",
    "traced": "XLA's programs cached, the epoch traced again",
    "warm": "the epoch kept",
}


def start() -> str:
    """Return where the seconds of a start go, medians each."""
    head = ["task", "start", "Python and `Config`", "imports, environment, tracing", "XLA"]
    rows = []
    for file in ("startup_ant_kept.json", "startup_go1.json"):
        result = json.loads((RESULTS / file).read_text())
        task = f"`{result['env'].removeprefix('playground/')}`"
        for kind, phases in result["phases"].items():
            parts = []
            for phase in phases:
                built, compiling, *_, training = phase.values()
                ends = [built, compiling, phase.get("warm-up", training), training]
                parts.append([b - a for a, b in itertools.pairwise([0, *ends])] + [training])
            middle = [f"{statistics.median(x):.1f} s" for x in zip(*parts, strict=True)]
            rows.append([task, STARTS[kind], *middle])
    return table([*head, "epochs of warm-up alone", "first gradient step"], *rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "playground": playground,
    "fidelity": fidelity,
    "transfer": transfer,
    "offline": offline,
    "tasks": tasks,
    "screening": screening,
    "rounded": rounded,
    "learning": lambda: figures(LEARNING),
    "ours": lambda: figures(OURS),
    "speed": lambda: figures(SPEED),
    "cost": lambda: figures(COST),
    "launches": lambda: figures(LAUNCHES),
    "regimes": regimes,
    "predicted": predicted,
    "start": start,
    "measured": measured,
}
"""Tables by the name of the block that they stand in."""
