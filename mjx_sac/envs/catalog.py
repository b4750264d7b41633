"""Every environment that can be named, with what is known of it at little cost."""

# pyright: basic, reportAttributeAccessIssue=false
import contextlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from mjx_sac import envs
from mjx_sac.config import UsageError

FEW = 3
"""Of so many of Brax's and Playground's environments the sizes are told: each takes seconds to build."""

_NOT_FOR_TRAINING = ("fast", "swimmer")  # Brax's own test, and one that does not run


class Row(NamedTuple):
    """An environment.

    Attributes:
      env: its name for `--env`.
      engine: what simulates it, and where.
      observation_size: or None, where it is not known (yet).
      action_size: likewise.
      missing: what must be installed first, or why it cannot be used; empty if it can.
    """

    env: str
    engine: str
    observation_size: int | None = None
    action_size: int | None = None
    missing: str = ""


def rows(search: str = "") -> list[Row]:
    """All whose name contains `search`, whatever the case: registered ones, Brax's, Playground's, Gymnasium's newest versions."""
    found = [*_registered(), *_brax(), *_playground(), *_gymnasium(search)]
    found = [row for row in found if search.lower() in row.env.lower()]
    slow = [row for row in found if row.observation_size is None and not row.missing]
    return [_with_sizes(row) if row in slow and len(slow) <= FEW else row for row in found]


def _registered() -> Iterator[Row]:
    return (Row(name, "registered here") for name in envs.registered())


def _brax() -> Iterator[Row]:
    names = (name for name in envs.names() if envs.by_brax(name) and name not in _NOT_FOR_TRAINING)
    return (Row(name, "MuJoCo MJX (Brax), on the device") for name in names)


def _playground() -> Iterator[Row]:
    engine = "MuJoCo MJX (Playground), on the device"
    if importlib.util.find_spec("mujoco_playground") is None:
        yield Row("playground/<Name>", engine, missing="mjx-sac[playground]")
        return
    with _quiet():
        from mujoco_playground import registry  # pyright: ignore[reportMissingImports]
    yield from (Row(f"playground/{name}", engine) for name in registry.ALL_ENVS)


def _gymnasium(search: str) -> Iterator[Row]:
    """Those with spaces that can be learned from, as making each shows; of those that cannot be made, why."""
    import gymnasium

    newest = {}
    for spec in gymnasium.registry.values():
        key = (spec.namespace, spec.name)
        if spec.namespace != "mjx_sac" and (
            key not in newest or (spec.version or 0) > (newest[key].version or 0)
        ):
            newest[key] = spec
    for spec in newest.values():
        if (
            isinstance(spec.entry_point, str) and search.lower() in spec.id.lower()
        ):  # not what says itself to be retired
            yield from _made(
                Row(_spelled(spec.id), f"{_engine(spec.entry_point)} (Gymnasium), on the host")
            )


def _spelled(gym_id: str) -> str:
    return gym_id if envs.is_gym_id(gym_id) else f"gym/{gym_id}"


def _engine(entry_point: str) -> str:
    module = entry_point.partition(":")[0]
    return (
        "MuJoCo"
        if ".mujoco." in module
        else module.removeprefix("gymnasium.envs.").rpartition(".")[0] or module
    )


def _made(row: Row) -> Iterator[Row]:
    try:
        yield _with_sizes(row)
    except UsageError as error:
        if error.__cause__:  # it could not be made; without a cause its spaces are others than ours
            yield row._replace(missing=str(error.__cause__).partition("\n")[0])


def _with_sizes(row: Row) -> Row:
    with _quiet():
        env = envs.make(row.env)
    return row._replace(observation_size=env.observation_size, action_size=env.action_size)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Makers print and warn about what is no concern of a list; MuJoCo would, into a file."""
    import mujoco

    mujoco.set_mju_user_warning(lambda _: None)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
    mujoco.set_mju_user_warning(None)
