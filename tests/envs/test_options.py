"""What `--env_option` changes: arguments of a factory, values of a configuration."""

import pytest
from helpers.envs import Counter
from helpers.runs import make_config

from mjx_sac import envs
from mjx_sac.config import UsageError
from mjx_sac.envs import options

KNOWN = {
    "n": 1,
    "x": 0.5,
    "on": False,
    "name": "a",
    "pair": (0.2, 1.0),
    "any": None,
    "a.b": 2.0,
    "gaits": ["walk", "jump"],
}


def make(env, **given):
    return envs.make(env, make_config(env=env, env_options=given))


def test_values_get_the_types_of_the_defaults():
    given = {"n": 2.0, "x": 1, "on": True, "name": "b", "pair": [0, 2], "any": "x", "a.b": 3}
    wanted = {"n": 2, "x": 1.0, "on": True, "name": "b", "pair": (0.0, 2.0), "any": "x", "a.b": 3.0}
    found = options.fit("env", given, KNOWN)
    assert found == wanted
    assert [*map(repr, found.values())] == [*map(repr, wanted.values())]
    assert options.fit("env", {"gaits": ["trot"]}, KNOWN) == {"gaits": ["trot"]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 1.5}, "'n': 1.5: give a whole number, such as 1"),
        ({"n": True}, "'n': True: give a whole number"),
        ({"x": "high"}, "'x': 'high': give a number, such as 0.5"),
        ({"on": 1}, "'on': 1: give true or false, such as False"),
        ({"name": 3}, "'name': 3: give a text"),
        ({"pair": [1]}, "'pair': [1]: give a list like [0.2, 1.0]"),
        ({"pair": [1, "x"]}, "'pair': 'x': give a number"),
        ({"gaits": [1]}, "'gaits': 1: give a text, such as 'walk'"),
        ({"a": 1}, "'a': env has no such option: give one of its values: a.b"),
        ({"nmae": "b"}, "'nmae': env has no such option; did you mean name?"),
        ({"zzz": 1}, "'zzz': env has no such option: there are n, x, on, name"),
    ],
)
def test_what_does_not_fit_is_one_line(given, words):
    with pytest.raises(UsageError) as error:
        options.fit("env", given, KNOWN)
    assert f"env_option = {words}" in str(error.value)


def test_dots_are_dictionaries_of_an_argument():
    assert options.nested({"a.b.c": 1, "a.d": 2, "e": 3}) == {"a": {"b": {"c": 1}, "d": 2}, "e": 3}
    for given in ({"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}):
        with pytest.raises(UsageError, match="a part of it has a value too"):
            options.nested(given)


def test_factories_take_options_as_arguments():
    envs.register("optional", Counter)
    assert make("optional", ends_at=7).ends_at == 7
    assert make("helpers.envs:Counter", ends_at=7, breaks_at=9).breaks_at == 9
    for env in ("optional", "helpers.envs:Counter"):
        with pytest.raises(UsageError) as error:
            make(env, end_at=7)
        words = f"env_option = 'end_at': {env} takes no such argument; did you mean ends_at?"
        assert str(error.value) == words
    config = make_config(env_options={"ends_at": 5})
    assert envs.adapt(Counter, config).ends_at == 5
    with pytest.raises(UsageError, match="'ends_at': Counter is made already"):
        envs.adapt(Counter(), config)
    made = envs.make("optional", config)
    assert envs.adapt(made, config) is made


def test_gymnasiums_constructors_take_options():
    env = make("Pendulum-v1", g=2.5, max_episode_steps=30)
    assert env.time_limit == 30
    assert env.showing(None, draw=False).unwrapped.g == 2.5
    assert make("helpers.gymnasium_envs:Walk", ends_at=3).showing(None, draw=False).ends_at == 3
    for env, name, hint in (
        ("Ant-v5", "ctrl_cost_wieght", "; did you mean ctrl_cost_weight?"),
        ("Pendulum-v1", "zzz", ": it takes render_mode, g"),
    ):
        with pytest.raises(UsageError) as error:
            make(env, **{name: 1})
        words = f"env_option = '{name}': {env} takes no such argument{hint}"
        assert str(error.value) == words


def test_brax_constructors_are_looked_at():
    assert make("inverted_pendulum", n_frames=3).env._n_frames == 3
    with pytest.raises(UsageError, match="'n_frame': inverted_pendulum has no such option; did"):
        make("inverted_pendulum", n_frame=3)
    with pytest.raises(UsageError, match="'debug': 'yes': give true or false"):
        make("inverted_pendulum", debug="yes")


def test_what_fails_with_options_is_one_line():
    problem = "env_option: ant with use_contact_forces=True: NotImplementedError: use_contact"
    with pytest.raises(UsageError, match=problem):
        make("ant", use_contact_forces=True)
