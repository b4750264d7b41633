"""What a run left behind."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mjx_sac.runs import array_store
from mjx_sac.runs.directory import steps

COUNTER = "helpers.envs:Counter"
"""The environment, as the processes name it."""


def saved_state(logdir, step=None):
    """Shapes and SHA-256 of a checkpoint's state: equal exactly when every leaf is, bit for bit."""
    step = step or steps(logdir)[-1]
    manifest = array_store.verify(logdir / "checkpoints" / str(step) / "state")
    return manifest["leaves"], manifest["packed"]


def curves(logdir):
    events = EventAccumulator(str(logdir)).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith(("time/", "checkpoint/"))]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}
