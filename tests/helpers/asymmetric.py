"""Finished runs on an environment whose actor sees two numbers of three."""

from helpers.algorithms import TINY
from helpers.envs import Asymmetric
from helpers.runs import make_config
from mjx_sac import envs
from mjx_sac.training.host import train

ALGORITHMS = {"sac": {}, "flashsac": {**TINY["flashsac"], "schedule_iterations": 128}}
"""Changes to the configuration, by the name of the algorithm."""


def trained(tmp_path_factory, algorithm, **changes):
    """Return a run's configuration as a dictionary, and what it ended with."""
    envs.register("asymmetric", Asymmetric)
    logdir = str(tmp_path_factory.mktemp("run") / algorithm)
    own = {"algorithm": algorithm, **ALGORITHMS[algorithm], **changes}
    own |= {"env": "asymmetric", "episode_length": None, "logdir": logdir}
    return own, train.train(make_config(**own))
