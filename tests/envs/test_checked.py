"""What environments on the device return: taken where harmless, refused in a line before compiling.

All but one run of training look at shapes alone.
"""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.envs import Counter
from helpers.runs import make_config, make_policy
from helpers.slider import Slider

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs.base import Environment, State
from mjx_sac.envs.checked import CheckedEnvironment, adapt
from mjx_sac.envs.episodes import Episodes
from mjx_sac.envs.registry import register_with_gymnasium
from mjx_sac.policy.record import record
from mjx_sac.training.host import train
from mjx_sac.types import Step

KEY, ACTION = jax.random.PRNGKey(0), jnp.zeros(1)


def counter(reset=lambda state: state, step=lambda state, step: (state, step), **attributes):
    """Counter, with what its functions return changed."""

    class Changed(Counter):
        def reset(self, key):
            return reset(super().reset(key))

        def step(self, state, action):
            return step(*super().step(state, action))

    for name, value in attributes.items():
        setattr(Changed, name, value)
    return Changed()


def returns(**fields):
    return counter(step=lambda state, step: (state, step._replace(**fields)))


def keeps(inner, first=None):
    """The rest of its state is `inner` after `step`; after `reset` it is `first`, if given."""

    class Keeps(Counter):
        def reset(self, key):
            state = super().reset(key)
            return state if first is None else State(state.observation, first)

        def step(self, state, action):
            step = Step(state.observation, 0.0, False, False)
            return State(state.observation, inner), step

    return Keeps()


class NoPytree:
    def __init__(self, state):
        self.observation = state.observation


