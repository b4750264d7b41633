"""The configuration: one class, from which flags, TOML keys and `kwargs.json` follow."""

import pathlib

import pytest
from pydantic import Field

from mjx_sac.config import Config, UsageError, build, mark
from mjx_sac.runs.resolve import read_toml, resolve

OLD_DEFAULTS = {
    "policy_lr": 3e-4, "q_lr": 3e-4, "alpha_lr": 3e-4, "reward_scale": 1.0, "discount": 0.99, "tau": 5e-3, "target_entropy": None,
    "target_delay": 1, "buffer_size": 1_000_000, "episodes_per_eval": 10, "warm_up_steps": 10_000, "batch_size": 256,
    "max_to_keep": 5, "checkpoint_interval": 10_000, "iterations": 1_000_000, "log_interval": 10_000,
}  # fmt: skip


def test_the_2020_frameworks_hyperparameters_keep_their_names_and_defaults():
    config = Config()
    assert {name: getattr(config, name) for name in OLD_DEFAULTS} == OLD_DEFAULTS


@pytest.mark.parametrize("text", ["1e6", "1_000_000", "1000000", "1000000.0", "1E+6"])
def test_whole_numbers_as_people_write_them(text):
    assert build(Config, {"iterations": text}).iterations == 1_000_000


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("256,256", (256, 256)), ("64", (64,)), ("[512, 256, 128]", (512, 256, 128))],
)
def test_hidden_sizes(text, sizes):
    assert build(Config, {"hidden_sizes": text}).hidden_sizes == sizes


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tau": "2"}, ["tau", "'2'", "1"]),
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
        ({"iterations": 10_000}, ["iterations 10000", "warm_up_steps 10000"]),
        ({"iterations": 10_100, "num_envs": 2048}, ["iterations 10100", "warm_up_steps 10000"]),
        ({"updates_per_iteration": 0.3}, ["updates_per_iteration 0.3", "num_envs 16", "4.8"]),
    ],
)
def test_a_bad_value_is_named_with_its_bound_in_one_line(values, words):
    with pytest.raises(UsageError) as error:
        build(Config, values)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_counts_that_follow_from_the_configuration():
    # 100 iterations of 16 environments: 7 vector steps, 112 iterations; 33 warm-up iterations: 3 vector steps.
    config = Config(num_envs=16, log_interval=100, warm_up_steps=33, updates_per_iteration=0.5)
    counts = (
        config.epoch_vector_steps,
        config.epoch_iterations,
        config.warm_up_vector_steps,
        config.updates_per_vector_step,
    )
    assert counts == (7, 112, 3, 8)


PACKAGED = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_every_packaged_configuration_is_valid_and_says_only_what_differs(path):
    values = read_toml(path)
    config = resolve({"env": path.stem, "logdir": "nowhere"})
    defaults = Config(env=path.stem)
    for name, value in values.items():
        assert getattr(config, name) == value
        assert getattr(defaults, name) != value, f"{name} is the default"


def test_layers(tmp_path):
    """Defaults, under the file, under the flags."""
    path = tmp_path / "mine.toml"
    path.write_text("tau = 0.01\npolicy_lr = 1e-3\nhidden_sizes = [64, 64]\n")
    config = resolve({"policy_lr": "2e-3", "logdir": str(tmp_path / "run")}, config_file=str(path))
    assert (config.tau, config.policy_lr, config.q_lr, config.hidden_sizes) == (
        0.01,
        2e-3,
        3e-4,
        (64, 64),
    )
    assert not (tmp_path / "run").exists(), "resolving writes nothing"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tau = \n", ["line 1"]),
        ("a = 1\nb = [\n", ["line"]),
        ("tua = 0.1\n", ["tua", "did you mean tau?"]),
        (b"\xff\xfe", ["not a text file"]),
        (None, ["No such file"]),
        ("env = 5\n", ["env = 5", "string"]),
        ("logdir = 5\n", ["logdir = 5", "string"]),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as error:
        resolve({}, config_file=str(path))
    assert all(word in str(error.value) for word in words), error.value


def test_a_subclass_adds_a_hyperparameter():
    class Mine(Config):
        cql_weight: float = Field(5.0, ge=0, description="weight of the conservative penalty")

    assert build(Mine, {"cql_weight": "2"}).cql_weight == 2.0
    with pytest.raises(UsageError, match="cql_weight"):
        build(Mine, {"cql_weight": "-1"})


def test_another_default_keeps_bounds_spelling_help_and_mark():
    class Mine(Config):
        policy_delay: int = 2
        warm_up_steps: int = Field(5, description="mine")

    assert (
        Mine().policy_delay,
        Mine(warm_up_steps="1e3").warm_up_steps,
        Config().policy_delay,
    ) == (2, 1000, 1)
    with pytest.raises(UsageError, match="policy_delay = 0: Input should be greater than 0"):
        build(Mine, {"policy_delay": 0})
    assert (
        Mine.model_fields["policy_delay"].description
        == Config.model_fields["policy_delay"].description
    )
    assert Mine.model_fields["warm_up_steps"].description == "mine"
    assert mark(Mine, "policy_delay", "fixed")
