"""Evaluation: whole episodes in the compiled program."""

from functools import partial

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from helpers.envs import Counter, Reporting
from helpers.gymnasium_envs import Talking, Walk
from helpers.runs import make_experiment

from mjx_sac import envs
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.training.compiled import epoch as epoch_lib
from mjx_sac.training.compiled import evaluate


def test_evaluation_plays_whole_episodes_and_no_more():
    experiment = make_experiment(env=Counter(ends_at=3), episode_length=7)
    state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    run = jax.jit(partial(evaluate.evaluate, experiment, episodes=6))
    result = run(state.train.actor_params, state.normalizer, jax.random.PRNGKey(1))
    assert result["return"].tolist() == [0 + 1 + 2] * 6
    assert result["length"].tolist() == [3] * 6
    summary = evaluate.summary(result)
    assert (float(summary["eval/mean_reward"]), float(summary["eval/std_ep_length"])) == (3.0, 0.0)


class Seen(Counter):
    """Ends after two, three or four steps; counts how often it is stepped."""

    def step(self, state, action):
        jax.debug.callback(self.steps.append, state.observation[0])
        state, step = super().step(state, action)
        long = 2 + jnp.floor(3 * state.observation[0])
        return state, step._replace(terminated=state.inner[0] >= long)


def test_on_a_cpu_it_ends_with_the_last_episode():
    """Elsewhere at the time limit, with the same episodes."""
    env = Seen(ends_at=99)
    env.steps = []
    experiment = make_experiment(env=env, episode_length=7)
    state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    args = state.train.actor_params, state.normalizer, jax.random.PRNGKey(1)
    found = {}
    for until_over, vector_steps in ((None, None), (False, 7)):
        env.steps.clear()
        run = partial(evaluate.evaluate, experiment, episodes=9, until_over=until_over)
        found[until_over] = jax.jit(run)(*args)
        jax.effects_barrier()
        last = max(found[until_over]["length"].tolist())
        assert len(env.steps) == 9 * (vector_steps or last)
        assert 2 < last < 7
    jax.tree.map(np.testing.assert_array_equal, *found.values())


class Lucky(Reporting):
    """Pays its start in the third and last step."""

    def step(self, state, action):
        state, step = super().step(state, action)
        return state, step._replace(reward=state.observation[0] * (state.inner.count == 3))


def test_many_episodes_are_played_batch_after_batch():
    """130 are two batches of 65: each episode has its own start, and is counted once."""
    experiment = make_experiment(env=Lucky(ends_at=3), episode_length=7)
    state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    run = partial(evaluate.evaluate, experiment, episodes=130)
    args = state.train.actor_params, state.normalizer, jax.random.PRNGKey(1)
    text = str(jax.make_jaxpr(run)(*args))
    assert "f32[65,2]" in text
    assert "f32[130,2]" not in text
    result = jax.jit(run)(*args)
    starts = np.asarray(result["return"])
    assert len(np.unique(starts)) == 130
    assert result["length"].tolist() == [3] * 130
    assert result["reported"]["left"].tolist() == [8] * 130
    assert result["reported"]["success"].tolist() == (starts < 0.5).tolist()
    summary = evaluate.summary(result)
    assert float(summary["eval/success_rate"]) == np.float32(np.mean(starts < 0.5))
    assert float(summary["eval/env/left"]) == 8


def test_what_an_environment_on_the_host_says_is_measured():
    """Twenty episodes are two batches of ten; rewards 0, 1 and 2, then 3 in every second."""
    made = []

    def make():
        made.append(Talking(ends_at=3 + len(made) % 2))
        return made[-1]

    experiment = make_experiment(env=GymnasiumEnvironment("talks", make), episode_length=100)
    assert experiment.episodes.reported == ("is_success", "left", "odd", "reward_half")
    state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    run = jax.jit(partial(evaluate.evaluate, experiment, episodes=20))
    result = run(state.train.actor_params, state.normalizer, jax.random.PRNGKey(1))
    assert len(made) == 11, "one to look at, and ten"
    assert result["return"].tolist() == [6, 3] * 10
    reported = {name: values.tolist() for name, values in result["reported"].items()}
    assert reported["reward_half"] == [3, 1.5] * 10
    assert reported["left"] == [7.5, 8] * 10
    assert reported["is_success"] == [1] * 20
    assert np.isnan(reported["odd"]).all(), "missing in some steps"
    assert np.isnan(evaluate.summary(result)["eval/env/odd"])


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_what_a_vector_environment_says_is_measured(mode):
    """In evaluation and in training: each episode is three steps, the last of them a success."""

    def make(num_envs):
        kinds = [partial(Talking, ends_at=3)] * num_envs
        return SyncVectorEnv(kinds, autoreset_mode=mode)

    gymnasium.register("Talkers-v0", vector_entry_point=make)
    try:
        experiment = make_experiment(env=envs.make("Talkers-v0"), episode_length=100)
        assert experiment.episodes.reported == ("is_success", "left", "odd", "reward_half")
        state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
        run = jax.jit(partial(evaluate.evaluate, experiment, episodes=4))
        result = run(state.train.actor_params, state.normalizer, jax.random.PRNGKey(1))
        summary = evaluate.summary(result)
        metrics = jax.jit(partial(epoch_lib.epoch, experiment))(state)[1]
    finally:
        del gymnasium.registry["Talkers-v0"]
    said = {"env/left": 8, "env/reward_half": 0.5 + 1}
    for name, value in said.items():
        assert float(summary[f"eval/{name}"]) == float(metrics["reported"][name]) == value
    assert float(summary["eval/success_rate"]) == 1
    assert float(metrics["reported"]["rollout/success_rate"]) == 1


def test_what_is_over_on_the_host_is_not_stepped():
    """Episodes of 2, 3 and 4 steps, and one that breaks in its third; the limit is 100."""
    kinds = [{}, {"ends_at": 2}, {"ends_at": 3}, {"cut_at": 4}]
    kinds += [{"fault": lambda o, r: (o, float("nan")), "at": (3, 6)}]
    made = []

    def make():
        made.append(Walk(**kinds[len(made)]))
        return made[-1]

    experiment = make_experiment(env=GymnasiumEnvironment("walk", make), episode_length=100)
    state = epoch_lib.init(experiment, jax.random.PRNGKey(0))
    run = jax.jit(partial(evaluate.evaluate, experiment, episodes=4))
    result = run(state.train.actor_params, state.normalizer, jax.random.PRNGKey(1))
    assert result["return"].tolist() == [0 + 1, 0 + 1 + 2, 0 + 1 + 2 + 3, 0 + 1]
    assert result["length"].tolist() == [2, 3, 4, 3]
    assert result["terminated"].tolist() == [True, True, False, False]
    assert result["truncated"].tolist() == [False, False, True, False]
    jax.block_until_ready(run(state.train.actor_params, state.normalizer, jax.random.PRNGKey(2)))
    assert [env.total for env in made] == [1, 4, 6, 8, 6]
    assert [env.episode + 1 for env in made] == [1, 2, 2, 2, 2]
