"""Spaces as they are typed."""

import pytest
from helpers.runs import make_config

from mjx_sac.config import UsageError
from mjx_sac.sweep import space
from mjx_sac.sweep.space import Choice, Range


def parse(*texts, given=()):
    return space.parse(texts, make_config(), given)


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


def test_a_range_is_logarithmic_from_a_factor_of_ten():
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
        (["tau=0.1,0.10"], "0.1 is given twice"),
        (["tau=0.1", "tau=0.2"], "given twice: put all its values into one --param"),
        (["q_lr=0.1"], "has a fixed value too"),
        (["tau=0.2..0.1"], "0.2 is not below 0.1"),
        (["target_entropy=log:-1..1"], "no logarithm of -1"),
        (["hidden_sizes=8..16"], "not a number"),
        (["seed=1,2"], "--num_seeds says how many"),
        (["iterations=1e6,2e6"], "the same for the whole sweep: give it as --iterations"),
        (["buffer_size=2"], "buffer_size 2 is smaller than num_envs 4"),
    ],
)
def test_a_bad_space_is_one_line(texts, words):
    with pytest.raises(UsageError) as error:
        parse(*texts, given=["q_lr"])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_drawn_numbers_have_few_digits_and_stay_inside():
    assert Range("x", 0.0, 1.0, False, False).value(1 / 3) == 0.3333
    assert Range("x", 0.12341, 0.2, False, False).value(0.12341) == 0.12341
    assert Range("x", 1, 10_000, False, True).value(1234) == 1234


def test_optuna_keeps_tuples_as_they_are_typed():
    choice = Choice("hidden_sizes", ((8,), (8, 16)))
    assert choice.stored == ["8", "8x16"]
    assert choice.value("8x16") == (8, 16)
    assert space.label({"hidden_sizes": (8, 16), "tau": 1e-5}) == "hidden_sizes=8x16,tau=1e-05"
    (options,) = parse("env_options=ends_at=3,ends_at=5")
    assert (options.values[1], options.stored[1]) == ({"ends_at": 5}, "ends_at=5")
