"""Rules between fields, and one-line messages for what breaks them."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pydantic

from mjx_sac.config.errors import UsageError, nearest
from mjx_sac.config.fields import mark

if TYPE_CHECKING:
    from mjx_sac.config.schema import Config

TRACKERS = ("wandb", "trackio", "mlflow")
"""What `track` may name: each is an extra of this package, and a module."""


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyperparameters under today's names: older runs and files call `algorithm` `losses`.

    Raises:
      UsageError: both are given.
    """
    found = dict(values)
    if "losses" not in found:
        return found
    losses = found.pop("losses")
    if "algorithm" in found:
        other = f"an older name of algorithm, which is {found['algorithm']!r}"
        raise UsageError(f"losses = {losses!r}: {other}: leave one of them out")
    found["algorithm"] = "sac" if str(losses).lower() in ("none", "auto") else losses
    return found


def layered(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """Return hyperparameters of several sources: later ones win, in `env_options` key by key."""
    found = {name: value for source in sources for name, value in source.items()}
    tables = [source["env_options"] for source in sources if "env_options" in source]
    return {**found, "env_options": tables} if len(tables) > 1 else found


def build(config_class: "type[Config]", values: Mapping[str, Any]) -> "Config":
    """Return the validated configuration, or raise UsageError for the first field that is wrong."""
    values, fields = renamed(values), config_class.model_fields
    for name in values:
        if name not in fields:
            raise UsageError(f"{name}: no such hyperparameter{nearest(name, list(fields))}")
    try:
        return config_class(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = "".join(map(str, first["loc"][:1]))
        message = first["msg"].removeprefix("Value error, ")
        given = repr(first["input"])
        given = given if len(given) < 60 else given[:57] + "..."
        raise UsageError(f"{field} = {given}: {message}" if field else message) from None


def check(config: "Config", own: Sequence[str]) -> None:
    """Raise ValueError where fields do not fit each other, or the algorithm.

    `own` are those that only the algorithm has.
    """
    for name in type(config).unused:
        value = getattr(config, name)
        if value != type(config).model_fields[name].default:
            others = f"; its own are {', '.join(own)}" if own else ""
            problem = f"algorithm {config.algorithm!r} does not read it"
            raise ValueError(f"{name} = {value!r}: {problem}: leave it out{others}")
    for low, high in type(config).ascending:
        a, b = getattr(config, low), getattr(config, high)
        if a >= b:
            way_out = f"lower {low} or raise {high}"
            raise ValueError(f"{low} {a:g} is not below {high} {b:g}: {way_out}")
    check_updates(config)
    check_sizes(config)
    check_evaluation(config)
    check_track(config)
    check_processes(config)
    check_members(config)


def check_sizes(config: "Config") -> None:
    """Raise ValueError where buffer, batch, data set and iterations do not fit each other."""
    for field in ("num_envs", "batch_size"):
        size, held = getattr(config, field), config.buffer_size
        if held < size:
            problem = f"buffer_size {held} is smaller than {field} {size}"
            raise ValueError(f"{problem}: raise buffer_size")
    slots = config.buffer_size // config.num_envs
    for field in ("n_step", "history"):
        if (steps := getattr(config, field)) > slots:
            room = f"{slots} transitions of each of num_envs {config.num_envs}"
            problem = f"{field} = {steps}: buffer_size {config.buffer_size} holds {room}"
            raise ValueError(f"{problem}: lower {field} to {slots} or raise buffer_size")
    vector_steps = -(-config.iterations // config.epoch_iterations) * config.epoch_vector_steps
    warm_up = config.warm_up_vector_steps
    too_few = config.iterations <= config.warm_up_steps and not config.offline
    if too_few or vector_steps <= warm_up:
        problem = f"is not beyond warm_up_steps {config.warm_up_steps}, so nothing would be learned"
        way_out = "raise iterations or lower warm_up_steps"
        raise ValueError(f"iterations {config.iterations} {problem}: {way_out}")
    if vector_steps < warm_up + config.vector_steps_per_update:
        raise ValueError(
            f"updates_per_iteration {config.updates_per_iteration:g} is less than one gradient "
            f"step in iterations {config.iterations} after warm_up_steps {config.warm_up_steps}, "
            f"so nothing would be learned: raise updates_per_iteration or iterations"
        )
    if config.dataset and not config.offline and (size := config.batch_size) % 2:
        problem = "half of each batch comes from the data set"
        raise ValueError(f"batch_size {size} is odd, and {problem}: make it {size + 1}")


def check_updates(config: "Config") -> None:
    """Raise ValueError, with the nearest that works, where updates and vector steps do not fit."""
    ratio, n = config.updates_per_iteration, config.num_envs
    updates, vector_steps = config.updates_per_vector_step, config.vector_steps_per_update
    wanted = ratio * n
    # Not exactly: 0.55 times 100 is 55.00000000000001.
    if math.isclose(wanted, updates / vector_steps, rel_tol=1e-6):
        return
    if wanted > 1:
        near = [f"{round(wanted)}/{n}" for round in (math.floor, math.ceil)]
    else:
        near = [f"1/{round(1 / wanted) * n}" for round in (math.ceil, math.floor)]
    product = f"updates_per_iteration {ratio:g} times num_envs {n} is {wanted:g} gradient steps"
    problem = "per vector step, neither a whole number nor one in so many"
    raise ValueError(f"{product} {problem}: make it {' or '.join(near)}")


def check_evaluation(config: "Config") -> None:
    """Raise ValueError where a run would wait for evaluations that it never makes."""
    for field, absent in (("stop_at", None), ("eval_q_bias", False)):
        if (value := getattr(config, field)) != absent and not config.episodes_per_eval:
            problem = f"{field} {value} is of evaluations, and episodes_per_eval is 0"
            raise ValueError(f"{problem}: raise episodes_per_eval or leave {field} out")


def check_track(config: "Config") -> None:
    """Raise ValueError for a tracker that there is not."""
    for name in config.trackers:
        if name not in TRACKERS:
            hint = f"{nearest(name, [*TRACKERS])}; there are {', '.join(TRACKERS)}"
            raise ValueError(f"track {name}: no such tracker{hint}")


def check_processes(config: "Config") -> None:
    """Raise ValueError where the fields about processes and devices do not fit each other."""
    given = (config.num_processes, config.process_id)
    if config.coordinator in (None, "cluster"):
        if given != (None, None):
            both = f"num_processes {config.num_processes} and process_id {config.process_id}"
            way_out = "give all three, or none of them"
            raise ValueError(f"{both} go with --coordinator host:port: {way_out}")
    elif config.num_processes is None or config.process_id is None:
        way_out = "give --num_processes and --process_id too, or --coordinator cluster"
        raise ValueError(f"coordinator {config.coordinator}: {way_out}")
    elif not re.fullmatch(r".+:\d{1,5}", config.coordinator or ""):
        raise ValueError(f"coordinator {config.coordinator} is no host:port, such as 10.0.0.1:1234")
    elif config.process_id >= config.num_processes:
        problem = f"process_id {config.process_id} of num_processes {config.num_processes}"
        raise ValueError(f"{problem}: they count from 0 to {config.num_processes - 1}")
    if config.num_devices:
        check_even_split(config, config.num_devices)


def check_even_split(config: "Config", num_devices: int) -> None:
    """Raise ValueError, with the nearest numbers, where devices cannot share the work evenly."""
    if config.is_population:
        shared = {"num_seeds" if config.num_seeds > 1 else "members": config.num_agents}
    else:
        shared = {"num_envs": config.num_envs, "batch_size": config.batch_size}
    for field, value in shared.items():
        # Of a batch's halves, where there are two, each is shared.
        halves = field == "batch_size" and config.dataset and not config.offline
        whole = num_devices * (2 if halves else 1)
        if rest := value % whole:
            near = filter(None, (value - rest, value - rest + whole))
            problem = f"{field} {value} cannot be shared evenly by num_devices {num_devices}"
            raise ValueError(f"{problem}: make it {' or '.join(map(str, near))}")


def check_members(config: "Config") -> None:
    """Raise ValueError where agents of one program cannot differ as `members` says."""
    if config.seed + config.num_seeds > 2**32:
        seeds = f"num_seeds {config.num_seeds} from seed {config.seed} on"
        raise ValueError(f"{seeds}: seeds end at {2**32 - 1}: lower seed")
    config_class = type(config)
    traced = [name for name in config_class.model_fields if mark(config_class, name, "traced")]
    for name in sorted(set[str]().union(*config.members)):
        if name not in traced:
            known = ", ".join(traced)
            raise ValueError(f"members: {name} is no number that agents can differ in; {known} are")
        if any(getattr(agent, name) is None for agent in config.population()):
            raise ValueError(f"members: {name} is auto for one of them: give it to every member")
    for member in config.members:
        build(config_class, {**dict(config), "members": (), "num_devices": None, **member})
    names = config.agent_names()
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"members: {twice} is there twice: leave one out")
