"""TOML files: what they say for all algorithms, and for one."""

import math

import pytest

from mjx_sac.config import Config, UsageError
from mjx_sac.runs import config_files
from mjx_sac.runs.resolve import resolve


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A directory to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_where_a_value_comes_from(directory, monkeypatch):
    """Later wins: the algorithm's own default, the packaged file and its table, a file's, flags."""
    packaged = {"tau": 0.1, "target_delay": 3, "td3": {"tau": 0.2, "target_noise": 0.3}}
    packaged |= {"sac": {"discount": 0.5}}
    monkeypatch.setattr(config_files, "read", lambda path: packaged)
    td3, cql = (resolve({"env": "ant", "algorithm": name}) for name in ("td3", "cql"))
    assert (td3.target_delay, td3.policy_delay, td3.tau, td3.target_noise) == (3, 2, 0.2, 0.3)
    assert (cql.target_delay, cql.tau, cql.discount) == (3, 0.1, 0.99)
    assert resolve({"env": "ant"}).discount == 0.5
    monkeypatch.undo()
    monkeypatch.chdir(directory)
    (directory / "mine.toml").write_text("tau = 0.1\n[td3]\ntau = 0.2\n[sac]\ntau = 0.3\n")
    given = {"env": "counter", "algorithm": "td3"}
    assert resolve(given, config_file="mine.toml").tau == 0.2
    assert resolve({**given, "tau": "0.4"}, config_file="mine.toml").tau == 0.4
    assert resolve({**given, "algorithm": "redq"}, config_file="mine.toml").tau == 0.1


def test_a_familys_file_is_found_by_name(directory, monkeypatch):
    registry = pytest.importorskip("mujoco_playground").registry
    for name in registry.ALL_ENVS:
        said = config_files.packaged(f"playground/{name}", "flashsac", Config)
        walks, handles = (
            name in suite.ALL_ENVS for suite in (registry.locomotion, registry.manipulation)
        )
        assert said.get("discount") == (0.97 if walks else None), name
        assert said.get("updates_per_iteration") == (None if handles else "2/1024"), name
    go1 = resolve({"env": "playground/Go1Getup", "algorithm": "flashsac"})
    assert (go1.num_envs, go1.updates_per_vector_step, go1.batch_size) == (1024, 2, 2048)
    g1, env = {}, "playground/G1JoystickFlatTerrain"
    for name in ("fasttd3", "fastsac"):
        g1[name] = resolve({"env": env, "algorithm": name})
        assert (g1[name].warm_up_vector_steps, g1[name].discount) == (11, 0.97)
    shape = [(x.num_envs, x.updates_per_vector_step, x.batch_size) for x in g1.values()]
    assert shape == [(1024, 2, 32_768), (4096, 8, 8192)]
    cheetah = resolve({"env": "playground/CheetahRun"})
    assert (cheetah.num_envs, cheetah.updates_per_vector_step, cheetah.q_lr) == (128, 8, 1e-3)
    # Brax's target entropy, -1/2 for each action, as that of a Gaussian.
    assert math.log(2 * math.pi * math.e * cheetah.target_std**2) == pytest.approx(-1, abs=1e-4)


def test_the_most_specific_file_wins(tmp_path, monkeypatch):
    files = {
        "family": 'environments = ["legs/*", "other"]\ntau = 0.1\n',
        "a_robot": 'environments = ["legs/Robot*"]\ntau = 0.2\n',
        "one": 'environments = ["legs/RobotRun"]\ntau = 0.3\n',
        "named": "tau = 0.4\n",
    }
    (tmp_path / "configs").mkdir()
    for name, text in files.items():
        (tmp_path / "configs" / f"{name}.toml").write_text(text)
    monkeypatch.setattr(config_files, "__file__", str(tmp_path / "runs" / "config_files.py"))
    envs = ("legs/Go", "legs/RobotStand", "legs/RobotRun", "named", "other", "nobody")
    found = [config_files.packaged(env, "sac", Config).get("tau") for env in envs]
    assert found == [0.1, 0.2, 0.3, 0.4, 0.1, None]
    family = tmp_path / "configs" / "family.toml"
    assert resolve({"env": "counter"}, config_file=str(family)).tau == 0.1


def test_options_of_all_sources_are_joined(directory):
    (directory / "mine.toml").write_text(
        "[env_options]\na.b = 1\na.c = [0, 1.5]\nd = true\n[sac.env_options]\nd = false\n"
    )
    given = {"env": "counter", "env_options": ["a.b=2", "e=text"]}
    found = resolve(given, config_file="mine.toml").env_options
    assert found == {"a.b": 2, "a.c": [0, 1.5], "d": False, "e": "text"}


def test_ants_values_were_found_for_sac(directory):
    assert resolve({"env": "ant"}).target_entropy == -4.0
    assert resolve({"env": "ant", "algorithm": "td3"}).target_entropy is None


@pytest.mark.parametrize("name", ["mine.py", "deeper/mine.py", "mine:losses", "a.mine:losses"])
def test_a_table_has_the_name_of_a_file_or_module(name):
    values = {"tau": 0.1, "mine": {"tau": 0.2}, "other": {"nonsense": 1}}
    assert config_files.select(values, "a.toml", name, Config) == {"tau": 0.2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[redq]\ntua = 1\n", ["[redq]: tua: no such hyperparameter; did you mean tau?"]),
        ("[sac]\natoms = 3\n", ["[sac]: atoms: no hyperparameter", "put it under [flashsac]"]),
        ("atoms = 3\n", ["atoms: no hyperparameter of the algorithm, but of flashsac, xqc"]),
        ("[td3]\nenv = 'ant'\n", ["[td3]: env: decides which run it is"]),
        ("[td33]\ntau = 1\n", ["[td33]: no such algorithm; did you mean td3?"]),
        ("[tau]\nx = 1\n", ["tau = {'x': 1}"]),
    ],
)
def test_a_wrong_table_is_one_line(directory, text, words):
    (directory / "mine.toml").write_text(text)
    with pytest.raises(UsageError) as error:
        resolve({"env": "counter", "algorithm": "td3"}, config_file="mine.toml")
    assert all(word in str(error.value) for word in words), error.value
