"""TensorBoard event files: scalars over iterations, and the hyperparameters."""

# pyright: basic
import pathlib
from collections.abc import Mapping
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams


class Logger:
    """Event files in the run's own directory, so that `tensorboard --logdir runs` shows one curve per run."""

    def __init__(self, directory: pathlib.Path, iterations: int) -> None:
        """A run that goes on continues its curves: what an interrupted one logged past `iterations`, and lost, is hidden."""
        self._writer = SummaryWriter(str(directory), flush_secs=10, purge_step=iterations + 1)

    def hyperparameters(self, config: Mapping[str, Any]) -> None:
        """Fills the HParams tab, in this event file and not, as tensorboardX does, in a directory of its own."""
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in config.items()}
        for summary in hparams(plain, {"eval/mean_reward": 0.0, "rollout/ep_rew_mean": 0.0}):
            self._writer._get_file_writer().add_summary(summary)

    def log(self, iterations: int, metrics: Mapping[str, float]) -> None:
        for tag, value in metrics.items():
            self._writer.add_scalar(tag, value, iterations)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
