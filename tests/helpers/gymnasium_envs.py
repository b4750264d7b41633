"""Gymnasium environments to compute by hand, which fail on demand.

Worker processes import them from here.
"""

import ctypes
import multiprocessing
import pathlib
import random
import subprocess
import time

import gymnasium
import numpy as np
from gymnasium import spaces

from mjx_sac.config import Config
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment


class Walk(gymnasium.Env):
    """Counts: observation (episode, steps), reward the steps before.

    Attributes:
      ends_at: terminates at this count.
      cut_at: is truncated at this count.
      fault: makes something else of the observation and reward that it returns...
      at: ...at these steps of its life.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(np.array([-2.0], np.float32), np.array([4.0], np.float32))

    def __init__(self, ends_at=1000, cut_at=1000, fault=None, at=(60,)):
        self.ends_at, self.cut_at, self.fault, self.at = ends_at, cut_at, fault, at
        self.episode, self.total, self.actions = -1, 0, []

    def _observation(self):
        return np.array([self.episode, self.count], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return self._observation(), {}

    def step(self, action):
        self.count, self.total = self.count + 1, self.total + 1
        self.actions.append(action)
        observation, reward = self._observation(), float(self.count - 1)
        if self.fault and self.total in self.at:
            observation, reward = self.fault(observation, reward)
        return observation, reward, self.count >= self.ends_at, self.count >= self.cut_at, {}


class Parts(Walk):
    """Always observes (7, 0, 1, 2, 3, 9), in parts."""

    observation_space = spaces.Dict(
        {
            "b": spaces.Tuple((spaces.Box(-1, 1, (2, 2)), spaces.Box(-1, 1, ()))),
            "a": spaces.Box(0, 255, (1,), np.uint8),
        }
    )

    def _observation(self):
        square = np.arange(4, dtype=np.float32).reshape(2, 2)
        return {"a": np.array([7], np.uint8), "b": (square, np.float32(9))}


class Talking(Walk):
    """Says in `info` what a Gymnasium environment may: numbers, one that is missing in every second
    step, success at three steps, and what is no number.
    """

    def step(self, action):
        observation, reward, *ends, _ = super().step(action)
        info = {"reward_half": np.float32(reward / 2), "left": 10 - self.count, "text": "no number"}
        info |= {"is_success": self.count >= 3, "array": np.zeros(3), "nested": {"a": 1}}
        return observation, reward, *ends, info | ({"odd": 1.0} if self.count % 2 else {})


class Drawing(gymnasium.Env):
    """Draws observations from its space."""

    def __init__(self, observation=None, action=None):
        if observation is not None:
            self.observation_space, self.action_space = observation, action

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


class Chancy(Walk):
    """Observes what every source of randomness gives: two global generators, and two spaces."""

    observation_space = spaces.Box(0, 1, (4,), np.float32)

    def _observation(self):
        drawn = self.observation_space.sample()[0], self.action_space.sample()[0]
        return np.array([random.random(), np.random.random(), *drawn], np.float32)


class Owner(Walk):
    """Starts a program in a worker and never ends it; its number is in `folder`/program.

    `folder`/closed says that it was closed there.
    """

    def __init__(self, folder, **kwargs):
        super().__init__(**kwargs)
        self.folder = pathlib.Path(folder)

    def reset(self, *, seed=None, options=None):
        if multiprocessing.parent_process():
            program = subprocess.Popen(["sleep", "1000"])
            (self.folder / "program").write_text(str(program.pid))
        return super().reset(seed=seed)

    def close(self):
        if multiprocessing.parent_process():
            (self.folder / "closed").touch()


def boom(observation, reward):
    raise ZeroDivisionError("boom")


def hang(observation, reward):
    time.sleep(1000)


def hang_holding_the_lock(observation, reward):
    """Stop all other Python threads of that process too."""
    ctypes.PyDLL(None).sleep(1000)


def in_worker(index, fault):
    """Return `fault` for one of the worker processes alone."""
    return lambda *values: (
        fault(*values) if multiprocessing.current_process().name.endswith(f"-{index}") else values
    )


def walk(vectorization="sync", action_repeat=1, kind=Walk, **kwargs):
    config = Config(vectorization=vectorization, action_repeat=action_repeat)
    return GymnasiumEnvironment("walk", lambda: kind(**kwargs), config)
