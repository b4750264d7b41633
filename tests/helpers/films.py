"""An environment that hangs where it is drawn."""

import numpy as np

from helpers.gymnasium_envs import Walk, hang_holding_the_lock


class Hanging(Walk):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, render_mode=None):
        super().__init__()
        self.render_mode = render_mode

    def render(self):
        hang_holding_the_lock(None, None)
        return np.zeros((8, 8, 3), np.uint8)
