r"""Measure how an epoch's cost grows with environments, batch, width, buffer and seeds, one each.

    python benchmarks/scaling.py --json benchmarks/results/scaling_ant.json \
        --png benchmarks/results/scaling_ant.png

All else stays at its default. Iterations of several seeds are those of all together.
"""

import argparse
import pathlib
import time
from typing import Any

import common
import jax

from mjx_sac.bench import stages
from mjx_sac.bench.spread import spread
from mjx_sac.config import Config
from mjx_sac.training.compiled import population

VALUES: dict[str, list[Any]] = {
    "num_envs": [1, 8, 64, 512, 8192],
    "batch_size": [64, 128, 256, 512, 1024],
    "hidden_sizes": [(64, 64), (128, 128), (256, 256), (512, 512)],
    "buffer_size": [10_000, 100_000, 1_000_000, 10_000_000],
    "num_seeds": [1, 2, 4, 8, 16],
}


def rates(config: Config, repeats: int) -> list[float]:
    """Return iterations/s of epochs with a full replay buffer, after one that only warms up."""
    experiment, state = stages.start(config)
    full = stages.full
    if config.is_population:
        state, full = population.init(experiment)(), jax.vmap(full)
    epoch = stages.compiled(population.epoch(experiment), state)
    state = epoch(state)[0]
    state = state.replace(replay=full(state.replay))
    found = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        state, _ = jax.block_until_ready(epoch(state))
        iterations = config.epoch_iterations * len(config.population())
        found.append(iterations / (time.perf_counter() - started))
    return found[1:]


def main() -> None:
    """Measure every value; draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="ant")
    parser.add_argument("--vary", nargs="+", choices=VALUES, default=[*VALUES])
    parser.add_argument("--iterations", type=int, default=1024, help="per epoch")
    parser.add_argument("--png", type=pathlib.Path)
    args = common.in_turns(parser)
    size = {"env": args.env, "log_interval": args.iterations, "warm_up_steps": args.iterations}
    curves: dict[str, list[dict[str, Any]]] = {}
    for name in args.vary:
        curves[name] = []
        for value in VALUES[name]:
            found = rates(Config(**size, **{name: value}), args.repeats)
            curves[name].append({"value": value, "iterations_per_second": spread(found)})
            print(name, curves[name][-1], flush=True)
    result = {"benchmark": "scaling", **size, "repeats": args.repeats, "curves": curves}
    common.write(result, args.json)
    if args.png:
        draw(curves, args.png, f"{args.env}: cost of the training epoch")


def draw(curves: dict[str, list[dict[str, Any]]], out: pathlib.Path, title: str) -> None:
    """Draw one panel for each of what was varied, both axes logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, LogLocator, StrMethodFormatter

    figure = Figure(figsize=(3.2 * len(curves), 3.2), dpi=150, layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for panel, (name, rows) in zip(panels, curves.items(), strict=True):
        x = [row["value"][0] if isinstance(row["value"], tuple) else row["value"] for row in rows]
        y = [row["iterations_per_second"] for row in rows]
        middle = [each["median"] for each in y]
        below = [each["median"] - each["min"] for each in y]
        above = [each["max"] - each["median"] for each in y]
        panel.errorbar(x, middle, [below, above], marker="o", capsize=3)
        panel.set(xscale="log", yscale="log", xlabel=name)
        short = EngFormatter(sep="")
        panel.set_xticks(x, [f"{value:,}" if value < 10_000 else short(value) for value in x])
        panel.minorticks_off()
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        panel.grid(alpha=0.3, which="both")
        panel.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("iterations/s")
    figure.savefig(out)


if __name__ == "__main__":
    main()
