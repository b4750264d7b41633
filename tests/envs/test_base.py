"""What holds for every environment: when its episodes end."""

import pytest
from helpers.envs import Counter
from helpers.runs import make_config

from mjx_sac.envs.base import episode_length


@pytest.mark.parametrize(
    ("asked", "own", "on_host", "limit"),
    [
        (None, None, False, 1000),
        (None, 150, False, 150),
        (None, 3000, False, 3000),
        (500, 150, False, 500),
        (500, 150, True, 150),
    ],
)
def test_an_own_time_limit_holds_unless_another_is_asked_for(asked, own, on_host, limit):
    env = Counter()
    env.time_limit = own
    if on_host:  # where an environment ends its episodes itself
        env.simulator = None
    assert episode_length(env, make_config(episode_length=asked)) == limit
