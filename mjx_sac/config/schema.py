"""The one configuration: every hyperparameter with its default, its bound and its help text.

A field added here (or in a subclass) is a command-line flag, a TOML key and a line of
`kwargs.json`, with no other edit.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from mjx_sac.config import validation
from mjx_sac.config.errors import UsageError
from mjx_sac.config.fields import (
    AutoFloat,
    AutoInt,
    AutoStr,
    Int,
    Members,
    Options,
    Ratio,
    Widths,
    agent_names,
    field,
)

EPISODE_LENGTH = 1000
"""Time limit in environment steps where neither configuration nor environment has one."""

_run, _algo = (partial(field, group=group) for group in ("Run", "Algorithm"))
_number = partial(_algo, traced=True)
# What most fields of these groups are; the others say so.
_env, _nets = (partial(field, group=group, fixed=True) for group in ("Environment", "Networks"))
_host, _place, _out = (
    partial(field, group=group, how=True) for group in ("Environment", "Devices", "Output")
)


class Config(BaseModel):
    """Hyperparameters of one run. Defaults are the 2020 framework's where it had the field."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )
    unused: ClassVar[tuple[str, ...]] = ()
    """Fields that an algorithm does not read, and so refuses."""
    ascending: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of fields, the first of which must be below the second."""

    env: str = _run(
        "ant", "environment: a name, playground/<Name>, or package.module:factory", fixed=True
    )
    logdir: AutoStr = _run(None, "where logs and checkpoints go; auto is runs/<env>", how=True)
    iterations: Int = _run(1_000_000, "environment transitions to collect, in whole epochs", gt=0)
    stop_at: AutoFloat = _run(
        None, "end when an evaluation's mean return has reached this; auto is never", how=True
    )
    from_run: AutoStr = _run(
        None,
        "begin with the networks of another run: its directory, or hub:user/name; auto is none",
        fixed=True,
    )
    seed: Int = _run(0, "seed of everything random", fixed=True, ge=0, lt=2**32)
    num_seeds: Int = _run(
        1, "agents in one program, with seeds seed, seed + 1, ...", fixed=True, gt=0
    )
    members: Members = _run(
        (), "JSON: numbers in which agents in one program differ; a sweep writes it", fixed=True
    )
    device: Literal["auto", "cpu", "gpu", "tpu"] = _run("auto", "where to compute", how=True)
    deterministic: bool = _run(
        False,
        "the same bits in every run on a GPU too, at some speed; a CPU always gives them",
        how=True,
    )

    backend: Literal["mjx", "generalized", "positional", "spring"] = _env(
        "mjx", "physics engine of the Brax environments"
    )
    impl: Literal["jax", "warp"] = _env(
        "jax", "MJX's physics of playground/ environments: JAX or NVIDIA Warp kernels"
    )
    env_options: Options = _env(
        {}, "key=value: an argument or a value of the environment's configuration"
    )
    num_envs: Int = _env(16, "environments stepped in parallel", gt=0)
    episode_length: AutoInt = _env(
        None,
        "time limit in environment steps; auto is the environment's own, or 1000",
        gt=0,
        lt=2**31,
    )
    domain_randomization: AutoStr = _env(
        None,
        "physics models that differ between environments: `default` is the task's own randomiser, "
        "or module:function; auto is none",
    )
    actor_observation: AutoStr = _env(
        None,
        "parts of a dictionary observation that the actor sees, separated by commas; auto is state "
        "where there is a privileged_state too, or all",
    )
    critic_observation: AutoStr = _env(
        None, "parts that the critics see; auto is privileged_state, or all"
    )
    history: Int = _env(
        1,
        "observations that the networks see, the last ones, with the actions between them; for "
        "robots without velocities",
        gt=0,
    )
    action_repeat: Int = _env(1, "environment steps each action is held for", gt=0)
    vectorization: Literal["sync", "async"] = _host(
        "sync", "Gymnasium environments are stepped in turn (sync) or in a process each (async)"
    )
    env_timeout: float = _host(60.0, "seconds a Gymnasium environment has to answer", gt=0)
    env_start_timeout: float = _host(120.0, "seconds a Gymnasium environment has to start", gt=0)
    reset_pool_size: Int = _env(128, "initial states drawn at once for new episodes", gt=0)

    algorithm: str = _algo(
        "sac", "what learns: a name that `mjx-sac algorithms` lists, a file, or module:attribute"
    )
    dataset: AutoStr = _algo(
        None,
        "transitions to learn from: a Minari data set, or run:DIRECTORY, the replay buffer of a "
        "run; half of each batch comes from it; auto is none",
    )
    offline: bool = _algo(
        False, "learn from the data set alone: environments are stepped to evaluate", fixed=True
    )
    policy_lr: float = _number(3e-4, "learning rate of the actor", gt=0)
    q_lr: float = _number(3e-4, "learning rate of the critics", gt=0)
    alpha_lr: float = _number(3e-4, "learning rate of the temperature", gt=0)
    initial_alpha: float = _number(1.0, "temperature at the start", fixed=True, gt=0)
    target_entropy: AutoFloat = _number(
        None, "entropy the temperature aims at; auto is minus the action size"
    )
    target_std: AutoFloat = _number(
        None,
        "where target_entropy is auto, aim at the entropy of a Gaussian with this deviation",
        gt=0,
    )
    reward_scale: float = _number(1.0, "factor on every reward the critics learn from", gt=0)
    normalize_rewards: bool = _algo(
        False, "divide rewards by the running deviation of their discounted sum", fixed=True
    )
    max_return: AutoFloat = _algo(
        None,
        "with normalize_rewards: divide by more where that sum would exceed this; auto is never",
        gt=0,
    )
    discount: float = _number(0.99, "gamma", ge=0, le=1)
    n_step: Int = _algo(1, "rewards summed before the critics' bootstrap", gt=0)
    tau: float = _number(5e-3, "step of the target critics towards the critics", gt=0, le=1)
    target_delay: Int = _algo(1, "gradient steps between target updates", gt=0)
    policy_delay: Int = _algo(
        1, "gradient steps of the critics per step of actor and temperature", fixed=True, gt=0
    )
    batch_size: Int = _algo(256, "transitions per gradient step", gt=0)
    updates_per_iteration: Ratio = _algo(
        1.0,
        "gradient steps per transition collected: a number, or a fraction such as 2/1024",
        fixed=True,
        gt=1e-9,
        le=1e6,
    )
    schedule_iterations: AutoInt = _algo(
        None,
        "iterations over which learning rates decay, where the algorithm's do; auto is the first "
        "start's iterations",
        fixed=True,
        gt=0,
    )
    warm_up_steps: Int = _algo(
        10_000, "iterations of uniform actions before the first update", fixed=True, ge=0, lt=2**31
    )
    buffer_size: Int = _algo(1_000_000, "transitions the replay buffer holds", fixed=True, gt=0)

    hidden_sizes: Widths = _nets((256, 256), "widths of the hidden layers, such as 256,256")
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = _nets(
        "relu", "activation of the hidden layers"
    )
    num_critics: Int = _nets(2, "critics, of which the smallest value counts", gt=0)
    critic_layer_norm: bool = _nets(False, "layer norm in the critics' hidden layers")
    normalize_observations: bool = _nets(
        True, "subtract the running mean, divide by the running deviation"
    )
    matmul_precision: Literal["default", "high", "highest", "bfloat16"] = _nets(
        "default",
        "precision of the learner's matrix products: bfloat16 rounds what wide layers multiply, "
        "faster where the processor can do it; physics always runs at highest",
        fixed=False,
    )

    num_devices: AutoInt = _place(
        None, "devices, of all processes, that share the work; auto is 1, or all there are", gt=0
    )
    coordinator: AutoStr = _place(
        None, "host:port of process 0, or `cluster` (SLURM, MPI or the cloud says); auto is none"
    )
    num_processes: AutoInt = _place(None, "processes that train together, with a coordinator", gt=0)
    process_id: AutoInt = _place(None, "which of them this one is, from 0", ge=0)

    log_interval: AutoInt = _out(
        None,
        "iterations per epoch, one log entry; auto is 10000, or 100 vector steps if more",
        gt=0,
        lt=2**31,
        how=False,
    )
    eval_interval: AutoInt = _out(
        None, "iterations between evaluations, in whole epochs; auto is 1/20 of all", gt=0
    )
    episodes_per_eval: Int = _out(10, "episodes per evaluation; 0 turns it off", ge=0, how=False)
    eval_q_bias: bool = _out(
        False, "compare the critics' values with the returns of as many more episodes"
    )
    checkpoint_interval: AutoInt = _out(
        None, "iterations between checkpoints, in whole epochs; auto as for log_interval", gt=0
    )
    max_to_keep: Int = _out(5, "checkpoints kept", gt=0)
    track: AutoStr = _out(
        None,
        "where curves go beside TensorBoard: wandb, trackio, mlflow, or several, separated by "
        "commas; auto is none",
    )
    track_group: AutoStr = _out(
        None, "group of the tracked runs; auto is that of a population or sweep"
    )
    film_interval: Int = _out(
        0, "iterations between films of the policy, in whole epochs; 0 is none", ge=0
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Keep bounds, help text and marks of a field whose default a subclass changes."""
        for name, own in cls.model_fields.items():
            base = Config.model_fields.get(name, own)
            for attribute in ("metadata", "description", "json_schema_extra"):
                setattr(own, attribute, getattr(own, attribute) or getattr(base, attribute))
        cls.model_rebuild(force=True)

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:
        return validation.renamed(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        own = [name for name in type(self).model_fields if name not in Config.model_fields]
        validation.check(self, own)
        return self

    @property
    def is_population(self) -> bool:
        """Whether the state has an axis of agents, be it of length one."""
        return self.num_seeds > 1 or bool(self.members)

    @property
    def num_agents(self) -> int:
        """Agents trained side by side in one program."""
        return max(len(self.members), 1) * self.num_seeds

    def population(self) -> tuple[Self, ...]:
        """Return the configuration of each agent: all seeds of the first member, then the next."""
        return tuple(
            self.model_copy(update={**member, "seed": seed, "num_seeds": 1, "members": ()})
            for member in self.members or ({},)
            for seed in range(self.seed, self.seed + self.num_seeds)
        )

    def agent_names(self) -> tuple[str, ...]:
        """Return the names of the agents' directories, see `agent_names`."""
        return agent_names(self.model_dump())

    @property
    def trackers(self) -> tuple[str, ...]:
        """The names in `track`, each once."""
        return tuple(dict.fromkeys(re.findall(r"[^,\s]+", self.track or "")))

    @property
    def run_dir(self) -> str:
        """`logdir`, or `runs/<env>` with what a path cannot hold replaced."""
        return self.logdir or "runs/" + re.sub(r"[^\w.\-]+", "_", self.env)

    @property
    def updates_per_vector_step(self) -> int:
        """Gradient steps after every vector step, or where they are fewer every so often: one."""
        return max(round(self.updates_per_iteration * self.num_envs), 1)

    @property
    def vector_steps_per_update(self) -> int:
        """Vector steps per gradient step, where gradient steps are fewer; otherwise 1."""
        return max(round(1 / (self.updates_per_iteration * self.num_envs)), 1)

    @property
    def schedule_updates(self) -> int:
        """Gradient steps in `schedule_iterations`, warm-up's too; UsageError beyond int32."""
        whole, most = self.schedule_iterations or self.iterations, 2**31 - 1
        updates = max(round(whole * self.updates_per_iteration), 1)
        if updates > most:
            problem = f"{updates} gradient steps, and optimizers count to {most}"
            way_out = f"lower it to {int(most / self.updates_per_iteration)}"
            raise UsageError(f"schedule_iterations = {whole}: {problem}: {way_out}")
        return updates

    @property
    def warm_up_vector_steps(self) -> int:
        """`warm_up_steps`, which are iterations, in whole vector steps; none offline."""
        return 0 if self.offline else -(-self.warm_up_steps // self.num_envs)

    @property
    def auto_interval(self) -> int:
        """Iterations of an interval that does not say otherwise: for 1 to 8,192 environments."""
        return max(10_000, 100 * self.num_envs)

    @property
    def epoch_vector_steps(self) -> int:
        """Vector steps in an epoch."""
        return -(-(self.log_interval or self.auto_interval) // self.num_envs)

    @property
    def epoch_iterations(self) -> int:
        """`log_interval`, rounded up to whole vector steps."""
        return self.epoch_vector_steps * self.num_envs