WRONG = {
    "no observation": (counter(lambda s: {"x": s.observation}), r"state\.observation is NoneType"),
    "an object": (counter(NoPytree), "is no array: a state is a pytree"),
    "words": (counter(lambda s: State(s.observation, "x")), r"state\.inner is no array"),
    "a list": (counter(lambda s: State([1.0, 2.0], None)), r"state\.observation is list"),
    "a large size": (counter(observation_size=3), r"shape \(2,\), and observation_size 3"),
    "a size that is none": (counter(observation_size=(2,)), r"observation_size is \(2,\)"),
    "half an action": (counter(action_size=0.5), r"action_size is 0\.5: make it a whole"),
    "no time": (counter(time_limit=0), "time_limit is 0"),
    "rank 2": (counter(lambda s: State(s.observation[None], s.inner)), r"shape \(1, 2\)"),
    "complex": (counter(lambda s: State(s.observation * 1j, s.inner)), "is complex64"),
    "no pair": (counter(step=lambda s, step: (s, *step)), r"returns a tuple: make it \(state"),
    "the state": (counter(step=lambda s, step: s), r"returns a State: make it \(state, Step"),
    "plain": (counter(step=lambda s, step: (s, tuple(step))), r"a tuple as second: make it .*Step"),
    "swapped": (counter(step=lambda s, step: (step, s)), "returns a State as second"),
    "a longer step": (returns(observation=jnp.zeros(3)), r"Step\.observation has shape \(3,\)"),
    "no words": (returns(observation="north"), r"Step\.observation is str"),
    "two rewards": (returns(reward=jnp.zeros(2)), r"Step\.reward has shape \(2,\): make it \(\)"),
    "no reward": (returns(reward=None), r"Step\.reward is NoneType"),
    "two ends": (returns(terminated=jnp.zeros(2, bool)), r"Step\.terminated has shape \(2,\)"),
    "a word at the end": (returns(terminated="no"), r"Step\.terminated is str"),
    "two limits": (returns(truncated=jnp.zeros((2, 1))), r"Step\.truncated has shape \(2, 1\)"),
    "an end that is a key": (returns(truncated=jax.random.key(0)), r"truncated is key<fry>"),
    "grows": (
        keeps((jnp.zeros(2), jnp.zeros((0, 3)))),
        r"state\.inner\[0\] is float32\[2\] after step, int32\[\] after",
    ),
    "another structure": (keeps((jnp.int32(0),)), "another structure after step"),
    "fractions": (keeps(0.5, first=0), r"state\.inner is float32\[\] after step, int32\[\] after"),
    "raw after typed": (
        keeps(jnp.uint32(0), first=jax.random.key(0)),
        r"uint32\[\] after step, key",
    ),
    "raises": (counter(step=lambda s, step: 1 / 0), r"step: line \d+: ZeroDivisionError"),
    "numpy": (counter(lambda s: np.sin(s.observation)), r"reset: line \d+: TracerArray"),
    "if": (
        counter(step=lambda s, step: (s, step) if step.reward > 0 else 0),
        r"step: line \d+: TracerBool",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_one_line(case):
    env, words = WRONG[case]
    with pytest.raises(UsageError, match=words) as error:
        adapt("mine", env)
    assert str(error.value).startswith("env = 'mine': ")
    assert "\n" not in str(error.value)


def test_what_a_script_hands_over_is_checked_too(tmp_path):
    with pytest.raises(UsageError, match=r"Step\.reward has shape"):
        train.train(make_config(logdir=str(tmp_path / "run")), env=returns(reward=jnp.zeros(2)))
    assert not (tmp_path / "run").exists()


class Loose(Counter):
    """Harmless: typed keys, whole numbers for observations, flags of shape (1,) and numbers."""

    def reset(self, key):
        typed = jax.random.wrap_key_data(key)
        return State(jnp.array([7, 0]), {"key": typed, "spare": jax.random.split(typed), "zero": 0})

    def step(self, state, action):
        key, draw = jax.random.split(state.inner["key"])
        count = state.observation + jnp.array([0, 1])
        new = State(count, {**state.inner, "key": key, "zero": jax.random.bernoulli(draw)})
        return new, Step(count, count[1:], (count[1:] == 5) * 1.0, False)


def test_what_is_harmless_is_taken():
    env = adapt("loose", Loose())
    state = env.reset(KEY)
    for count in (1, 2, 3, 4, 5):
        state, step = env.step(state, ACTION)
        assert step.observation.tolist() == [7, count]
        assert (float(step.reward), bool(step.terminated)) == (count, count == 5)
    assert [x.dtype for x in step] == [jnp.float32, jnp.float32, bool, bool]
    assert state.inner["key"].dtype == jnp.uint32, "a checkpoint holds no typed keys"
    key = jax.random.wrap_key_data(KEY)
    for _ in range(5):
        key = jax.random.split(key)[0]
    np.testing.assert_array_equal(state.inner["key"], jax.random.key_data(key))


def test_harmless_environments_train_and_are_saved(tmp_path):
    run = train.train(make_config(logdir=str(tmp_path), iterations=64), env=Loose())
    assert int(run.metrics["train/n_updates"]) == 32
    assert np.isfinite(run.metrics["eval/mean_reward"])
    assert run.experiment.episodes.env.ends_at == 1000, "its own attributes are found"


class Precise(Slider):
    """Notes with what precision of products its functions are traced."""

    dt, seen = 0.5, []

    def reset(self, key):
        self.seen.append(("reset", jax.config.jax_default_matmul_precision))
        return super().reset(key)

    def step(self, state, action):
        self.seen.append(("step", jax.config.jax_default_matmul_precision))
        state, step = super().step(state, action)
        return state, step._replace(reward=jnp.ones(3) @ jnp.ones(3) + action[0])


def test_physics_steps_at_its_precision_wherever(tmp_path):
    """And is traced once for all of them: MJX takes seconds."""
    made = adapt("precise", Precise())
    envs.register("precise", lambda: made)
    register_with_gymnasium(["precise"])
    env = gymnasium.make("mjx_sac/precise")
    env.reset(seed=0)
    assert env.step(np.zeros(1, np.float32))[1] == 3.0
    record(make_policy(Slider(), env="precise"), tmp_path / "x.html", seconds=1)
    episodes = Episodes(made, num_envs=2, episode_length=5)
    state = jax.eval_shape(episodes.init)
    jax.eval_shape(episodes.step, state, jax.ShapeDtypeStruct((2, 1), jnp.float32))
    assert sorted(Precise.seen) == [("reset", "highest"), ("step", "highest")]
    program = str(jax.make_jaxpr(made.step)(made.reset(KEY), ACTION))
    assert "precision=(Precision.HIGHEST, Precision.HIGHEST)" in program


def test_an_adapter_is_an_environment_of_its_own_kind():
    env = adapt("mine", counter(spaces={"observation": [2]}))
    assert isinstance(env, Environment)
    assert not hasattr(env, "simulator")
    assert not hasattr(env, "time_limit")
    assert env.spaces == {"observation": [2]}
    assert adapt("mine", env) is env
    with pytest.raises(AttributeError, match="nothing"):
        env.nothing  # noqa: B018
    with pytest.raises(AttributeError):
        CheckedEnvironment.__new__(CheckedEnvironment)._env  # noqa: B018
