"""What the trainer asks of environments on the host. NumPy alone: names are checked before JAX is imported."""

from typing import Any, NamedTuple, Protocol

import numpy as np


class Answer(NamedTuple):
    """What all environments answered to one action each: NumPy arrays with the environments on the first axis.

    Attributes:
      observation: the true next one, before any reset.
      reward: of the step.
      terminated: the task ended the episode.
      truncated: something else did.
      finite: observation and reward are finite numbers.
      steps: environment steps taken: fewer than `action_repeat` where the episode ended, none where the environment did
        nothing but begin a new one (Gymnasium's next-step autoreset).
      current: what the policy sees next: the new episode's first observation where one has begun.
    """

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    finite: Any
    steps: Any
    current: Any


class BrokenEnvironmentError(
    Exception
):  # no RuntimeError: contextlib takes one that StopIteration caused for its own
    """An environment failed; the message says which, when and why."""


class Simulator(Protocol):
    """`num_envs` environments on the host."""

    @property
    def awaited(self) -> int | None:
        """The environment that has not answered yet, where that is known. Asked by another thread."""
        ...

    def reset(self, seed: int) -> np.ndarray:
        """Begins a new episode everywhere; returns the observations."""
        ...

    def step(self, action: np.ndarray) -> Answer:
        """One step of every environment, and a new episode wherever one has ended or broken."""
        ...

    def close(self) -> None:
        """Lets go of everything, workers that hang included."""
        ...


class HostEnvironment(Protocol):
    """What can be trained on though it lives on the host."""

    observation_size: int
    action_size: int
    time_limit: int | None

    def simulator(self, num_envs: int, episode_length: int) -> Simulator:
        """A fresh set of environments whose episodes end after `episode_length` steps."""
        ...
