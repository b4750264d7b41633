"""Observations in parts: what is kept, who sees what, and which part lies in which."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.envs import Asymmetric, Counter
from helpers.gymnasium_envs import Parts
from helpers.runs import make_config
from hypothesis import given, settings
from hypothesis import strategies as st

from mjx_sac.config import UsageError
from mjx_sac.envs import slices, views
from mjx_sac.envs.checked import adapt
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.envs.spaces import spaces

SHAPES = {"a": (2,), "b.x": (1, 3), "b.y": (), "c": (4,)}


@pytest.mark.parametrize(
    ("actor", "critic", "size", "actor_sees", "critic_sees"),
    [
        (None, None, 10, [*range(10)], [*range(10)]),
        ("b", None, 10, [2, 3, 4, 5], [*range(10)]),
        ("c,a", "b.y", 7, [0, 1, 3, 4, 5, 6], [2]),  # b.x is nobody's; in their own order
        ("a", "a", 2, [0, 1], [0, 1]),
    ],
)
def test_who_sees_what(actor, critic, size, actor_sees, critic_sees):
    seen = views.choose("env", SHAPES, actor, critic)
    vector = np.arange(seen.size)
    assert seen.size == size
    assert views.see(vector, seen.actor).tolist() == actor_sees
    assert views.see(vector, seen.critic).tolist() == critic_sees
    assert seen.differ == (actor_sees != critic_sees or len(actor_sees) < size)


def test_a_part_inside_another_is_kept_once():
    shapes = {"privileged_state": (6,), "state": (2,), "tail": (3,)}
    inside = {"state": {"privileged_state": 1}, "tail": {"privileged_state": 3}}
    seen = views.choose("env", shapes, None, None, inside)
    assert (seen.size, seen.actor, seen.critic) == (6, ((1, 3),), ((0, 6),))
    alone = views.choose("env", shapes, "state,tail", "tail", inside)  # nobody sees the whole
    assert (alone.size, alone.actor, alone.critic) == (5, ((0, 5),), ((2, 5),))


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    data=st.data(),
)
def test_views_show_the_very_parts(sizes, data):
    """Whatever is chosen and lies wherever: the numbers seen are those of the parts."""
    rng = np.random.default_rng(0)
    parts = {f"p{i}": rng.normal(size=n).astype(np.float32) for i, n in enumerate(sizes)}
    names = list(parts)
    inside = {}
    for i, name in enumerate(names[1:], 1):  # some are slices of an earlier one
        whole = parts[names[data.draw(st.integers(0, i - 1))]]
        if data.draw(st.booleans()) and len(whole):
            first = data.draw(st.integers(0, len(whole) - 1))
            parts[name] = whole[first : data.draw(st.integers(first, len(whole)))]
            inside[name] = {k: first for k in names[:i] if parts[k] is whole}
    chosen = [data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True)) for _ in "ac"]
    shapes = {name: part.shape for name, part in parts.items()}
    seen = views.choose("env", shapes, *map(",".join, chosen), inside)
    vector = np.concatenate([parts[name] for name in seen.parts])
    assert len(vector) == seen.size
    for ranges, wanted in zip((seen.actor, seen.critic), chosen, strict=True):
        expected = np.concatenate([parts[name] for name in names if name in wanted])
        np.testing.assert_array_equal(views.see(vector, ranges), expected)


def test_slices_are_found_in_the_program_and_nowhere_else():
    @jax.jit
    def inner(x, y):
        return jnp.hstack([x, y, x[:1]])

    def function(x, y):
        both = inner(x, y)
        return {
            "both": both,
            "more": jnp.concatenate([jnp.zeros(2), both, y]),
            "x": x.reshape(3),
            "y_and_one": jnp.hstack([y, x[:1]]),  # another computation, so no slice for sure
            "equal": jnp.concatenate([x, y]),
            "zeros": jnp.zeros(2),  # equal to a constant is not inside it
            "x_again": x,
        }

    found = slices.find(function, jnp.ones(3), jnp.ones(2))
    assert found["both"] == {"more": 2}
    assert found["equal"] == {"both": 0, "more": 2}
    assert found["x"] == {"both": 0, "more": 2, "equal": 0}
    assert found["x_again"] == {"both": 0, "more": 2, "equal": 0, "x": 0}
    assert found["zeros"] == found["y_and_one"] == found["more"] == {}


def test_a_function_called_twice_makes_two_things():
    @jax.jit
    def double(x):
        return 2 * x

    def function(x, y):
        return {"one": double(x), "two": jnp.concatenate([double(y), double(x)])}

    found = slices.find(function, jnp.ones(3), jnp.ones(3))
    assert found == {"one": {}, "two": {}}


def test_an_environment_in_jax():
    env = adapt("own", Asymmetric(), make_config())
    assert (env.observation_size, env.views.actor, env.views.critic) == (3, ((0, 2),), ((0, 3),))
    assert spaces(env)["observation"] == {"state": [2]}
    assert spaces(env)["views"] == {
        "actor": [[0, 2]],
        "critic": [[0, 3]],
        "actor_observation": "state",
    }
    state, step = env.step(env.reset(jax.random.PRNGKey(0)), jnp.array([0.1]))
    x, goal, steps = state.inner  # its own
    np.testing.assert_array_equal(step.observation, jnp.stack([x, steps, goal]))
    np.testing.assert_array_equal(state.observation, step.observation)


def test_nested_parts_in_jax_and_gymnasium():
    everything = make_config(actor_observation="spare", critic_observation="spare,state")
    env = adapt("own", Asymmetric(), everything)
    assert env.reset(jax.random.PRNGKey(0)).observation[:4].tolist() == [7, 7, 8, 8]
    assert spaces(env)["observation"] == {"spare": {"a": [2], "b": [1, 2]}}
    host = GymnasiumEnvironment("parts", Parts, make_config(actor_observation="b.0"))
    assert host.simulator(1, 100).reset(0).tolist() == [[7, 0, 1, 2, 3, 9]]
    assert (host.views.actor, spaces(host)["observation"]) == (((1, 5),), {"b": {"0": [2, 2]}})
    some = {"actor_observation": "b.0", "critic_observation": "b"}
    host = GymnasiumEnvironment("parts", Parts, make_config(**some))
    simulator = host.simulator(1, 100)
    assert simulator.reset(0).tolist() == [[0, 1, 2, 3, 9]]  # nobody sees "a"
    assert simulator.step(np.zeros((1, 1))).observation.tolist() == [[0, 1, 2, 3, 9]]
    assert (host.observation_size, host.views.actor) == (5, ((0, 4),))


@pytest.mark.parametrize(
    ("env", "field", "names", "words"),
    [
        (Asymmetric, "actor_observation", "stat", "did you mean state"),
        (Asymmetric, "critic_observation", "qqq", "those are privileged_state, spare.a, spare.b"),
        (Counter, "actor_observation", "position", "one vector, without parts"),
    ],
)
def test_a_view_that_does_not_exist_is_one_line(env, field, names, words):
    with pytest.raises(UsageError, match=f"{field} = '{names}'.*{words}"):
        adapt("own", env(), make_config(**{field: names}))


def test_parts_that_change_are_one_line():
    class Changing(Asymmetric):
        def step(self, state, action):
            new, step = super().step(state, action)
            observation = {**step.observation, "spare": {"b": jnp.zeros((1, 2))}}
            return new, step._replace(observation=observation)

    with pytest.raises(UsageError, match=r"Step.observation has parts .*make them equal"):
        adapt("own", Changing(), make_config())
