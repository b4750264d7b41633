"""What the trainer asks of environments on the host. Needs no JAX."""

from typing import Any, NamedTuple, Protocol

import numpy as np


class HostStep(NamedTuple):
    """The result of one step of all environments: NumPy arrays, environments on the first axis.

    Attributes:
      observation: the true next one, before any reset.
      reward: of the step.
      terminated: the task ended the episode.
      truncated: something else did.
      finite: observation and reward are finite numbers.
      steps: environment steps taken: fewer than `action_repeat` where the episode ended, none where
        the environment only began a new one (Gymnasium's next-step autoreset).
      current: what the policy sees next: a new episode's first observation where one has begun.
    """

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    finite: Any
    steps: Any
    current: Any


class BrokenEnvironmentError(Exception):
    """An environment failed; the message says which, when and why."""

    # Not a RuntimeError: contextlib takes one that StopIteration caused for its own.


class Simulator(Protocol):
    """`num_envs` environments on the host."""

    @property
    def awaited(self) -> int | None:
        """The environment that has not answered yet, if known. Another thread asks."""
        ...

    def reset(self, seed: int) -> np.ndarray:
        """Begin a new episode everywhere; return the observations."""
        ...

    def step(self, action: np.ndarray) -> HostStep:
        """Step every environment; begin a new episode wherever one has ended or broken."""
        ...

    def close(self) -> None:
        """Release everything, workers that hang included."""
        ...


class HostEnvironment(Protocol):
    """An environment that lives on the host and can be trained on."""

    observation_size: int
    action_size: int
    time_limit: int | None

    def simulator(self, num_envs: int, episode_length: int) -> Simulator:
        """Return new environments whose episodes end after `episode_length` steps."""
        ...
