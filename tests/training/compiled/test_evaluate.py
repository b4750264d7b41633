"""Evaluation: whole episodes in the compiled program."""

from functools import partial

import jax
from helpers.envs import Counter
from helpers.gymnasium_envs import Walk
from helpers.runs import make_experiment

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
