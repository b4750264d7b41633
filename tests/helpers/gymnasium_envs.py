"""Gymnasium environments that a test can compute by hand, and that fail on demand. Worker processes import them from here."""

import ctypes
import multiprocessing
import time

import gymnasium
import numpy as np
from gymnasium import spaces

from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment


class Walk(gymnasium.Env):
    """Counts: observation (episode, steps), reward the steps before; ends at `ends_at`, is cut at `cut_at`.

    `fault` makes something else of what it returns, at the steps `at` of its life.
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


def boom(observation, reward):
    raise ZeroDivisionError("boom")


def hang(observation, reward):
    time.sleep(1000)


def hang_holding_the_lock(observation, reward):
    """No other Python thread of that process runs any more."""
    ctypes.PyDLL(None).sleep(1000)


def in_worker(index, fault):
    """`fault`, in one of the worker processes alone."""
    return lambda *values: (
        fault(*values) if multiprocessing.current_process().name.endswith(f"-{index}") else values
    )


def walk(vectorization="sync", action_repeat=1, **kwargs):
    return GymnasiumEnvironment(
        "walk", lambda: Walk(**kwargs), vectorization=vectorization, action_repeat=action_repeat
    )
