"""Sweeps in which every setting learns from recorded data."""

import json
import pathlib

import numpy as np
import pytest
from helpers import cli
from helpers.runs import flags, make_config

from mjx_sac.runs import array_store, dataset
from mjx_sac.runs.directory import checkpoint_path
from mjx_sac.training.host import train

TAUS = ["--param", "tau=0.1,0.2"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two runs, whose replay buffers are data sets."""
    directory = tmp_path_factory.mktemp("source")
    for seed in (0, 1):
        config = make_config(logdir=str(directory / f"seed_{seed}"), seed=seed, iterations=64)
        train.train(config.model_copy(update={"episodes_per_eval": 0}))
    return directory


def run(capsys, *arguments):
    return cli.run(capsys, "sweep", *flags(), *arguments)


def state(directory):
    """Return the arrays of the last checkpoint, and what stands above them."""
    path = checkpoint_path(directory, 128) / "state"
    return dict(array_store.read(path)), array_store.manifest(path)


@pytest.mark.parametrize("how", [["--offline"], []], ids=["offline", "online"])
def test_settings_of_one_program_learn_from_one_copy(capsys, monkeypatch, source, tmp_path, how):
    read, reads = dataset.read, []
    monkeypatch.setattr(dataset, "read", lambda name: (reads.append(name), read(name))[1])
    data = f"run:{source / 'seed_0'}"
    code, out, _ = run(capsys, *TAUS, *how, "--dataset", data, "--logdir", tmp_path / "sweep")
    assert (code, reads) == (0, [data]), out
    together, manifest = state(tmp_path / "sweep" / "all")
    config = make_config(
        dataset=data, offline=bool(how), tau=0.2, episodes_per_eval=0, logdir=str(tmp_path / "one")
    )
    train.train(config)
    alone, expected = state(tmp_path / "one")
    assert manifest["dataset_sha256"] == expected["dataset_sha256"]
    for name in alone.keys() & together.keys():
        if name.startswith("train.") and together[name].ndim:
            np.testing.assert_allclose(together[name][1], alone[name], atol=1e-5, err_msg=name)


def test_data_sets_are_compared_also_offline(capsys, source, tmp_path):
    names = [f"run:{source}/seed_{seed}" for seed in (0, 1)]
    space = ["--param", f"dataset={','.join(names)}", "--logdir", tmp_path / "sweep"]
    assert run(capsys, *space, "--offline")[0] == 0
    found = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["trials"]
    learned_from = {row["settings"]["dataset"]: state(pathlib.Path(row["run"]))[1] for row in found}
    assert {name: one["dataset_sha256"] for name, one in learned_from.items()} == {
        name: dataset.read(name).sha256() for name in names
    }


def test_bad_input_is_one_line_before_anything_is_trained(capsys, source, tmp_path):
    data, out = f"run:{source / 'seed_0'}", tmp_path / "sweep"

    def message(*arguments):
        code, _, err = run(capsys, *arguments, "--logdir", out)
        assert (code, err.count("\n"), out.exists()) == (2, 1, False), err
        return err

    assert "offline: there is nothing to learn from: name a --dataset" in message(
        *TAUS, "--offline"
    )
    assert "seed_0_': no such directory; did you mean seed_0?" in message(
        "--dataset", f"{data}_", *TAUS
    )
    assert "seed_0_': no such directory; did you mean seed_0?" in message(
        "--param", f"dataset={data},{data}_"
    )
    unmeasured = message("--dataset", data, "--offline", *TAUS, "--metric", "rollout/ep_rew_mean")
    assert "metric = 'rollout/ep_rew_mean': no run has it" in unmeasured
