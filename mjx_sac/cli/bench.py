"""`mjx-sac bench`."""

import contextlib
import importlib
import json
import pathlib
import sys
from typing import Annotated, Any

import typer

from mjx_sac import envs
from mjx_sac.config import Config, UsageError, build
from mjx_sac.runs import provenance


def bench(
    env: Annotated[str, typer.Option(help="environment")] = "ant",
    num_envs: Annotated[str, typer.Option(help="environments stepped in parallel")] = "16",
    updates_per_iteration: Annotated[str, typer.Option(help="gradient steps per transition")] = "1",
    batch_size: Annotated[str, typer.Option(help="transitions per gradient step")] = "256",
    hidden_sizes: Annotated[str, typer.Option(help="widths of the hidden layers")] = "256,256",
    buffer_size: Annotated[
        str, typer.Option(help="transitions the replay buffer holds")
    ] = "1_000_000",
    iterations: Annotated[str, typer.Option(help="iterations per timed epoch")] = "1600",
    device: Annotated[str, typer.Option(help="where to compute: auto, cpu, gpu or tpu")] = "auto",
    repeats: Annotated[int, typer.Option(help="timings of each stage", min=1)] = 5,
    peers: Annotated[
        str,
        typer.Option(help="brax, sbx, flashbax: measured in turns with ours", metavar="NAME,..."),
    ] = "",
    peer_python: Annotated[
        str | None, typer.Option(help="a Python that has sbx-rl, for --peers sbx", metavar="FILE")
    ] = None,
    out: Annotated[
        pathlib.Path | None, typer.Option("--json", help="write the figures there", metavar="FILE")
    ] = None,
) -> None:
    """Measure every stage of training by itself, the whole, and others' trainers beside it.

    Hyperparameters are the defaults, not the packaged ones of the environment, so that peers can have the same.

    Example: mjx-sac bench --env ant --peers brax --json bench.json
    """
    given = {
        "env": env,
        "num_envs": num_envs,
        "updates_per_iteration": updates_per_iteration,
        "batch_size": batch_size,
        "hidden_sizes": hidden_sizes,
        "buffer_size": buffer_size,
        "device": device,
        "log_interval": iterations,
        "warm_up_steps": iterations,
    }
    config = build(Config, given)
    envs.check(env)
    with contextlib.redirect_stdout(
        sys.stderr
    ):  # an environment or a peer may print; what is printed here is the tables
        result = measure(config, repeats, [name for name in peers.split(",") if name], peer_python)
    show(result)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")


def measure(
    config: Config, repeats: int, peers: list[str], peer_python: str | None
) -> dict[str, Any]:
    """`bench.run`, with peers, versions, device and the command."""
    from mjx_sac.training.host import device

    device.set_up(config.device)
    from mjx_sac.bench import stages

    others = _peers().load(peers, config, repeats, peer_python) if peers else {}
    return {
        "benchmark": "bench",
        **stages.run(config, repeats, others),
        "measured_with": provenance.measured_with(),
    }


def _peers() -> Any:
    """`benchmarks/peers.py`, which only a clone of the repository has."""
    directory = pathlib.Path(__file__).parents[2] / "benchmarks"
    if not (directory / "peers.py").is_file():
        raise UsageError(
            "peers: they are in a clone of the repository, not in the installed package: run `mjx-sac bench` there"
        )
    sys.path.insert(0, str(directory))
    return importlib.import_module("peers")


def show(result: dict[str, Any]) -> None:
    """Prints the figures as tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(
        "stage",
        "median",
        "from",
        "to",
        "unit",
        title=f"{result['settings']['env']} on {result['measured_with']['device']}",
    )
    for name, row in result["stages"].items():
        table.add_row(
            name.replace("_", " "),
            *(
                f"{row[key]:,.4g}" if row[key] < 1e4 else f"{row[key]:,.0f}"
                for key in ("median", "min", "max")
            ),
            row["unit"],
        )
    console.print(table)
    roofline = result["roofline"]
    print(
        f"{roofline['flops_per_update'] / 1e6:,.0f} MFLOP per update ({roofline['flops_per_update_by_xla'] / 1e6:,.0f} by XLA's "
        f"count): {roofline['fraction']:.0%} of the {roofline['updates_per_second_bound']:,.0f} updates/s that dense products allow"
    )
    print(
        "an epoch: "
        + ", ".join(f"{name} {share:.1%}" for name, share in result["share_of_an_epoch"].items())
    )
    seconds = result["compile_seconds"]
    print(
        f"compiling the epoch: {seconds['total_cold']:.1f} s, {seconds['total_warm']:.1f} s with a warm cache"
    )
    checkpoint = result["checkpoint"]
    print(
        f"checkpoint: {checkpoint['bytes'] / 1e6:,.1f} MB, saved in {checkpoint['save_seconds']['median']:.2f} s, loaded in "
        f"{checkpoint['load_seconds']['median']:.2f} s; peak memory {result['peak_memory_bytes'] / 1e6:,.0f} MB; "
        f"replay {result['replay_bytes_per_transition']:.0f} bytes per transition"
    )
    for name, ratio in result["ratios"].items():
        print(
            f"{name.replace('_', ' ')}: {ratio['median']:.2f} times ({ratio['min']:.2f} to {ratio['max']:.2f})"
        )
