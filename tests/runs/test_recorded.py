"""Episodes one after another: laid out, hashed, checked."""

import numpy as np
import pytest
from helpers.datasets import SPACES, episode, recorded

from mjx_sac.config import UsageError

pytestmark = pytest.mark.smoke


def test_final_observations_have_rows_of_their_own():
    found = recorded(episode(1, 3, True), episode(2, 2, False))
    assert found.observation.tolist() == [[1, 0], [1, 1], [1, 2], [1, 3], [2, 0], [2, 1], [2, 2]]
    assert found.row.tolist() == [0, 1, 2, 4, 5]
    assert found.terminated.tolist() == [False, False, True, False, False]
    assert found.last.tolist() == [False, False, True, False, True]
    assert found.reward.tolist() == [10, 11, 12, 20, 21]


def test_episodes_come_back():
    episodes = episode(1, 3, True), episode(2, 1, False, whole=False), episode(3, 2, False)
    for given, found in zip(episodes, recorded(*episodes).episodes(), strict=True):
        for a, b in zip(given, found, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_mean_return_is_that_of_whole_episodes():
    episodes = episode(1, 3, True), episode(2, 1, False, whole=False), episode(3, 2, False)
    assert recorded(*episodes).mean_return() == ((10 + 11 + 12) + (30 + 31)) / 2
    assert np.isnan(recorded(episode(2, 1, False, whole=False)).mean_return())


def test_the_hash_is_of_the_transitions_alone():
    one, same = recorded(), recorded(spaces={})
    assert one.sha256() == same.sha256()
    assert one.sha256() != recorded(episode(1, 3, True), episode(2, 2, True)).sha256()
    assert one.sha256() != recorded(episode(1, 2, True), episode(2, 3, False)).sha256()


@pytest.mark.parametrize(
    ("size", "changes", "words"),
    [
        (3, {}, "numbers in an observation: 2, the environment's 3"),
        (2, {"low": [-1.0] * 2, "high": [1.0] * 2}, "numbers in an action: 1, the environment's 2"),
        (2, {"low": [-2.0]}, "lower bounds of actions: -1, the environment's -2"),
        (2, {"high": [0.4]}, "upper bounds of actions: 1, the environment's 0.4"),
        (2, {"views": {"actor": [[0, 1]]}}, "parts of observations: none, the environment's {'act"),
    ],
)
def test_another_environments_data_are_refused(size, changes, words):
    views = {k: changes.pop(k) for k in ("views",) if k in changes}
    spaces = {"action": {**SPACES["action"], **changes}, **views}
    recorded().check("mine-v0", 2, SPACES)
    with pytest.raises(UsageError, match=f"dataset = 'mine-v0': {words}.*: name one of this env"):
        recorded().check("mine-v0", size, spaces)


@pytest.mark.parametrize("field", ["observation", "action", "reward"])
def test_numbers_must_be_finite(field):
    found = recorded()
    getattr(found, field)[1] = np.nan
    with pytest.raises(UsageError, match=f"'x-v0': a number under {field} is not finite"):
        found.check("x-v0", 2, SPACES)
