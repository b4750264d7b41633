"""The list of environments by name, with what can be said of each at little cost."""

# pyright: basic, reportAttributeAccessIssue=false
import contextlib
import importlib.util
import io
import math
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from mjx_sac.config import UsageError
from mjx_sac.envs import mjx, registry, tasks

FEW = 5
"""Sizes of Brax's and Playground's are given for at most so many: each takes seconds to build."""


class Row(NamedTuple):
    """An environment by its name for `--env`; what takes long to know is None.

    Attributes:
      engine: what simulates it, and where.
      observation_size, action_size: numbers that replay keeps.
      time_limit: steps of its own; None where it has none.
      views: parts of a dictionary observation, with their sizes.
      randomizer: whether `--domain_randomization` has one of its own.
      missing: what must be installed first, or why it cannot be used; empty if it can.
    """

    env: str
    engine: str
    observation_size: int | None = None
    action_size: int | None = None
    time_limit: int | None = None
    views: dict[str, int] | None = None
    randomizer: bool = False
    missing: str = ""


def rows(search: str = "") -> list[Row]:
    """Return all environments whose name contains `search`, whatever the case.

    Registered ones, Brax's, Playground's, Gymnasium's on MJX, and the newest versions of all its
    own.
    """
    found = [Row(name, "registered here") for name in registry.registered()]
    found += [Row(name, "MuJoCo MJX (Brax), on the device") for name in registry.BRAX_TRAINABLE]
    found += [*_playground(), *_tasks(), *_gymnasium(search)]
    found = [row for row in found if search.lower() in row.env.lower()]
    slow = [row for row in found if row.observation_size is None and not row.missing]
    return [_with_sizes_or_why(row) if row in slow and len(slow) <= FEW else row for row in found]


def _playground() -> list[Row]:
    engine = "MuJoCo MJX (Playground), on the device"
    if importlib.util.find_spec("mujoco_playground") is None:
        return [Row("playground/<Name>", engine, missing="mjx-sac[playground]")]
    mjx.load("jax")
    with _quiet():
        from mujoco_playground import registry as playground  # pyright: ignore[reportMissingImports]

        from mjx_sac.envs.playground import missing_robot

        return [
            Row(
                f"playground/{name}",
                engine,
                time_limit=getattr(playground.get_default_config(name), "episode_length", None),
                randomizer=playground.get_domain_randomizer(name) is not None,
                missing=missing_robot(name),
            )
            for name in playground.ALL_ENVS
        ]


def _tasks() -> Iterator[Row]:
    import gymnasium

    for name, sizes in tasks.SIZES.items():
        limit = gymnasium.spec(name).max_episode_steps
        yield Row(f"mjx/{name}", "MuJoCo MJX, on the device", *sizes, time_limit=limit)


def _gymnasium(search: str) -> Iterator[Row]:
    """Yield those that can be trained on, and those that cannot be made, with the reason.

    Each is made to see its spaces. Ids whose entry point is a function are retired.
    """
    import gymnasium

    newest: dict[tuple[str | None, str], gymnasium.envs.registration.EnvSpec] = {}
    for spec in gymnasium.registry.values():
        key = (spec.namespace, spec.name)
        newest[key] = max(newest.get(key, spec), spec, key=lambda spec: spec.version or 0)
    for spec in newest.values():
        ours = spec.namespace == "mjx_sac"
        if ours or not isinstance(spec.entry_point, str) or search.lower() not in spec.id.lower():
            continue
        name = spec.id if registry.is_gym_id(spec.id) else f"gym/{spec.id}"
        row = Row(name, f"{_engine(spec.entry_point)} (Gymnasium), on the host")
        try:
            yield _with_sizes(row)
        except UsageError as error:
            if error.__cause__:  # it cannot be made; without a cause, its spaces do not fit ours
                yield row._replace(missing=str(error.__cause__).partition("\n")[0])


def _engine(entry_point: str) -> str:
    module = entry_point.partition(":")[0]
    if ".mujoco." in module:
        return "MuJoCo"
    return module.removeprefix("gymnasium.envs.").rpartition(".")[0] or module


def _with_sizes(row: Row) -> Row:
    with _quiet():
        env = registry.make(row.env)
    views, names = getattr(env, "views", None), ("observation_size", "action_size", "time_limit")
    sizes = {name: math.prod(shape) for name, shape in views.shapes.items()} if views else None
    return row._replace(**{name: getattr(env, name, None) for name in names}, views=sizes)


def _with_sizes_or_why(row: Row) -> Row:
    try:
        return _with_sizes(row)
    except UsageError as error:
        return row._replace(missing=str(error).partition(": ")[2])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discard what is printed and warned while an environment is made, MuJoCo's log included."""
    import mujoco

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda _: None)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        mujoco.set_mju_user_warning(before)
