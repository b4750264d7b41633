"""Several agents in one program are what they would be in one each."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.algorithms import TINY
from helpers.cli import run
from helpers.runs import make_config, make_experiment

from mjx_sac import load_policy
from mjx_sac.config import TrainingError, UsageError
from mjx_sac.losses import Losses, critic_loss
from mjx_sac.runs import event_files
from mjx_sac.runs.directory import steps
from mjx_sac.runs.resolve import resolve
from mjx_sac.training.compiled import acting, population, updates
from mjx_sac.training.compiled.experiment import RunState
from mjx_sac.training.host import train
from mjx_sac.types import named_leaves

SEEDS = (3, 4, 5)
MANY_PRODUCTS = population.MANY_PRODUCTS
WIDE = {"hidden_sizes": (256, 256), "batch_size": 256, "buffer_size": 512}


def leaves(state, agent=None):
    """Everything that an agent has for itself, by name."""
    own = state.replace(warm_up_left=None, since_update=None, hyperparameters={})
    return {name: np.asarray(x if agent is None else x[agent]) for name, x in named_leaves(own)}


def assert_alike(many, one, agent, rtol=1e-5, atol=1e-5):
    for name, value in leaves(one.state).items():
        np.testing.assert_allclose(leaves(many.state, agent)[name], value, rtol, atol, err_msg=name)


@pytest.fixture(scope="module", params=["side by side", "in turns"])
def together(request):
    """How agents share a program: as small ones do on a CPU, and as large ones do."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in turns":
            patch.setattr(population, "MANY_PRODUCTS", 0)
        yield request.param


@pytest.fixture(scope="module")
def seeds(together, tmp_path_factory):
    """Three seeds trained in one program, and each in its own."""
    where = tmp_path_factory.mktemp("seeds")
    many = train.train(make_config(logdir=str(where / "many"), seed=3, num_seeds=3))
    configs = [make_config(logdir=str(where / f"one-{seed}"), seed=seed) for seed in SEEDS]
    return where, many, [train.train(config) for config in configs]


def test_each_agent_is_the_run_with_its_seed(seeds):
    """The same draws, so what is stored is equal; what is learned, up to the order of sums."""
    _, many, alone = seeds
    for i, one in enumerate(alone):
        assert_alike(many, one, i)
        np.testing.assert_array_equal(many.state.replay.row[i], one.state.replay.row)
        np.testing.assert_array_equal(many.state.key[i], one.state.key)
        for tag in ("eval/mean_reward", "train/n_updates", "replay/size", "rollout/ep_rew_mean"):
            assert many.metrics[tag][i] == pytest.approx(one.metrics[tag], rel=1e-5), tag
    assert len({float(actions.sum()) for actions in many.state.replay.action}) == 3, "agents differ"


def test_each_agent_has_its_curves_and_its_configuration(seeds):
    where, _, alone = seeds
    assert not list((where / "many").glob("events*"))
    for seed, one in zip(SEEDS, alone, strict=True):
        found = event_files.read(where / "many" / f"seed_{seed}")
        wanted = event_files.read(where / f"one-{seed}")
        same = [tag for tag in wanted if not tag.startswith(("time/", "checkpoint/"))]
        for tag in same:
            assert list(found[tag]) == list(wanted[tag])
            values = [[*curves[tag].values()] for curves in (found, wanted)]
            np.testing.assert_allclose(*values, 1e-3, 1e-5, err_msg=tag)
        stored = json.loads((where / "many" / f"seed_{seed}" / "kwargs.json").read_text())["config"]
        config = one.experiment.config.model_dump(mode="json")
        assert stored == {**config, "logdir": stored["logdir"]}


