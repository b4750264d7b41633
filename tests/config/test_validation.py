"""Rules between fields, and one line for what breaks them."""

import pytest

from mjx_sac.config import Config, UsageError, build

BAD = [
    ({"tau": "2"}, ["tau", "'2'", "1"]),
    ({"losses": "td3", "algorithm": "sac"}, ["losses = 'td3'", "leave one of them out"]),
    ({"algorithm": 3}, ["algorithm = 3", "string"]),
    ({"discount": -0.1}, ["discount", "-0.1", "0"]),
    ({"policy_lr": "fast"}, ["policy_lr", "'fast'", "number"]),
    ({"q_lr": "nan"}, ["q_lr", "finite"]),
    ({"seed": -1}, ["seed", "-1", "0"]),
    ({"iterations": "1.5"}, ["iterations", "1.5"]),
    ({"hidden_sizes": "0"}, ["hidden_sizes", "0"]),
    ({"hidden_sizes": ""}, ["hidden_sizes"]),
    ({"activation": "swish2"}, ["activation", "swish2", "relu"]),
    ({"polcy_lr": 1}, ["polcy_lr", "did you mean policy_lr?"]),
    ({"buffer_size": 100, "batch_size": 256}, ["buffer_size 100", "batch_size 256"]),
    ({"buffer_size": 300, "num_envs": 512}, ["buffer_size 300", "num_envs 512"]),
    ({"n_step": 0}, ["n_step = 0", "greater than 0"]),
    (
        {"n_step": 20, "buffer_size": 304},
        ["n_step = 20: ", "holds 19 transitions", "lower n_step to 19"],
    ),
    ({"history": 0}, ["history = 0", "greater than 0"]),
    (
        {"history": 20, "buffer_size": 304},
        ["history = 20: ", "holds 19 transitions", "lower history to 19"],
    ),
    ({"iterations": 10_000}, ["iterations 10000", "warm_up_steps 10000"]),
    (
        {"iterations": 10_100, "num_envs": 2048, "log_interval": 10_000},
        ["iterations 10100", "warm_up_steps 10000"],
    ),
    ({"updates_per_iteration": 0.3}, ["updates_per_iteration 0.3", "num_envs 16", "4.8", "4/16"]),
    ({"updates_per_iteration": 0.7, "num_envs": 1}, ["0.7", "neither", "make it 1/2 or 1/1"]),
    ({"updates_per_iteration": 0.03}, ["0.48 gradient steps", "make it 1/48 or 1/32"]),
    ({"updates_per_iteration": 1e-7, "num_envs": 1}, ["nothing would be learned"]),
    ({"updates_per_iteration": 1e300}, ["less than or equal to 1000000"]),
    (
        {"track": "wanddb"},
        ["track wanddb: no such tracker; did you mean wandb?; there are wandb, "],
    ),
    ({"num_seeds": 0}, ["num_seeds = 0", "greater than 0"]),
    ({"seed": 2**32 - 1, "num_seeds": 2}, ["seeds end at 4294967295"]),
    ({"members": [{"batch_size": 8}]}, ["batch_size is no number that agents can differ in"]),
    ({"members": [{"tau": 2.0}]}, ["tau = 2.0", "less than or equal to 1"]),
    ({"members": [{"tau": 0.1}, {"tau": 0.1}]}, ["tau=0.1 is there twice"]),
    ({"members": [{"target_entropy": -1.0}, {"tau": 0.1}]}, ["target_entropy is auto for one"]),
    ({"num_processes": 2}, ["coordinator"]),
    ({"stop_at": 5, "episodes_per_eval": 0}, ["stop_at 5", "raise episodes_per_eval"]),
]


@pytest.mark.parametrize(("values", "words"), BAD, ids=str)
def test_a_bad_value_is_one_line_with_its_bound(values, words):
    with pytest.raises(UsageError) as error:
        build(Config, values)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("losses", "algorithm"), [("td3", "td3"), ("auto", "sac"), ("None", "sac"), (None, "sac")]
)
def test_losses_is_the_older_name_of_algorithm(losses, algorithm):
    assert Config(losses=losses).algorithm == algorithm
    assert build(Config, {"losses": losses}).algorithm == algorithm


def test_what_an_algorithm_does_not_read_is_refused():
    class Mine(Config):
        unused = ("hidden_sizes", "activation")
        width: int = 3

    assert build(Mine, {"hidden_sizes": "256,256", "width": 4}).width == 4
    with pytest.raises(UsageError, match=r"activation = 'tanh': .* its own are width"):
        build(Mine, {"algorithm": "mine.py", "activation": "tanh"})
