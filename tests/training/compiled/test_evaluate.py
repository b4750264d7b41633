"""Evaluation: whole episodes in the compiled program."""

from functools import partial

import jax
from helpers.envs import Counter
from helpers.runs import make_experiment

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
