"""`mjx-sac dataset`: a run's replay buffer as a Minari data set."""

from typing import Annotated

import typer

from mjx_sac.cli.flags import RunDirectory, Step
from mjx_sac.config import UsageError
from mjx_sac.envs import registry
from mjx_sac.runs import dataset as datasets
from mjx_sac.runs import minari_files, stored_policy
from mjx_sac.runs.directory import checkpoint_path
from mjx_sac.training.host.console import print_line

_Out = Annotated[str, typer.Argument(help="Minari's name for it, such as ant/mine-v0")]


def dataset(run: RunDirectory, out: _Out, step: Step = None) -> None:
    """Write a run's replay buffer as a Minari data set, for --dataset and for others.

    It lies where Minari keeps them: in $MINARI_DATASETS_PATH, or ~/.minari/datasets.

    Example: mjx-sac dataset runs/ant ant/mine-v0
    """
    if step == "best":
        raise UsageError("step = 'best': has no replay buffer: give iterations of a checkpoint")
    minari_files.check_name(out)
    directory, _, manifest = stored_policy.locate(run, step)
    config, iterations = manifest["config"], manifest["iterations"]
    recorded = datasets.read_run(checkpoint_path(directory, iterations), f"run = {run!r}")
    env, algorithm = config["env"], config.get("algorithm", "sac")
    text = f"Replay buffer of {algorithm} on {env} at {iterations} iterations, by mjx-sac."
    gym_id = env if registry.is_gym_id(env) and not config.get("env_options") else None
    path = minari_files.write(recorded, out, gym_id, algorithm, text)
    whole = int(recorded.whole.sum())
    print_line(
        f"{path}: {len(recorded.row):,} transitions of {env}, {len(recorded.whole):,} episodes; "
        f"mean return {recorded.mean_return():,.1f} of the {whole:,} that are whole\n"
        f"mjx-sac train --env {env} --dataset {out} --offline --algorithm td3bc"
    )
