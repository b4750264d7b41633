"""The epoch that is kept from start to start: equal to a traced one, and never out of date."""

import os
from types import SimpleNamespace

import jax
import mujoco
import numpy as np
import pytest
from helpers.runs import make_experiment

from mjx_sac.config import Config, surroundings
from mjx_sac.envs import registry
from mjx_sac.runs import provenance
from mjx_sac.training.compiled import population
from mjx_sac.training.host import device, kept

MODEL = "<mujoco><worldbody><body><geom size='{}'/></body></worldbody></mujoco>"


def env(size=1):
    return SimpleNamespace(mj_model=mujoco.MjModel.from_xml_string(MODEL.format(size)))


def path(config, env):
    """Where the epoch is kept; None where it may not be."""
    early = kept.begin(config, {})
    return early and early.path(env)


@pytest.fixture
def command(monkeypatch, tmp_path):
    """This process is the command's, with a cache of its own."""
    monkeypatch.setattr(surroundings, "_own", True)
    before = jax.config.values["jax_compilation_cache_dir"]
    device.keep_programs_in(str(tmp_path))
    yield tmp_path
    device.keep_programs_in(before)


def test_a_kept_epoch_is_the_traced_one(tmp_path, monkeypatch):
    experiment, file = make_experiment(), tmp_path / "lowered" / "epoch"
    init = population.init(experiment)
    shapes = jax.eval_shape(init)
    expected = population.lower(experiment, shapes).compile()(init())
    first = kept.lower(experiment, shapes, file)({})
    monkeypatch.setattr(kept, "_export", None)  # nothing is traced any more
    second = kept.lower(experiment, shapes, file)({})
    for epoch in (first, second):
        found = epoch(init())
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_what_is_kept_loads_before_the_environment_is_there(command, monkeypatch):
    """Where the model turns out to be another, the epoch is traced, and kept beside it."""
    config, experiment = Config(env="ant"), make_experiment()
    init = population.init(experiment)
    shapes, expected = jax.eval_shape(init), jax.jit(population.epoch(experiment))(init())
    early = kept.begin(config, {})
    assert early.file is early.compiled is None, "nothing is there yet"
    kept.lower(experiment, shapes, early.path(env()), early)

    early = kept.begin(config, {})
    assert early.file == early.path(env())
    other = early.path(env(size=2))
    kept.lower(experiment, shapes, other, early)
    assert other.exists()
    for file in (early.file, other):
        file.unlink()  # neither read again nor traced
    monkeypatch.setattr(kept, "_export", None)
    found = kept.lower(experiment, shapes, early.file, early)({})(init())
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_its_state_is_donated(tmp_path):
    experiment = make_experiment()
    state = population.init(experiment)()
    kept.lower(experiment, jax.eval_shape(lambda: state), tmp_path / "lowered" / "epoch")({})(state)
    assert state.replay.observation.is_deleted()


def test_damage_is_written_over(tmp_path):
    experiment, file = make_experiment(), tmp_path / "lowered" / "epoch"
    shapes = jax.eval_shape(population.init(experiment))
    kept.lower(experiment, shapes, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    kept.lower(experiment, shapes, file)
    assert len(file.read_bytes()) == len(whole)


def test_the_files_used_last_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_MOST", 2)
    for age, name in enumerate(("new", "old", "older")):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    kept._write(tmp_path / "now", SimpleNamespace(serialize=lambda: b"program"))
    assert {path.name for path in tmp_path.iterdir()} == {"now", "new"}


def test_what_decides_is_in_the_name(command, monkeypatch):
    config = Config(env="ant")
    same = path(config, env())
    assert same.parent == command / "lowered"
    assert path(config.model_copy(update={"logdir": "/elsewhere", "seed": 7}), env()) == same
    assert path(config.model_copy(update={"batch_size": 8}), env()) != same
    assert path(config, env(size=2)) != same
    jax.config.update("jax_default_matmul_precision", "highest")
    assert path(config, env()) != same
    jax.config.update("jax_default_matmul_precision", None)
    assert path(config, env()) == same
    monkeypatch.setattr(provenance, "versions", lambda: {"jax": "1.0"})
    assert path(config, env()) != same


def test_sources_are_in_the_name(command, monkeypatch, tmp_path):
    source = tmp_path / "mjx_sac" / "training" / "host" / "kept.py"
    source.parent.mkdir(parents=True)
    monkeypatch.setattr(kept, "__file__", str(source))
    names = []
    for text in ("one", "two"):
        (tmp_path / "mjx_sac" / "losses.py").write_text(text)
        names.append(path(Config(env="ant"), env()))
    assert names[0] != names[1]


@pytest.mark.parametrize(
    "settings",
    [
        {"env": "counter"},
        {"env": "module:factory"},
        {"env": "Ant-v5"},
        {"algorithm": "my_losses.py"},
        {"env_options": {"ctrl_cost_weight": 1.0}},
        {"env": "mjx/Ant-v5", "impl": "warp"},
        {"domain_randomization": "module:function"},
        {"num_devices": 2},
        {"dataset": "run:runs/ant"},
    ],
    ids=str,
)
def test_what_is_not_kept(command, settings):
    config = Config(env="ant").model_copy(update=settings)
    assert path(config, env()) is None


def test_a_program_that_calls_us_keeps_nothing(command, monkeypatch):
    monkeypatch.setattr(surroundings, "_own", False)
    assert path(Config(env="ant"), env()) is None


def test_nor_is_anything_kept_of_an_environment_that_takes_a_name(command, monkeypatch):
    monkeypatch.setitem(registry._registry, "ant", object)
    assert path(Config(env="ant"), env()) is None
