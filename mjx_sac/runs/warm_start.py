"""The networks of another run, to begin with: `--from`. No JAX.

Those are the parameters of actor, critics and targets, with the statistics without which they mean
nothing: of observations, and of rewards where these are scaled. Optimizers, replay buffer,
temperature and counters are new.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mjx_sac.config import Config, UsageError, mark
from mjx_sac.runs import array_store, hub, stored_policy

_COPIED = re.compile(
    r"train\.(target_)?(actor|critic)_(params|variables)|normalizer|reward_scaler\.(stats|largest)"
)
_MEANING = ("algorithm", "history", "normalize_rewards", "v_min", "v_max")
"""Fields that decide, beside those of networks, what their numbers mean."""


def check(config: Config) -> tuple[Path, int | None]:
    """Return where the state lies that `config.from_run` means, and which of several agents: the
    best; UsageError where it is no run, has no critics, or says that it has other networks.
    """
    where, run = f"from = {config.from_run!r}", hub.local(config.from_run or "", state=True)
    _, path, manifest = stored_policy.locate(run)
    own, here = type(config), config.model_dump(mode="json")
    there = {**own(algorithm=config.algorithm).model_dump(mode="json"), **manifest["config"]}
    networks = [k for k in here if mark(own, k, "group") == "Networks" and mark(own, k, "fixed")]
    differing = [k for k in (*_MEANING, *networks) if there.get(k) != here.get(k)]
    if differing:
        listed = ", ".join(f"{k} {there.get(k)!r} (now {here.get(k)!r})" for k in differing)
        raise UsageError(f"{where}: was trained with {listed}: give this run the same")
    if not (state := path.with_name("state")).exists():
        way_out = "share it with `mjx-sac push --checkpoint`"
        raise UsageError(f"{where}: holds a policy without its critics: {way_out}")
    stored = stored_policy.find(run, edited_algorithm=True)  # it is ours
    return state, stored_policy.choose_agent(stored)[1]


def read(
    config: Config, shapes: Mapping[str, Any], spaces: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return those arrays of the state that a run begins with, by name, for each of its agents.

    `shapes` are those of all of its state by name, `spaces` its environment's, see `envs.spaces`.

    Raises:
      UsageError: see `check`; or the other's environment, or an array, has other sizes.
    """
    where, (state, index) = f"from = {config.from_run!r}", check(config)
    try:
        manifest = array_store.manifest(state)
        leaves = {k: x for k, x in manifest["leaves"].items() if _COPIED.match(k)}
        arrays = dict(array_store.read(state, {**manifest, "leaves": leaves}))
    except array_store.DamagedError as error:
        raise UsageError(f"{where}: {error}: choose another") from None
    if index is not None:
        arrays = {name: x[index] for name, x in arrays.items()}
    of_agents, mean = int(config.is_population), "normalizer.mean"
    here = {k: x.shape[of_agents:] for k, x in shapes.items() if _COPIED.match(k)}
    sizes = {k: x.shape for k, x in arrays.items()}, here
    known = manifest.get("spaces") or spaces, spaces
    pairs = {
        "numbers in an observation": [x[mean][-1] for x in sizes],
        "numbers in an action": [math.prod(x["action"]["shape"]) for x in known],
        "parts of observations": [x.get("views") for x in known],
        **{k: [x.get(k, "missing") for x in sizes] for k in sorted({**sizes[0], **here})},
    }
    for what, (old, new) in pairs.items():
        if old != new:
            way_out = "give this run an environment and networks of the same sizes"
            raise UsageError(f"{where}: {what}: {old} there, here {new}: {way_out}")
    return {name: np.broadcast_to(x, shapes[name].shape) for name, x in arrays.items()}
