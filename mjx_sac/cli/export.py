"""`mjx-sac export`: a trained policy for where there is no mjx-sac."""

import importlib.util
import pathlib
from typing import Annotated, Literal

import typer

from mjx_sac.config import UsageError
from mjx_sac.runs import stored_policy
from mjx_sac.training.host.console import print_line

_HOW = {
    "stablehlo": "jax.export.deserialize(bytearray(open({out!r}, 'rb').read())).call(observation)",
    "npz": "mjx_sac/numpy_policy.py, a file to copy, is all it takes beside NumPy: load({out!r})(observation)",
    "onnx": "onnxruntime.InferenceSession({out!r}).run(None, {{'observation': observation}})",
}


def export(
    run: Annotated[str, typer.Argument(help="the run's directory", metavar="RUN")],
    form: Annotated[
        Literal["stablehlo", "npz", "onnx"],
        typer.Option("--format", help="what for: JAX, NumPy, onnxruntime"),
    ] = "npz",
    out: Annotated[
        pathlib.Path | None, typer.Option(help="the file; auto is policy.<format>")
    ] = None,
    step: Annotated[
        int | None, typer.Option(help="iterations of the checkpoint; auto is the newest")
    ] = None,
    seed_index: Annotated[
        int | None,
        typer.Option("--seed_index", help="which of several agents, from 0; auto is the best one"),
    ] = None,
) -> None:
    """Write the deterministic policy to a file, for where there is no mjx-sac.

    It is one function from a batch of raw, flat observations to the environment's actions: normalisation and rescaling are inside.

    Example: mjx-sac export runs/ant --format onnx --out ant.onnx
    """
    stored = stored_policy.find(run, step)
    stored_policy.choose_agent(stored, seed_index)
    if form == "onnx" and not all(
        importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")
    ):
        raise UsageError(
            "format = 'onnx': needs onnx and onnxruntime: install the extra, as in `uv run --extra onnx mjx-sac ...`"
        )
    from mjx_sac.policy.export import export_policy
    from mjx_sac.policy.policy import load_policy
    from mjx_sac.training.host.device import set_up

    set_up("cpu")
    path = out or pathlib.Path(f"policy.{form}")
    difference = export_policy(load_policy(run, step, seed_index=seed_index), path, form)
    sizes = f"{path.stat().st_size / 1e3:,.0f} kB, {stored.config.env} at {stored.iterations:,} iterations"
    print_line(
        f"{path}: {sizes}; on 1,000 observations its actions are the policy's within {difference:.1g} of half their range"
    )
    print_line(_HOW[form].format(out=str(path)))
