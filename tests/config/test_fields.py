"""What a flag or a TOML file may say."""

import pytest

from mjx_sac.config import Config, UsageError, build, mark


@pytest.mark.parametrize("text", ["1e6", "1_000_000", "1000000", "1000000.0", "1E+6"])
def test_whole_numbers_as_people_write_them(text):
    assert build(Config, {"iterations": text}).iterations == 1_000_000


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("256,256", (256, 256)),
        ("64x32", (64, 32)),
        ("64", (64,)),
        ("[512, 256, 128]", (512, 256, 128)),
        ([1e2, "64"], (100, 64)),
    ],
)
def test_hidden_sizes(text, sizes):
    assert build(Config, {"hidden_sizes": text}).hidden_sizes == sizes


@pytest.mark.parametrize("text", ["auto", "none", "None"])
def test_auto_is_none(text):
    config = build(Config, {"target_entropy": text, "episode_length": text, "logdir": text})
    assert (config.target_entropy, config.episode_length, config.logdir) == (None, None, None)


def test_ratios_are_numbers_or_fractions():
    for text in ("2/1024", " 2 / 1024 ", "0.001953125", 2 / 1024):
        assert build(Config, {"updates_per_iteration": text}).updates_per_iteration == 2 / 1024
    for text in ("1/0", "one/2", "1/2/3"):
        with pytest.raises(UsageError, match="write a number, or a fraction such as 2/1024"):
            build(Config, {"updates_per_iteration": text})


def test_members_are_json():
    members = build(Config, {"members": '[{"tau": 0.1}, {"tau": 0.2}]'}).members
    assert members == ({"tau": 0.1}, {"tau": 0.2})
    with pytest.raises(UsageError, match="not JSON"):
        build(Config, {"members": "tau=1"})


@pytest.mark.parametrize(
    ("given", "options"),
    [
        (["a.b=1", "c=1.0", "d=true", "e=True"], {"a.b": 1, "c": 1.0, "d": True, "e": True}),
        (["a=[0, 1]", "a=(2, 'x')", "b=it's=so"], {"a": [2, "x"], "b": "it's=so"}),
        (["a=none", "b=None", "c=null", 'd="1"'], {"a": "none", "b": None, "c": None, "d": "1"}),
        ({"a": {"b": {"c": 1}, "d": "x"}, "e.f": 2}, {"a.b.c": 1, "a.d": "x", "e.f": 2}),
        ([{"a": 1, "b": 2}, "b=3"], {"a": 1, "b": 3}),
        ({}, {}),
    ],
)
def test_options_are_tables_or_typed_one_by_one(given, options):
    config = build(Config, {"env_options": given})
    assert config.env_options == options
    assert [type(x) for x in config.env_options.values()] == [type(x) for x in options.values()]
    assert Config.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["nothing"], "env_option = 'nothing': write key=value"),
        (["=1"], "env_option = '=1': write key=value"),
        (["a=NaN"], "env_option = 'a': nan: make it a finite number"),
        ({"a": [1, float("inf")]}, "env_option = 'a': inf: make it a finite number"),
        ({"a": object}, "env_option = 'a': <class 'object'>: make it"),
        (5, "env_options = 5: write a table, or key=value"),
    ],
)
def test_other_options_are_refused_in_one_line(given, words):
    with pytest.raises(UsageError) as error:
        build(Config, {"env_options": given})
    assert words in str(error.value)


def test_marks_say_what_a_field_means_for_a_run():
    assert (mark(Config, "tau", "traced"), mark(Config, "tau", "fixed")) == (True, False)
    assert (mark(Config, "num_envs", "traced"), mark(Config, "num_envs", "fixed")) == (False, True)
