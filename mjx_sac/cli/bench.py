"""`mjx-sac bench`: how fast every stage of training is."""

import contextlib
import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

from mjx_sac import envs
from mjx_sac.algorithms import loader
from mjx_sac.cli.flags import option
from mjx_sac.cli.output import number, size, table
from mjx_sac.config import Config, UsageError, build, show
from mjx_sac.runs import provenance
from mjx_sac.training.host.console import print_line

_EPOCH = option("iterations per timed epoch", show_default="1600, or fewer")
_PYTHON = option("a Python that has sbx-rl, for sbx and sb3", "--peer_python")


def _field(name: str) -> Any:
    """Return the option of a hyperparameter; None leaves the algorithm's default."""
    field = Config.model_fields[name]
    return option(field.description or name, f"--{name}", show_default=show(field.default))


def bench(
    env: Annotated[str, option("environment")] = "ant",
    algorithm: Annotated[str, _field("algorithm")] = "sac",
    num_envs: Annotated[str | None, _field("num_envs")] = None,
    updates_per_iteration: Annotated[str | None, _field("updates_per_iteration")] = None,
    batch_size: Annotated[str | None, _field("batch_size")] = None,
    hidden_sizes: Annotated[str | None, _field("hidden_sizes")] = None,
    buffer_size: Annotated[str | None, _field("buffer_size")] = None,
    iterations: Annotated[str | None, _EPOCH] = None,
    device: Annotated[str, _field("device")] = "auto",
    repeats: Annotated[int, option("timings of each stage", min=1)] = 5,
    peers: Annotated[str, option("brax, sbx, sb3, flashbax: in turns with ours")] = "",
    peer_python: Annotated[str | None, _PYTHON] = None,
    out: Annotated[Path | None, option("write the figures there", "--json")] = None,
) -> None:
    """Measure every stage of training by itself, the whole, and others' trainers beside it.

    Hyperparameters are the algorithm's defaults, not the packaged ones of the environment, so that
    peers, which train soft actor-critic, can have the same.

    Example: mjx-sac bench --env ant --peers brax --json bench.json
    """
    given = {k: v for k, v in locals().items() if k in Config.model_fields and v is not None}
    epoch = iterations or "1600"
    given |= {"iterations": 1_000_000, "log_interval": epoch, "warm_up_steps": epoch}
    config = build(loader.config_class(algorithm), given)
    if peers and config.algorithm != "sac":
        problem = f"they train soft actor-critic, not {config.algorithm}"
        raise UsageError(f"peers = {peers!r}: {problem}: leave --peers or --algorithm out")
    envs.check(env)
    # An environment or a peer may print; standard output is for the figures.
    with contextlib.redirect_stdout(sys.stderr):
        names = [*filter(None, peers.split(","))]
        result = _measure(config, repeats, names, peer_python, shorten=not iterations)
    print_line(_report(result))
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _measure(
    config: Config, repeats: int, names: list[str], python: str | None, shorten: bool
) -> dict[str, Any]:
    """Return the figures of `stages.run`, with peers, versions, device and the command."""
    from mjx_sac.training.host import device

    device.set_up(config.device)
    from mjx_sac.bench import stages

    peers: Any = {}
    if names:
        directory = Path(__file__).parents[2] / "benchmarks"
        if not (directory / "peers.py").is_file():
            raise UsageError("peers: only a clone of the repository has them: run this in one")
        sys.path.insert(0, str(directory))
        peers = importlib.import_module("peers").load(names, config, repeats, python)
    figures = stages.run(config, repeats, peers, shorten)
    return {"benchmark": "bench", **figures, "measured_with": provenance.measured_with()}


def _report(result: dict[str, Any]) -> str:
    rows = [("stage", "median", "from", "to", "unit")]
    for name, row in result["stages"].items():
        median, low, high = (number(row[key]) for key in ("median", "min", "max"))
        rows.append((name.replace("_", " "), median, low, high, row["unit"]))
    roofline, seconds, saved = (result[k] for k in ("roofline", "compile_seconds", "checkpoint"))
    inside, beside = (
        ", ".join(f"{name} {share:.1%}" for name, share in result[key].items())
        for key in ("share_of_an_epoch", "share_of_a_run")
    )
    ratios = [
        f"{name.replace('_', ' ')}: {x['median']:.2f} times ({x['min']:.2f} to {x['max']:.2f})"
        for name, x in result["ratios"].items()
    ]
    settings = result["settings"]
    lines = [
        f"{settings['algorithm']} in {settings['env']} on {result['measured_with']['device']}",
        table(rows),
        f"{roofline['flops_per_update'] / 1e6:,.0f} MFLOP per update: "
        f"{roofline['fraction']:.0%} of the {roofline['updates_per_second_bound']:,.0f} updates/s "
        f"that dense products allow",
        f"an epoch: {inside}",
        f"of a run at default intervals, beside epochs: {beside}",
        f"compiling the epoch: {seconds['total_cold']:.1f} s, {seconds['total_warm']:.1f} s with "
        f"a warm cache",
        f"checkpoint: {size(saved['bytes'])}, saved in {saved['save_seconds']['median']:.2f} s "
        f"({saved['stall_seconds']['median']:.3f} s of which training waits), "
        f"loaded in {saved['load_seconds']['median']:.2f} s",
        f"peak memory {size(result['peak_memory_bytes'])}; replay "
        f"{result['replay_bytes_per_transition']:.0f} bytes per transition",
    ]
    return "\n".join([*lines, *ratios])