def test_a_resumed_run_is_the_uninterrupted_one(seeds, tmp_path):
    _, many, _ = seeds
    config = make_config(logdir=str(tmp_path / "run"), seed=3, num_seeds=3)
    train.train(config, callbacks=[lambda iterations, *_: iterations < 64])
    assert steps(tmp_path / "run") == [32, 64]
    resumed = train.train(config)
    for a, b in zip(jax.tree.leaves(resumed.state), jax.tree.leaves(many.state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_hyperparameters_differ_inside_one_program(together, tmp_path):
    """Each member equals the run with its hyperparameters; tau and discount show in the targets."""
    members = (
        {"tau": 0.5, "discount": 0.5, "target_entropy": -1.0},
        {"policy_lr": 0.1, "initial_alpha": 0.25, "target_entropy": -3.0},
    )
    many = train.train(make_config(logdir=str(tmp_path / "many"), members=members))
    assert many.experiment.config.agent_names() == (
        "discount=0.5,target_entropy=-1,tau=0.5",
        "initial_alpha=0.25,policy_lr=0.1,target_entropy=-3",
    )
    for i, member in enumerate(members):
        one = train.train(make_config(logdir=str(tmp_path / str(i)), **member))
        assert_alike(many, one, i, 2e-4, 2e-4)


@pytest.mark.smoke
def test_no_agent_learns_while_all_warm_up(together):
    """A predicate per agent would turn `cond` into a `select` that runs both branches."""
    updates = []

    def counted(params, state, *args, **kwargs):
        jax.debug.callback(lambda: updates.append(1))
        return critic_loss(params, state, *args, **kwargs)

    experiment = make_experiment(num_seeds=3, losses=Losses(critic=counted))
    state, run = population.init(experiment)(), jax.jit(population.epoch(experiment))
    state, _ = run(state)
    jax.effects_barrier()
    assert not updates
    run(state)
    jax.effects_barrier()
    assert updates


def test_all_agents_share_what_decides_about_updates(together):
    experiment = make_experiment(num_seeds=3, updates_per_iteration=1 / 8)
    before = jax.eval_shape(population.init(experiment))
    after, _ = jax.eval_shape(population.epoch(experiment), before)
    for state in (before, after):
        assert state.warm_up_left.shape == state.since_update.shape == ()


def test_the_replay_buffers_are_updated_in_place(together):
    experiment = make_experiment(num_seeds=3)
    shapes = jax.eval_shape(population.init(experiment))
    compiled = population.lower(experiment, shapes).compile()
    buffers = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes.replay))
    assert compiled.memory_analysis().alias_size_in_bytes >= buffers


def test_agents_branch_on_a_delayed_actor_together():
    """Batched, its counter would turn `cond` into a `select` that runs both branches."""

    def branches(name, num_seeds, **how):
        settings = {"file": name, **how, "num_envs": 1, "num_seeds": num_seeds}
        experiment = make_experiment(**settings)
        shapes = jax.eval_shape(population.init(experiment))
        return population.lower(experiment, shapes).as_text().count("stablehlo.case")

    three = "whether to draw initial states, to learn, and to move the actor"
    assert branches("csac", 1) == branches("csac", 2) == 3, three
    # BatchNorm's gradient has constant branches too, of which XLA compiles that of the device.
    tiny = TINY["flashsac"]
    assert branches("flashsac", 1, **tiny) == branches("flashsac", 2, **tiny) > 3


@pytest.mark.parametrize(
    ("settings", "platform", "turns"),
    [
        ({"num_seeds": 2}, "cpu", False),
        ({"num_seeds": 2, **WIDE}, "cpu", True),
        ({"num_seeds": 2, **WIDE}, "gpu", False),
        ({"members": ({"tau": 0.1}, {"tau": 0.2}), **WIDE}, "cpu", True),
        (WIDE, "cpu", False),
    ],
    ids=str,
)
def test_large_agents_take_turns_on_a_cpu(settings, platform, turns, monkeypatch):
    """Two layers of 256 and a batch of 256: their batched products would leave the caches."""
    monkeypatch.setattr(population, "MANY_PRODUCTS", MANY_PRODUCTS)
    experiment = make_experiment(**settings)
    shapes = jax.eval_shape(population.init(experiment))
    assert population.take_turns(experiment.config, shapes, platform) is turns


def test_an_agent_without_data_waits_while_others_learn():
    experiment = make_experiment(num_seeds=2, warm_up_steps=0)
    state = population.init(experiment)()
    has, none = 0, 1
    size = state.replay.size.at[has].set(4)
    filled = state.replay.replace(size=size, next=size)
    state = state.replace(replay=filled, warm_up_left=jnp.int32(0))
    axes, keys = RunState.of_agents(0, None), jax.random.split(jax.random.PRNGKey(0), (2, 2))
    learn = jax.vmap(
        lambda state, keys: updates.learn(experiment, state, *keys, state.warm_up_left == 0),
        in_axes=(axes, 0),
        out_axes=(axes, 0, 0),
        axis_name=updates.AGENT_VMAP_AXIS,
    )
    new, _, trained = jax.jit(learn)(state, keys)
    assert trained.tolist() == [True, False]
    before, after = leaves(state.replace(replay=None), none), leaves(new.replace(replay=None), none)
    assert all((before[name] == after[name]).all() for name in before)
    assert (leaves(state, has)["train.log_alpha"] != leaves(new, has)["train.log_alpha"]).all()


