"""The one configuration: every hyperparameter with its default, its bound and its help text.

A field added here (or in a subclass) is a command-line flag, a TOML key and a line of `kwargs.json`, with no other edit.
"""

import difflib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

EPISODE_LENGTH = 1000
"""Time limit in environment steps where neither the configuration nor the environment has one."""


class UsageError(Exception):
    """Something the user can put right: one line that names the field, the value and the way out. Exits 2."""


class TrainingError(RuntimeError):
    """Training cannot go on; checkpoints saved before are intact. Exits 3."""


class NonFiniteError(TrainingError):
    """A loss, a parameter or every environment stopped being finite: the same would happen again."""


def _whole_number(value: Any) -> Any:
    """`1e6`, `1_000_000` and `1000000.0` are the integer they mean."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?[\d_]+(\.\d*)?([eE]\+?\d+)?", value.strip()):
        text = value.strip().replace("_", "")
        value = int(text) if text.lstrip("+-").isdigit() else float(text)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _widths(value: Any) -> Any:
    """`256,256` is the tuple (256, 256)."""
    if isinstance(value, str):
        value = [part for part in re.split(r"[,\sx()\[\]]+", value) if part]
    if isinstance(value, int):
        value = [value]
    return tuple(_whole_number(part) for part in value) if isinstance(value, list | tuple) else value


def _none(value: Any) -> Any:
    return None if isinstance(value, str) and value.lower() in ("none", "auto") else value


def _members(value: Any) -> Any:
    """JSON, as a flag gives it, or what JSON means."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f'not JSON ({error}): such as \'[{{"tau": 0.01}}, {{"tau": 0.02}}]\'') from None


Int = Annotated[int, BeforeValidator(_whole_number)]
Widths = Annotated[tuple[Annotated[Int, Field(gt=0)], ...], BeforeValidator(_widths), Field(min_length=1)]


def _field(default: Any, group: str, description: str, *, fixed: bool = False, number: bool = False, **bounds: Any) -> Any:
    """A hyperparameter; `fixed` ones shape the saved state, so a run that goes on must keep them. What is a mere `number` decides
    no shape and no branch, so agents trained in one program may differ in it.
    """
    extra: Any = {"group": group, "fixed": fixed, "number": number}
    return Field(default, description=description, json_schema_extra=extra, **bounds)


PLACES = ("num_devices", "coordinator", "num_processes", "process_id")
"""Fields that say where a run is computed, not what: a run that goes on does not inherit them."""


