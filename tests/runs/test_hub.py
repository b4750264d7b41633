"""Runs shared on a hub: a server that speaks its protocol, the real library, real processes."""

import importlib.util
import json
import math
import re
import signal
import socket
import time

import pytest
import yaml
from helpers import hub as hubs
from helpers.cli import run as in_this_process
from helpers.runs import make_config, save_best, save_run, scalars
from scipy import stats

from mjx_sac.config import build
from mjx_sac.runs import array_store
from mjx_sac.runs.directory import best_path, checkpoint_path, steps
from mjx_sac.training.host import train

NAME = "ann/pendulum"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory of a run of Pendulum-v1."""
    directory = tmp_path_factory.mktemp("shared") / "pendulum"
    how = {"env": "Pendulum-v1", "episode_length": None, "episodes_per_eval": 3}
    train.train(make_config(logdir=str(directory), **how))
    return directory


@pytest.fixture
def hub():
    with hubs.serve() as server:
        yield server


@pytest.fixture
def ann(hub, tmp_path):
    """Whose models are `ann/...`."""
    return hubs.Machine(tmp_path / "ann", hub.url)


@pytest.fixture
def bob(hub, tmp_path):
    """Who is not logged in."""
    return hubs.Machine(tmp_path / "bob", hub.url, token=None)


def refused(answer, *words):
    """Check that a command was refused in one line with these words."""
    code, out, err = answer
    assert (code, out, err.count("\n"), err[:9]) == (2, "", 1, "mjx-sac: "), answer
    for word in words:
        assert word in err


def below(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_what_is_shared_is_used_elsewhere_as_here(trained, hub, ann, bob):
    code, out, _ = ann.run("push", trained, NAME)
    assert (code, out.splitlines()) == (0, [f"{hub.url}/{NAME}", f"mjx-sac eval hub:{NAME}"])
    assert hub.private == set()
    flags = ("--episodes", "3", "--json")
    here, there = (
        json.loads(machine.run("eval", run, *flags)[1])
        for machine, run in ((ann, trained), (bob, f"hub:{NAME}"))
    )
    assert (here.pop("run"), there.pop("run")) == (str(trained), f"hub:{NAME}")
    assert here == there
    best = "mjx_sac.load_policy('hub:ann/pendulum', 'best').iterations"
    with bob.process(program=f"-c import mjx_sac; print({best})") as process:
        out, _ = process.communicate(timeout=120)
    assert int(out) == array_store.manifest(best_path(trained))["iterations"]
    assert bob.run("plot", f"hub:{NAME}", "--out", "a.json")[0] == 0
    (group,) = json.loads((bob.home / "a.json").read_text())["groups"]
    assert group["mean"] == [*scalars(trained)["eval/mean_reward"].values()]
    code, out, _ = bob.run("info", f"hub:{NAME}")
    assert "damaged" not in out
    assert "128 of 128 iterations saved" in out


def test_nothing_is_shared_but_the_policies_and_what_is_said_of_them(trained, hub, ann):
    ann.run("push", trained, NAME)
    files = hub.files(NAME)
    policies = [checkpoint_path(trained, 128) / "policy", best_path(trained)]
    wanted = {str(x.relative_to(trained)) for path in policies for x in path.iterdir()}
    (events,) = (path for path in files if "tfevents" in path)
    assert files.keys() == wanted | {
        *(events, "kwargs.json", "README.md", "curve.png", ".gitattributes"),
    }
    assert socket.gethostname() not in events
    assert all(files[path] == (trained / path).read_bytes() for path in wanted)
    assert files["curve.png"].startswith(b"\x89PNG")


def test_the_card_says_what_it_is_how_good_and_how_to_have_it_again(trained, hub, ann):
    ann.run("push", trained, NAME)
    _, head, text = hub.files(NAME)["README.md"].decode().split("---\n", 2)
    assert yaml.safe_load(head)["tags"][-2:] == ["sac", "Pendulum-v1"]
    curves = scalars(trained)
    mean, deviation = (curves[f"eval/{x}_reward"][128] for x in ("mean", "std"))
    # Of three episodes: s = deviation sqrt(3 / 2), over sqrt(3).
    half = stats.t.ppf(0.975, 2) * deviation * math.sqrt(3 / 2) / math.sqrt(3)
    low, high = (f"{x:,.1f}" for x in (mean - half, mean + half))
    found = f"Mean return at 128 iterations: **{mean:,.1f}**, 95 % interval {low} to {high}, "
    assert f"{found}over 3 episodes." in text
    assert "![eval/mean_reward](curve.png)" in text
    hours = sum(32 / fps for fps in curves["time/fps"].values()) / 3600
    assert f"for 128 iterations (environment transitions) in {hours:.2g} hours, seed 0" in text
    commands = re.findall(r"^mjx-sac (.*)$", text, re.M)
    assert commands[0] == f"eval hub:{NAME}"
    flags = dict(zip(*[iter(commands[-1].split()[1:])] * 2, strict=True))
    again = build(type(make_config()), {k.removeprefix("--"): x for k, x in flags.items()})
    config = array_store.manifest(checkpoint_path(trained, 128) / "policy")["config"]
    assert again.model_dump(mode="json") == {**config, "logdir": None}


def test_a_whole_checkpoint_is_the_same_bytes_elsewhere_and_resumes(trained, hub, ann, bob):
    ann.run("push", trained, NAME, "--checkpoint")
    assert bob.run("pull", NAME)[0] == 0
    pulled = bob.home / "runs" / "pendulum"
    assert below(checkpoint_path(pulled, 128)) == below(checkpoint_path(trained, 128))
    refused(bob.run("pull", NAME, pulled), "is there already: choose another")
    code, out, _ = bob.run("train", "--logdir", "runs/pendulum", "--iterations", "160")
    assert code == 0
    assert "resuming runs/pendulum at 128 iterations" in out
    assert steps(pulled) == [128, 160]


def test_what_was_shared_without_its_checkpoint_says_so_and_resumes_with_it(trained, ann, bob):
    ann.run("push", trained, NAME)
    bob.run("pull", NAME, "run")
    before = below(bob.home / "run")
    train = "train", "--logdir", "run", "--iterations", "160"
    for fallback in ((), ("--fallback",)):
        where = f"logdir = '{bob.home / 'run'}': was shared without its checkpoint: "
        refused(
            bob.run(*train, *fallback), where, "pull it again after `mjx-sac push --checkpoint`"
        )
    assert below(bob.home / "run") == before
    ann.run("push", trained, NAME, "--checkpoint")
    bob.run("pull", NAME, "whole")
    assert bob.run("train", "--logdir", "whole", "--iterations", "160")[0] == 0


def test_sharing_again_takes_away_what_is_no_longer_there_and_nothing_of_others(hub, ann, tmp_path):
    run = tmp_path / "run"
    save_run(run, steps=(32,), env="ant")
    ann.run("push", run, NAME, "--checkpoint")
    hub.files(NAME)["notes.txt"] = b"mine"
    save_run(run, steps=(64,), env="ant")
    ann.run("push", run, NAME)
    left = {path.rpartition("/")[0] for path in hub.files(NAME)}
    assert left == {"", "checkpoints/64/policy"}
    assert hub.files(NAME)["notes.txt"] == b"mine"
    assert len(hub.models[NAME]) == 1 + 2, "each in one commit"
    assert hub.messages == ["ant at 32 iterations", "ant at 64 iterations"]


def test_of_several_agents_the_interval_is_over_them(hub, ann, tmp_path):
    run = tmp_path / "run"
    progress = {"evaluated": 32, "returns": [1.0, 2.0, None, 6.0]}
    save_run(run, env="ant", num_seeds=4, progress=progress)
    save_best(run, [32, 0, 0, 32], [4.0, None, None, 8.0])
    assert ann.run("push", run, NAME)[0] == 0
    card = hub.files(NAME)["README.md"].decode()
    half = stats.t.ppf(0.975, 2) * math.sqrt(7) / math.sqrt(3)  # s^2 = (4 + 1 + 9) / 2
    found = f"**3.0**, 95 % interval {3 - half:.1f} to {3 + half:.1f}, over 3 agents."
    assert f"Mean return at 32 iterations: {found}" in card
    assert "seeds 0 to 3" in card
    assert "![" not in card, "it has no curve"
    assert "best/policy/manifest.json" in hub.files(NAME)


def test_a_run_that_was_not_evaluated_says_so(hub, ann, tmp_path):
    save_run(tmp_path / "run", env="ant")
    ann.run("push", tmp_path / "run", NAME, "--private")
    assert "It has not been evaluated." in hub.files(NAME)["README.md"].decode()
    assert hub.private == {NAME}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_pull_ends_at_once_without_a_directory_and_the_next_has_all(
    trained, hub, ann, bob, number
):
    """A file that never comes holds nothing up."""
    ann.run("push", trained, NAME)
    hub.stalls = "policy/manifest.json"
    with bob.process("pull", NAME) as process:
        assert hub.stalled.wait(60)
        process.send_signal(number)
        sent = time.monotonic()
        _, err = process.communicate(timeout=60)
        took = time.monotonic() - sent
    hub.released.set()
    assert (process.returncode, err) in [(-signal.SIGKILL, ""), (130, "mjx-sac: interrupted\n")]
    assert took < 10, "the hub would have held the file for a minute"
    assert not (bob.home / "runs").exists()
    hub.stalls = None
    assert bob.run("pull", NAME)[0] == 0
    there = {path: data for path, data in hub.files(NAME).items() if path != ".gitattributes"}
    assert below(bob.home / "runs" / "pendulum") == there


@pytest.mark.parametrize("what", ["eval", "push"])
def test_nothing_else_waits_for_the_hub_after_an_interrupt(trained, hub, ann, what):
    ann.run("push", trained, NAME)
    before = dict(hub.files(NAME))
    hub.stalls = "policy/manifest.json" if what == "eval" else "/commit/main"
    with ann.process(
        *{"eval": ("eval", f"hub:{NAME}"), "push": ("push", trained, NAME)}[what]
    ) as process:
        assert hub.stalled.wait(60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    hub.released.set()
    assert (process.returncode, err) == (130, "mjx-sac: interrupted\n")
    assert hub.files(NAME).keys() == before.keys(), "a commit is whole or none"


def test_what_was_had_once_is_there_without_a_connection(trained, ann, hub, bob):
    ann.run("push", trained, NAME)
    bob.run("info", f"hub:{NAME}")
    bob.url = "http://127.0.0.1:9"
    assert bob.run("info", f"hub:{NAME}")[0] == 0
    refused(bob.run("eval", "hub:ann/other"), "'hub:ann/other': ", "Connection refused")
    refused(bob.run("pull", "ann/other"), "the connection")
    bob.token = hubs.TOKEN
    refused(bob.run("push", trained, NAME), f"name = {NAME!r}: ", "Connection refused")


def test_bad_names_and_runs_are_one_line_and_nothing_is_made(hub, ann, bob, tmp_path):
    save_run(run := tmp_path / "run", env="ant")
    hub.models["ann/other"] = [{"model.pkl": b"\x80"}]
    for command in (("eval", "hub:ann/none"), ("record", "hub:ann/none"), ("pull", "ann/none")):
        refused(bob.run(*command), "no such model, or a private one", "hf auth login")
    for command in (("info", "hub:ann/other"), ("pull", "ann/other")):
        refused(bob.run(*command), "is no run: `mjx-sac push` makes such")
    for name in ("ann", "ann/", "a/b/c", "ann/x y", ""):
        refused(ann.run("export", f"hub:{name}"), f"run = 'hub:{name}'", "write user/name")
    refused(ann.run("pull", "ann/..x"), "name = 'ann/..x'", "alphanumeric")
    refused(bob.run("push", run, NAME), "not logged in: `hf auth login`, or set HF_TOKEN")
    bob.token = "hf_wrong"
    refused(bob.run("push", run, NAME), "hf auth whoami")
    refused(ann.run("push", run, "cem/x"), "the rights to create a model under cem")
    refused(ann.run("push", run, "ann/other"), "holds model.pkl, and is no run")
    refused(ann.run("push", tmp_path, NAME), "no checkpoint there: `mjx-sac train` saves one")
    refused(ann.run("push", tmp_path / "no", NAME), "no such directory")
    (checkpoint_path(run, 32) / "policy" / "manifest.json").write_text("{}")
    refused(ann.run("push", run, NAME), "manifest.json cannot be read")
    assert {name: len(commits) for name, commits in hub.models.items()} == {"ann/other": 1}
    assert not [*bob.home.rglob("model.pkl")]
    assert not (bob.home / "runs").exists()


@pytest.mark.parametrize(
    "named",
    [
        {"algorithm": "evil.py"},
        {"algorithm": "evil:losses"},
        {"env": "evil:make"},
        {"env": "evil:Ant-v5"},
        {"env": "ant", "domain_randomization": "evil:randomize"},
    ],
    ids=lambda named: "-".join(named.values()),
)
def test_a_run_that_names_code_executes_none_of_it(hub, ann, bob, tmp_path, named):
    save_run(run := tmp_path / "run")
    policy = checkpoint_path(run, 32) / "policy"
    said = array_store.manifest(policy)
    said["config"] |= {"env": "counter", "algorithm": "sac", **named}
    header = {k: x for k, x in said.items() if k not in ("schema", "leaves", "packed")}
    arrays = dict(array_store.read(policy))
    array_store.write(policy, arrays, header, None)
    for home in (ann.home, bob.home):
        home.joinpath("evil.py").write_text("open('executed', 'w')\nlosses = make = None\n")
    assert ann.run("push", run, NAME)[0] in (0, 2)
    (ann.home / "executed").unlink(missing_ok=True)
    for command in (("eval", f"hub:{NAME}"), ("info", f"hub:{NAME}"), ("pull", NAME)):
        refused(bob.run(*command), "would execute what it names here as ", "--trust_code")
    assert not (bob.home / "runs").exists()
    assert bob.run("pull", NAME, "--trust_code")[0] == 0
    assert steps(bob.home / "runs" / "pendulum") == [32]
    assert not (bob.home / "executed").exists()


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("huggingface_hub", ("eval", "hub:ann/x")),
        ("huggingface_hub", ("pull", "ann/x")),
        ("huggingface_hub", ("push", "run", "ann/x")),
        ("matplotlib", ("push", "run", "ann/x")),
    ],
)
def test_a_missing_package_names_its_extra(module, command, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name == module else find(name, *a)
    )
    code, _, err = in_this_process(capsys, *command)
    assert (code, err.count("\n")) == (2, 1)
    assert f"needs {module}" in err
    assert ".[hub]" in err
