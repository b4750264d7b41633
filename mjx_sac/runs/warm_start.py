"""The networks of another run, to begin with: `--from`. No JAX.

Those are the parameters of actor, critics and their targets, with statistics without which they
mean nothing: of observations, and of rewards where these are scaled. A run keeps nothing else of
the other: no optimizers, replay buffer, temperature or counters.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mjx_sac.config import Config, UsageError, mark
from mjx_sac.runs import array_store, hub, stored_policy

_NETWORKS = ("actor_params", "actor_variables", "critic_params", "critic_variables")
_COPIED = (
    *(f"train.{name}" for name in (*_NETWORKS, "target_actor_params", "target_critic_params")),
    *("normalizer.", "reward_scaler.stats.", "reward_scaler.largest"),
)
_MEANING = ("algorithm", "history", "normalize_rewards", "v_min", "v_max")
"""Fields that decide, beside the networks' own, what numbers in them mean."""


def check(config: Config) -> tuple[Path, int | None]:
    """Return where the state lies that `config.from_run` means, and of several agents which, the
    best.

    Raises:
      UsageError: it is no run, has no critics, or other networks by its configuration.
    """
    where, run = f"from = {config.from_run!r}", hub.local(config.from_run or "", state=True)
    _, path, manifest = stored_policy.locate(run)
    own = type(config)
    networks = [k for k in own.model_fields if mark(own, k, "group") == "Networks"]
    names = [k for k in networks if mark(own, k, "fixed")]
    here, usual = (x.model_dump(mode="json") for x in (config, own(algorithm=config.algorithm)))
    there = {**usual, **manifest["config"]}
    differing = {k: (there[k], here[k]) for k in (*_MEANING, *names) if there.get(k) != here.get(k)}
    if differing:
        listed = ", ".join(f"{k} {x!r} (now {y!r})" for k, (x, y) in differing.items())
        raise UsageError(f"{where}: was trained with {listed}: give this run the same")
    state = path.with_name("state")
    if not state.exists():
        way_out = "share it with `mjx-sac push --checkpoint`"
        raise UsageError(f"{where}: holds a policy without its critics: {way_out}")
    stored = stored_policy.find(run, edited_algorithm=True)  # the algorithm is ours
    return state, stored_policy.choose_agent(stored)[1]


def read(
    config: Config, shapes: Mapping[str, Any], spaces: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return the arrays of the state that a run begins with, by name, for each of its agents.

    Args:
      config: of this run.
      shapes: of its state's arrays, by name.
      spaces: of its environment, see `envs.spaces`.

    Raises:
      UsageError: see `check`; or the environment has other sizes, or an array.
    """
    state, index = check(config)
    where = f"from = {config.from_run!r}"
    try:
        manifest = array_store.manifest(state)
        leaves = {k: x for k, x in manifest["leaves"].items() if k.startswith(_COPIED)}
        arrays = dict(array_store.read(state, {**manifest, "leaves": leaves}))
    except array_store.DamagedError as error:
        raise UsageError(f"{where}: {error}: choose another") from None
    if index is not None:
        arrays = {name: x[index] for name, x in arrays.items()}
    of_agents = 1 if config.is_population else 0
    here = {k: x.shape[of_agents:] for k, x in shapes.items() if k.startswith(_COPIED)}
    sizes, mean = ({name: x.shape for name, x in arrays.items()}, here), "normalizer.mean"
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
