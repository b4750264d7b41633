"""`mjx-sac export`: a trained policy for where there is no mjx-sac."""

from pathlib import Path
from typing import Annotated, Literal

from mjx_sac.cli.flags import BestAgent, EditedAlgorithm, RunDirectory, Step, option
from mjx_sac.config import absolute, require
from mjx_sac.runs import stored_policy
from mjx_sac.training.host.console import print_line

_Form = Literal["stablehlo", "npz", "onnx"]
_USE: dict[_Form, str] = {
    "stablehlo": "jax.export.deserialize(bytearray(open({out!r}, 'rb').read())).call(observation)",
    "npz": "copy mjx_sac/policy/numpy_policy.py, which needs NumPy: load({out!r})(observation)",
    "onnx": "onnxruntime.InferenceSession({out!r}).run(None, {{'observation': observation}})",
}


def export(
    run: RunDirectory,
    form: Annotated[_Form, option("what for: JAX, NumPy, onnxruntime", "--format")] = "npz",
    out: Annotated[Path | None, option("the file; else policy.<format>")] = None,
    step: Step = None,
    seed_index: BestAgent = None,
    edited_algorithm: EditedAlgorithm = False,
) -> None:
    """Write the deterministic policy to a file, for where there is no mjx-sac.

    It is one function from a batch of raw, flat observations to the environment's actions:
    normalisation and rescaling are inside.

    Example: mjx-sac export runs/ant --format onnx --out ant.onnx
    """
    stored = stored_policy.find(run, step, edited_algorithm=edited_algorithm)
    stored_policy.choose_agent(stored, seed_index)
    if form == "onnx":
        require(("onnx", "onnxruntime"), "onnx", "format = 'onnx'")
    from mjx_sac.policy.export import export_policy
    from mjx_sac.policy.memory import PADDING, inputs
    from mjx_sac.policy.policy import load_policy
    from mjx_sac.training.host.device import set_up

    set_up("cpu")
    path = out or Path(f"policy.{form}")
    target = absolute(path)
    # `find` has compared the algorithm's file.
    policy = load_policy(stored.directory, step, seed_index=seed_index, edited_algorithm=True)
    difference = export_policy(policy, target, form)
    print_line(
        f"{path}: {target.stat().st_size / 1e3:,.0f} kB, {stored.config.env} at "
        f"{policy.iterations:,} iterations; on 1,000 observations its actions are the policy's "
        f"within {difference:.1g} of half their range"
    )
    print_line(_USE[form].format(out=str(path)))
    if form == "stablehlo":
        print_line(f"what its numbers are: {path}.json")
    if policy.config.history > 1:
        taken = ", ".join(f"{name} ({size})" for name, size in inputs(policy))
        print_line(f"observation: {taken}; before an episode, {PADDING}")
