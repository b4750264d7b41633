"""The configuration: one class, from which flags, TOML keys and `kwargs.json` follow."""

import pytest
from pydantic import Field

from mjx_sac.config import Config, UsageError, agent_names, build, due, mark


def test_the_2020_frameworks_hyperparameters_keep_their_names():
    names = """policy_lr q_lr alpha_lr reward_scale discount tau target_entropy target_delay
        buffer_size episodes_per_eval warm_up_steps batch_size max_to_keep checkpoint_interval
        iterations log_interval"""
    assert set(names.split()) <= Config.model_fields.keys()


def test_every_field_has_a_help_text_and_a_group():
    for name, field in Config.model_fields.items():
        assert field.description, name
        assert mark(Config, name, "group"), name


def test_a_configuration_survives_json():
    config = Config(hidden_sizes=(64, 64), members=[{"tau": 0.1}, {"tau": 0.2}], num_envs=8)
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_counts_that_follow_from_the_configuration():
    # 100 iterations of 16 environments: 7 vector steps, 112 iterations.
    # 33 warm-up iterations: 3 vector steps.
    config = Config(num_envs=16, log_interval=100, warm_up_steps=33, updates_per_iteration=0.5)
    assert (config.epoch_vector_steps, config.epoch_iterations) == (7, 112)
    assert (config.warm_up_vector_steps, config.updates_per_vector_step) == (3, 8)


@pytest.mark.parametrize(
    ("ratio", "num_envs", "updates", "vector_steps"),
    [
        ("0.55", 100, 55, 1),  # 55.00000000000001
        ("0.29", 100, 29, 1),  # 28.999999999999996
        ("2/1024", 1024, 2, 1),
        ("2/1024", 16, 1, 32),
        ("1/3", 3, 1, 1),
        ("0.333333", 1, 1, 3),
        ("1e-4", 1, 1, 10_000),
    ],
)
def test_gradient_steps_per_vector_step(ratio, num_envs, updates, vector_steps):
    config = build(Config, {"updates_per_iteration": ratio, "num_envs": num_envs})
    assert (config.updates_per_vector_step, config.vector_steps_per_update) == (
        updates,
        vector_steps,
    )


@pytest.mark.parametrize(
    ("num_envs", "epoch", "first_evaluation"),
    [(1, 10_000, 50_000), (16, 10_000, 50_000), (128, 12_800, 51_200), (8192, 819_200, 819_200)],
)
def test_intervals_for_any_number_of_environments(num_envs, epoch, first_evaluation):
    """An epoch is 10,000 iterations or 100 vector steps, an evaluation comes every 50,000."""
    config = Config(num_envs=num_envs)
    assert config.epoch_iterations == epoch
    ends = range(epoch, 1_000_001, epoch)
    assert next(now for now in ends if due.evaluates(config, now - epoch, now)) == first_evaluation
    assert all(due.saves(config, now - epoch, now) for now in ends)
    assert due.evaluates(config, 1_000_000 - epoch, 1_000_000)


def test_short_epochs_save_no_more_often():
    config = Config(log_interval=500)
    saved = [now for now in range(500, 20_001, 500) if due.saves(config, now - 500, now)]
    assert saved == [10_000, 20_000]


@pytest.mark.parametrize(
    ("env", "logdir", "expected"),
    [
        ("ant", None, "runs/ant"),
        ("playground/Go1", None, "runs/playground_Go1"),
        ("my.module:make", None, "runs/my.module_make"),
        ("ant", "elsewhere", "elsewhere"),
    ],
)
def test_the_directory_of_a_run(env, logdir, expected):
    assert Config(env=env, logdir=logdir).run_dir == expected


def test_agents_are_members_times_seeds():
    members = [{"tau": 0.1}, {"tau": 0.2}]
    config = Config(members=members, num_seeds=2, seed=3)
    settings = [(agent.tau, agent.seed) for agent in config.population()]
    assert settings == [(0.1, 3), (0.1, 4), (0.2, 3), (0.2, 4)]
    assert config.num_agents == 4
    assert config.agent_names()[2] == "tau=0.2,seed_3"
    assert agent_names({"num_seeds": 2}) == ("seed_0", "seed_1")
    assert agent_names({}) == Config().agent_names() == ()


def test_a_subclass_adds_a_hyperparameter():
    class Mine(Config):
        cql_weight: float = Field(5.0, ge=0, description="weight of the conservative penalty")

    assert build(Mine, {"cql_weight": "2"}).cql_weight == 2.0
    with pytest.raises(UsageError, match="cql_weight"):
        build(Mine, {"cql_weight": "-1"})


def test_another_default_keeps_bounds_help_and_marks():
    class Mine(Config):
        policy_delay: int = 2
        warm_up_steps: int = Field(5, description="mine")

    assert (Mine().policy_delay, Config().policy_delay) == (2, 1)
    assert Mine(warm_up_steps="1e3").warm_up_steps == 1000
    with pytest.raises(UsageError, match="policy_delay = 0: Input should be greater than 0"):
        build(Mine, {"policy_delay": 0})
    ours, base = Mine.model_fields, Config.model_fields
    assert ours["policy_delay"].description == base["policy_delay"].description
    assert ours["warm_up_steps"].description == "mine"
    assert mark(Mine, "policy_delay", "fixed")
