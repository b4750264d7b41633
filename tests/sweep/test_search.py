"""What a sweep tries: spaces as they are typed, the searches, and who a pruner lets go on."""

import math

import numpy as np
import pytest
from helpers.runs import make_config

from mjx_sac.config import UsageError
from mjx_sac.sweep import search
from mjx_sac.sweep.search import Choice, Range, Told


def parse(*texts, given=()):
    return search.parse(texts, make_config(), given)


def test_values_are_what_the_configuration_makes_of_them():
    assert parse(
        "policy-lr=1e-4,3e-4",
        "hidden_sizes=8,8x16",
        "target_entropy=auto,-1",
        "critic_layer_norm=true,false",
    ) == [
        Choice("policy_lr", (1e-4, 3e-4)),
        Choice("hidden_sizes", ((8,), (8, 16))),
        Choice("target_entropy", (None, -1.0)),
        Choice("critic_layer_norm", (True, False)),
    ]


def test_a_range_is_logarithmic_from_a_factor_of_ten_on():
    assert parse("policy_lr=1e-5..1e-4")[0].log
    assert not parse("policy_lr=2e-5..1e-4")[0].log
    assert not parse("policy_lr=lin:1e-5..1e-4")[0].log
    assert parse("tau=log:0.1..0.2")[0].log
    assert parse("target_entropy=-4..-1") == [Range("target_entropy", -4.0, -1.0, False, False)]
    assert parse("target_delay=1..4") == [Range("target_delay", 1, 4, False, True)]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "nothing varies"),
        (["tau"], "write name=value,value"),
        (["polcy_lr=1"], "no such hyperparameter; did you mean policy_lr?"),
        (["tau="], "no value"),
        (["tau=0.1,,0.2"], "an empty value"),
        (["tau=0.1,2"], "tau = '2': Input should be less than or equal to 1"),
        (["tau=0.1..2"], "tau = '2': Input should be less than or equal to 1"),
        (["tau=0.1,0.10"], "0.1 is there twice"),
        (["tau=0.1", "tau=0.2"], "there twice: put all its values into one --param"),
        (["q_lr=0.1"], "has a fixed value too"),
        (["tau=0.2..0.1"], "0.2 is not below 0.1"),
        (["target_entropy=log:-1..1"], "no logarithm of -1"),
        (["hidden_sizes=8..16"], "not a number"),
        (["seed=1,2"], "--num_seeds says how many"),
        (["iterations=1e6,2e6"], "the same for the whole sweep: give it as --iterations"),
        (["buffer_size=2"], "buffer_size 2 is smaller than num_envs 4"),
    ],
)
def test_what_is_no_space_is_said_in_one_line(texts, words):
    with pytest.raises(UsageError) as error:
        parse(*texts, given=["q_lr"])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_grid_is_every_combination_and_no_range():
    space = parse("tau=0.1,0.2", "hidden_sizes=8,16")
    assert [search.label(one) for one in search.grid(space)] == [
        "tau=0.1,hidden_sizes=8",
        "tau=0.1,hidden_sizes=16",
        "tau=0.2,hidden_sizes=8",
        "tau=0.2,hidden_sizes=16",
    ]
    with pytest.raises(UsageError, match="a range has no grid"):
        search.grid(parse("tau=0.1..0.2"))


def test_a_share_of_a_range_by_hand():
    assert Range("x", 1e-4, 1e-2, True, False).at(0.5) == 1e-3
    assert Range("x", 0.0, 3.0, False, False).at(1 / 3) == 1.0
    assert [
        Range("x", 1, 3, False, True).at(share) for share in (0.0, 0.33, 0.34, 0.66, 0.67, 0.999)
    ] == [1, 1, 2, 2, 3, 3]
    assert Range("x", 0.12341, 0.2, False, False).at(0.0) == 0.12341, (
        "rounding to four digits would leave the range"
    )


@pytest.mark.parametrize("how", ["random", "optuna"])
def test_a_search_is_the_same_for_the_same_past_stays_inside_and_tries_nothing_twice(how):
    space = parse("policy_lr=1e-5..1e-2", "tau=0.1,0.2", "target_delay=1..3")
    told = []
    for _ in range(3):
        proposed = search.propose(how, space, 0, told, 5)
        assert proposed == search.propose(how, space, 0, told, 5)
        told += [Told(one, -abs(math.log10(one["policy_lr"]) + 3), 100, True) for one in proposed]
    assert len({search.label(one.settings) for one in told}) == 15
    for one in told:
        assert 1e-5 <= one.settings["policy_lr"] <= 1e-2
        assert one.settings["tau"] in (0.1, 0.2)
        assert one.settings["target_delay"] in (1, 2, 3)
    assert search.propose(how, space, 1, [], 5) != search.propose(how, space, 0, [], 5)


@pytest.mark.parametrize("how", ["random", "optuna"])
def test_a_small_space_is_exhausted(how):
    told = [Told({"tau": 0.1}, math.nan, 0, False)]
    assert search.propose(how, parse("tau=0.1,0.2,0.3"), 0, told, 8) in (
        [{"tau": 0.2}, {"tau": 0.3}],
        [{"tau": 0.3}, {"tau": 0.2}],
    )


def test_optuna_learns_from_scores_those_it_stopped_and_those_that_failed():
    """The best is at 1e-3: what is proposed after thirty trials lies nearer to it than what a draw gives."""
    space = parse("policy_lr=1e-6..1")
    settings = search.propose("random", space, 0, [], 30)
    distance = [abs(math.log10(one["policy_lr"]) + 3) for one in settings]
    told = [
        Told(one, math.nan if d > 2.5 else -d, 50 if d > 1.5 else 100, d <= 1.5)
        for one, d in zip(settings, distance, strict=True)
    ]  # fmt: skip
    proposed = search.propose("optuna", space, 0, told, 8)
    found = [abs(math.log10(one["policy_lr"]) + 3) for one in proposed]
    assert np.median(found) < 0.75 < np.median(distance)


def test_rungs_are_whole_epochs_in_the_first_half():
    """Epochs of 32 iterations, the first of which warms up."""
    assert search.rungs(make_config(iterations=320), "halving") == [3 * 32, 5 * 32, 320]
    assert search.rungs(make_config(iterations=320), "none") == [320]
    assert search.rungs(make_config(), "median") == [64, 128], "a quarter of 128 is the warm-up"
    with pytest.raises(UsageError, match="raise iterations"):
        search.rungs(make_config(iterations=64), "halving")


def test_survivors_by_hand():
    nan = math.nan
    assert search.survivors("halving", [1.0, 3.0, 2.0, 0.0, nan], []) == [0, 1, 2]
    assert search.survivors("halving", [nan, nan, nan, 1.0], []) == [3]
    assert search.survivors("median", [1.0, 3.0, 2.0, nan], []) == [1, 2]  # median 2
    assert (
        search.survivors("median", [1.0, 3.0, 2.0], [9.0, 9.0, 9.0]) == []
    )  # median of all six is 6
    assert search.survivors("median", [nan], []) == []
