"""Films that training waits for, and an environment that hangs where it is drawn."""

import numpy as np

from helpers.gymnasium_envs import Walk, hang_holding_the_lock
from mjx_sac.training.host import films


def wait_for_each(monkeypatch):
    """Let epochs take longer than films."""
    collect = films.Films._collect

    def wait_and_collect(self):
        if self._process:
            self._process.wait(200)
        collect(self)

    monkeypatch.setattr(films.Films, "_collect", wait_and_collect)


class Hanging(Walk):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode=None):
        super().__init__()
        self.render_mode = render_mode

    def render(self):
        hang_holding_the_lock(None, None)
        return np.zeros((8, 8, 3), np.uint8)