class Config(BaseModel):
    """Hyperparameters of one run. Defaults are those of the 2020 framework where it had the field."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    # The run
    env: str = _field("ant", "Run", "environment: a name, playground/<Name>, or package.module:factory", fixed=True)
    logdir: str | None = _field(None, "Run", "where logs and checkpoints go; auto is runs/<env>")
    iterations: Int = _field(1_000_000, "Run", "environment transitions to collect", gt=0)
    seed: Int = _field(0, "Run", "seed of everything random", fixed=True, ge=0, lt=2**32)
    num_seeds: Int = _field(
        1, "Run", "agents trained side by side in one program, with seeds seed, seed + 1, ...", fixed=True, gt=0
    )
    members: Annotated[tuple[dict[str, float], ...], BeforeValidator(_members)] = _field(
        (), "Run", "JSON: numbers in which agents trained side by side differ; `mjx-sac sweep` writes it", fixed=True
    )
    device: Literal["auto", "cpu", "gpu", "tpu"] = _field("auto", "Run", "where to compute")
    deterministic: bool = _field(False, "Run", "the same bits in every run on a GPU too, at some speed; a CPU always gives them")

    # Environment
    backend: Literal["mjx", "generalized", "positional", "spring"] = _field(
        "mjx", "Environment", "physics engine of the Brax environments", fixed=True
    )
    impl: Literal["jax", "warp"] = _field(
        "jax", "Environment", "MJX's physics of playground/ environments: in JAX, or NVIDIA Warp's kernels", fixed=True
    )
    num_envs: Int = _field(16, "Environment", "environments stepped in parallel", fixed=True, gt=0)
    episode_length: Annotated[Int | None, BeforeValidator(_none)] = _field(
        None, "Environment", "time limit in environment steps; auto is 1000, or a gymnasium environment's own", fixed=True, gt=0
    )
    action_repeat: Int = _field(1, "Environment", "environment steps each action is held for", fixed=True, gt=0)
    vectorization: Literal["sync", "async"] = _field(
        "sync", "Environment", "gymnasium environments are stepped in turn (sync) or in a process each (async)"
    )
    env_timeout: float = _field(60.0, "Environment", "seconds within which gymnasium environments must answer", gt=0)
    reset_pool_size: Int = _field(
        128, "Environment", "initial states drawn afresh for every epoch's new episodes", fixed=True, gt=0
    )

    # Algorithm
    losses: Annotated[str | None, BeforeValidator(_none)] = _field(
        None, "Algorithm", "an algorithm of your own: a file, or module:attribute; auto is soft actor-critic"
    )
    policy_lr: float = _field(3e-4, "Algorithm", "learning rate of the actor", number=True, gt=0)
    q_lr: float = _field(3e-4, "Algorithm", "learning rate of the critics", number=True, gt=0)
    alpha_lr: float = _field(3e-4, "Algorithm", "learning rate of the temperature", number=True, gt=0)
    initial_alpha: float = _field(1.0, "Algorithm", "temperature at the start", fixed=True, number=True, gt=0)
    target_entropy: Annotated[float | None, BeforeValidator(_none)] = _field(
        None, "Algorithm", "entropy the temperature aims at; auto is minus the action size", number=True
    )
    reward_scale: float = _field(1.0, "Algorithm", "factor on every reward the critics learn from", number=True, gt=0)
    discount: float = _field(0.99, "Algorithm", "gamma", number=True, ge=0, le=1)
    tau: float = _field(5e-3, "Algorithm", "step of the target critics towards the critics", number=True, gt=0, le=1)
    target_delay: Int = _field(1, "Algorithm", "gradient steps between target updates", gt=0)
    policy_delay: Int = _field(1, "Algorithm", "gradient steps of the critics per step of actor and temperature", fixed=True, gt=0)
    batch_size: Int = _field(256, "Algorithm", "transitions per gradient step", gt=0)
    updates_per_iteration: float = _field(1.0, "Algorithm", "gradient steps per transition collected", fixed=True, gt=0)
    warm_up_steps: Int = _field(10_000, "Algorithm", "iterations of uniform actions before the first update", fixed=True, ge=0)
    buffer_size: Int = _field(1_000_000, "Algorithm", "transitions the replay buffer holds", fixed=True, gt=0)

    # Networks
    hidden_sizes: Widths = _field((256, 256), "Networks", "widths of the hidden layers, such as 256,256", fixed=True)
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = _field(
        "relu", "Networks", "activation of the hidden layers", fixed=True
    )
    num_critics: Int = _field(2, "Networks", "critics, of which the smallest value counts", fixed=True, gt=0)
    critic_layer_norm: bool = _field(False, "Networks", "layer norm in the critics' hidden layers", fixed=True)
    normalize_observations: bool = _field(
        True, "Networks", "subtract the running mean, divide by the running deviation", fixed=True
    )

    matmul_precision: Literal["default", "high", "highest"] = _field(
        "default", "Networks", "precision of the learner's matrix products; physics always runs at highest"
    )

    # Devices
    num_devices: Annotated[Int | None, BeforeValidator(_none)] = _field(
        None,
        "Devices",
        "devices, of all processes together, that share the work; auto is 1, or all that several processes have",
        gt=0,
    )
    coordinator: Annotated[str | None, BeforeValidator(_none)] = _field(
        None, "Devices", "host:port where process 0 of several listens, or `cluster`: SLURM, MPI or the cloud says it; auto is none"
    )
    num_processes: Annotated[Int | None, BeforeValidator(_none)] = _field(
        None, "Devices", "processes that train together, with a coordinator", gt=0
    )
    process_id: Annotated[Int | None, BeforeValidator(_none)] = _field(None, "Devices", "which of them this one is, from 0", ge=0)

    # Output
    log_interval: Int = _field(10_000, "Output", "iterations per epoch: one log entry, one evaluation", gt=0)
    episodes_per_eval: Int = _field(10, "Output", "episodes per evaluation; 0 turns evaluation off", ge=0)
    checkpoint_interval: Int = _field(10_000, "Output", "iterations between checkpoints, in whole epochs", gt=0)
    max_to_keep: Int = _field(5, "Output", "checkpoints kept", gt=0)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """A subclass that gives a field another default keeps all else: bounds, help text, group and mark."""
        for name, field in cls.model_fields.items():
            base = Config.model_fields.get(name, field)
            for attribute in ("metadata", "description", "json_schema_extra"):
                setattr(field, attribute, getattr(field, attribute) or getattr(base, attribute))
        cls.model_rebuild(force=True)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for field in ("num_envs", "batch_size"):
            if self.buffer_size < getattr(self, field):
                raise ValueError(
                    f"buffer_size {self.buffer_size} is smaller than {field} {getattr(self, field)}: raise buffer_size "
                    f"to at least {getattr(self, field)}"
                )
        epochs = -(-self.iterations // self.epoch_iterations)
        if self.iterations <= self.warm_up_steps or epochs * self.epoch_vector_steps <= self.warm_up_vector_steps:
            raise ValueError(
                f"iterations {self.iterations} is not beyond warm_up_steps {self.warm_up_steps}, so nothing would be "
                f"learned: raise iterations or lower warm_up_steps"
            )
        if not (self.updates_per_iteration * self.num_envs).is_integer():
            raise ValueError(
                f"updates_per_iteration {self.updates_per_iteration:g} times num_envs {self.num_envs} is "
                f"{self.updates_per_iteration * self.num_envs:g} gradient steps per vector step: make it a whole number"
            )
        return self

    @model_validator(mode="after")
    def _processes_fit(self) -> Self:
        numbers = (self.num_processes, self.process_id)
        if self.coordinator in (None, "cluster"):
            if numbers != (None, None):
                raise ValueError(
                    f"num_processes {self.num_processes} and process_id {self.process_id} go with --coordinator host:port: give "
                    f"all three, or none of them"
                )
        elif None in numbers:
            raise ValueError(f"coordinator {self.coordinator}: give --num_processes and --process_id too, or --coordinator cluster")
        elif not re.fullmatch(r".+:\d{1,5}", self.coordinator or ""):
            raise ValueError(f"coordinator {self.coordinator} is no host:port, such as 10.0.0.1:1234")
        elif self.process_id >= self.num_processes:  # pyright: ignore[reportOperatorIssue]  # neither is None
            raise ValueError(
                f"process_id {self.process_id} of num_processes {self.num_processes}: they count from 0 to "
                f"{(self.num_processes or 1) - 1}"
            )
        if self.num_devices:
            self.check_split(self.num_devices)
        return self

    def check_split(self, num_devices: int) -> None:
        """That the work can be shared evenly.

        Raises:
          ValueError: it cannot; with the nearest numbers that could be.
        """
        agents = (("num_seeds" if self.num_seeds > 1 else "members", self.num_agents),)
        for field, value in agents if self.is_population else (("num_envs", self.num_envs), ("batch_size", self.batch_size)):
            if value % num_devices:
                near = sorted({max(value // num_devices, 1) * num_devices, -(-value // num_devices) * num_devices})
                raise ValueError(
                    f"{field} {value} cannot be shared evenly by num_devices {num_devices}: make it {' or '.join(map(str, near))}"
                )

    @model_validator(mode="after")
    def _members_fit(self) -> Self:
        if self.seed + self.num_seeds > 2**32:
            raise ValueError(f"num_seeds {self.num_seeds} from seed {self.seed} on: seeds end at {2**32 - 1}: lower seed")
        own = {name: getattr(self, name) for name in type(self).model_fields}
        for member in self.members:
            for name in member:
                if name not in own or not field_info(type(self), name, "number"):
                    known = [known for known in own if field_info(type(self), known, "number")]
                    raise ValueError(f"members: {name} is no number that agents can differ in; {', '.join(known)} are")
            build(type(self), {**own, "members": (), "num_devices": None, **member})
        for name in {name for member in self.members for name in member}:
            if any(getattr(agent, name) is None for agent in self.population()):
                raise ValueError(f"members: {name} is auto for one of them, which is no number: give it to every member")
        names = self.member_names()
        if len(set(names)) < len(names):
            raise ValueError(f"members: {next(name for name in names if names.count(name) > 1)} is there twice: leave one out")
        return self

    @property
    def is_population(self) -> bool:
        """Whether the state has an axis of agents, be it of one."""
        return self.num_seeds > 1 or bool(self.members)

    @property
    def num_agents(self) -> int:
        """How many are trained side by side in one program."""
        return max(len(self.members), 1) * self.num_seeds

    def population(self) -> tuple[Self, ...]:
        """A configuration for every agent alone: the seeds of the first member, then those of the next."""
        return tuple(
            self.model_copy(update={**member, "seed": seed, "num_seeds": 1, "members": ()})
            for member in self.members or ({},)
            for seed in range(self.seed, self.seed + self.num_seeds)
        )

    def member_names(self) -> tuple[str, ...]:
        """The names of the agents' directories, see `agent_names`."""
        return agent_names(self.model_dump())

    @property
    def run_dir(self) -> str:
        """`logdir`, or `runs/<env>` with what a path cannot hold replaced."""
        return self.logdir or "runs/" + re.sub(r"[^\w.\-]+", "_", self.env)

    @property
    def updates_per_vector_step(self) -> int:
        return int(self.updates_per_iteration * self.num_envs)

    @property
    def warm_up_vector_steps(self) -> int:
        return -(-self.warm_up_steps // self.num_envs)

    @property
    def epoch_vector_steps(self) -> int:
        return -(-self.log_interval // self.num_envs)

    @property
    def epoch_iterations(self) -> int:
        """`log_interval`, rounded up to whole vector steps."""
        return self.epoch_vector_steps * self.num_envs


def agent_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What the agents of a configuration, as `kwargs.json` has it, differ in, such as `seed_3` or `tau=0.01`: the names of their
    directories. None for an agent alone.
    """
    members, first, num_seeds = config.get("members", ()), config.get("seed", 0), config.get("num_seeds", 1)
    if not members and num_seeds == 1:
        return ()
    numbers = [",".join(f"{name}={value:g}" for name, value in sorted(member.items())) for member in members]
    seeds = [f"seed_{first + i}" for i in range(num_seeds)] if num_seeds > 1 or not members else [""]
    return tuple(",".join(filter(None, (name, seed))) or "defaults" for name in numbers or [""] for seed in seeds)


def field_info(config_class: type[Config], name: str, key: str) -> Any:
    """The `group`, `fixed` or `number` mark of a field; a subclass's plain `Field` counts as an algorithm's, neither fixed nor a
    number that agents can differ in, unless `json_schema_extra={"number": True}` says so.
    """
    extra = config_class.model_fields[name].json_schema_extra
    return {"group": "Algorithm", "fixed": False, "number": False, **(extra if isinstance(extra, dict) else {})}[key]


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean ant?` where something known is close, else nothing."""
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]}?" if match else ""


def build(config_class: type[Config], values: dict[str, Any]) -> Config:
    """The validated config.

    Raises:
      UsageError: one line with the first field that is unknown, of a wrong type or out of range.
    """
    for name in values:
        if name not in config_class.model_fields:
            raise UsageError(f"{name}: no such hyperparameter{nearest(name, list(config_class.model_fields))}")
    try:
        return config_class(**values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][:1])
        message = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{field} = {_short(first['input'])}: {message}" if field else message) from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