def diverging(at, params, state, batch, key, *, networks, config):
    """Not finite where the learning rate is `at`."""
    loss, metrics = critic_loss(params, state, batch, key, networks=networks, config=config)
    return jnp.where(config.q_lr == at, jnp.nan, 1.0) * loss, metrics


def test_an_agent_that_is_lost_does_not_stop_the_others(tmp_path, capsys):
    config = make_config(logdir=str(tmp_path / "run"), members=({"q_lr": 0.5}, {"q_lr": 0.001}))
    result = train.train(config, losses=Losses(critic=partial(diverging, jnp.float32(0.5))))
    out = capsys.readouterr().out
    assert out.count("q_lr=0.5 is lost, the others continue: train/") == 1
    assert "without q_lr=0.5" in out
    assert np.isnan(result.metrics["eval/mean_reward"][0])
    assert np.isfinite(result.metrics["eval/mean_reward"][1])
    lost = event_files.read(tmp_path / "run" / "q_lr=0.5")
    assert max(lost["replay/size"]) == 32, "until it was lost"
    assert load_policy(tmp_path / "run").config.q_lr == 0.001, "the best is one that is left"
    never = Losses(critic=lambda *a, **k: (jnp.nan * critic_loss(*a, **k)[0], {}))
    with pytest.raises(TrainingError, match="all 2 agents are lost"):
        train.train(config, overwrite=True, losses=never)


def test_the_policy_is_the_chosen_agents_or_the_best(seeds):
    where, many, alone = seeds
    observation = jnp.ones((5, 2))
    for i, one in enumerate(alone):
        policy = load_policy(where / "many", seed_index=i)
        assert policy.config.seed == SEEDS[i]
        actor = (one.state.train.actor_params, one.state.normalizer)
        action = acting.distribution(*actor, observation, **one.experiment.static).mode()
        np.testing.assert_allclose(policy.predict(observation)[0], action, 1e-4, 1e-5)
    best = int(np.argmax(many.metrics["eval/mean_reward"]))
    assert load_policy(where / "many").config.seed == SEEDS[best]
    with pytest.raises(UsageError, match=r"seed_index = 3: .* holds 3 agents, 0 to 2"):
        load_policy(where / "many", seed_index=3)
    with pytest.raises(UsageError, match=r"seed_index = 1: .* holds one agent"):
        load_policy(where / "one-3", seed_index=1)


def test_commands_take_all_agents(seeds, tmp_path, capsys):
    where, *_ = seeds

    def out(*arguments):
        code, out, err = run(capsys, *arguments)
        assert code == 0, err
        return out

    evaluate = ("eval", where / "many", "--episodes", 4)
    result = json.loads(out(*evaluate, "--json"))
    assert [*result["agents"]] == ["seed_3", "seed_4", "seed_5"]
    means = [agent["return"]["mean"] for agent in result["agents"].values()]
    assert result["return"]["mean"] == pytest.approx(np.mean(means))
    assert result["return"]["iqm_low"] <= result["return"]["iqm"] <= result["return"]["iqm_high"]
    assert "interval over agents" in out(*evaluate)
    second = json.loads(out(*evaluate, "--json", "--seed_index", 1))
    assert second["return"]["mean"] == means[1]
    curves = ("--out", tmp_path / "curves.json")
    assert "3 runs in 1 group" in out("plot", where / "many", *curves)
    single = [where / f"one-{seed}" for seed in SEEDS]
    assert "6 runs in 1 group" in out("plot", where / "many", *single, *curves)
    assert out("info", where / "many").count("seed_") == 3
    out("export", where / "many", "--seed_index", 2, "--out", tmp_path / "policy.npz")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"num_seeds": 0}, "num_seeds = 0: Input should be greater than 0"),
        ({"seed": 2**32 - 1, "num_seeds": 2}, "seeds end at 4294967295"),
        ({"members": [{"batch_size": 8}]}, "batch_size is no number that agents can differ in"),
        ({"members": [{"tau": 2.0}]}, "tau = 2.0: Input should be less than or equal to 1"),
        ({"members": [{"tau": 0.1}, {"tau": 0.1}]}, "tau=0.1 is there twice"),
        (
            {"members": [{"target_entropy": -1.0}, {"tau": 0.1}]},
            "target_entropy is auto for one of them",
        ),
        ({"members": "tau=1"}, "not JSON"),
        (
            {"env": "Pendulum-v1", "num_seeds": 2},
            "an environment on the host cannot be shared by 2 agents",
        ),
    ],
)
def test_bad_input(flags, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        train.train(resolve({"env": "counter", **flags, "logdir": str(tmp_path / "run")}))
    assert not (tmp_path / "run").exists()
