"""`load_policy`: acts as in training, in the environment's units, from the checkpoint alone."""

import copy as copy_lib
import hashlib
import json
import pickle
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array
from helpers.gymnasium_envs import Drawing
from helpers.policies import constant
from helpers.runs import make_experiment, make_policy, save_run

import mjx_sac
from mjx_sac import networks
from mjx_sac.config import UsageError
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.training.compiled import acting

pytestmark = pytest.mark.smoke


def gym_env(observation, action) -> GymnasiumEnvironment:
    return GymnasiumEnvironment("spaces", lambda: Drawing(observation, action))


OBSERVATIONS = np.random.default_rng(0).normal(size=(6, 2))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("policy") / "run"
    return directory, save_run(directory)


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run[0], tmp_path / "copy")


def rewrite_manifest(directory, **changes) -> None:
    """As another version would have written it; None removes an entry."""
    path = directory / "checkpoints" / "32" / "policy" / "manifest.json"
    body = {
        name: value
        for name, value in {**json.loads(path.read_text()), **changes}.items()
        if value is not None
    }
    del body["sha256"]
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**body, "sha256": digest}))


@pytest.mark.parametrize("normalize_observations", [True, False])
def test_it_acts_as_in_training(copy, run, normalize_observations):
    state = run[1]
    config = make_experiment(normalize_observations=normalize_observations).config
    rewrite_manifest(copy, config=config.model_dump(mode="json"))
    policy = mjx_sac.load_policy(copy)
    experiment = make_experiment(normalize_observations=normalize_observations)
    args = (state.train.actor_params, state.normalizer, jnp.float32(OBSERVATIONS))
    expected = acting.distribution(*args, **experiment.static).mode()
    action, nothing = policy.predict(OBSERVATIONS)
    assert isinstance(action, np.ndarray)
    assert (action.shape, action.dtype, nothing) == ((6, 1), np.float32, None)
    np.testing.assert_allclose(action, expected, atol=1e-6)
    assert np.ptp(action) > 0.01, "observations make a difference"


def test_one_observation_gives_one_action_and_the_state(run):
    policy = mjx_sac.load_policy(run[0])
    batch, _ = policy.predict(OBSERVATIONS)
    action, state = policy.predict(
        list(OBSERVATIONS[2]), state="mine", episode_start=np.array([True]), deterministic=True
    )
    assert action.shape == (1,)
    np.testing.assert_allclose(action, batch[2], atol=1e-6)
    assert state == "mine"


def test_apply_is_pure_and_samples_with_a_key(run):
    directory, state = run
    policy = mjx_sac.load_policy(directory)
    expected, _ = policy.predict(OBSERVATIONS)
    np.testing.assert_allclose(jax.jit(jax.vmap(policy.apply))(OBSERVATIONS), expected, atol=1e-6)
    key = jax.random.PRNGKey(5)
    args = (state.train.actor_params, state.normalizer, jnp.float32(OBSERVATIONS))
    sample = acting.distribution(*args, **make_experiment().static).sample(key)[0]
    np.testing.assert_allclose(policy.apply(OBSERVATIONS, key), sample, atol=1e-6)
    samples = [policy.predict(OBSERVATIONS[0], deterministic=False)[0] for _ in range(3)]
    assert len(np.unique(samples)) == 3


def test_new_parameters_and_statistics_take_effect(run):
    policy, other = mjx_sac.load_policy(run[0]), mjx_sac.load_policy(run[0])
    before = policy.predict(OBSERVATIONS)[0]
    constant(policy, 0.5)
    np.testing.assert_allclose(policy.predict(OBSERVATIONS)[0], np.tanh(0.5), atol=1e-6)
    policy.actor_params = other.actor_params
    np.testing.assert_array_equal(policy.predict(OBSERVATIONS)[0], before)
    policy.normalizer = policy.normalizer.replace(mean=policy.normalizer.mean + 1.0)
    np.testing.assert_allclose(policy.predict(OBSERVATIONS + 1.0)[0], before, atol=1e-6)


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy_lib.deepcopy])
def test_it_can_be_pickled_and_copied(run, copied):
    policy = mjx_sac.load_policy(run[0])
    expected = policy.predict(OBSERVATIONS)[0]
    other = copied(policy)
    np.testing.assert_array_equal(other.predict(OBSERVATIONS)[0], expected)
    constant(other, 0.0)
    np.testing.assert_array_equal(policy.predict(OBSERVATIONS)[0], expected)


def test_attributes_describe_the_policy(run):
    policy = mjx_sac.load_policy(str(run[0]), step=32)
    assert (policy.iterations, policy.observation_size, policy.action_size) == (32, 2, 1)
    assert (policy.action_low, policy.action_high) == ([-1], [1])
    assert policy.config.env == "counter"


@pytest.mark.parametrize(("bias", "expected"), [(-100, [[-2, 0]]), (0, [[0, 5]]), (100, [[2, 10]])])
def test_actions_have_the_bounds_and_shape_of_the_space(bias, expected):
    box = spaces.Box(np.array([[-2.0, 0.0]]), np.array([[2.0, 10.0]]), dtype=np.float64)
    policy = constant(make_policy(gym_env(spaces.Box(-1, 1, (3,)), box)), bias, bias)
    action, _ = policy.predict(np.zeros((4, 3)))
    assert action.dtype == np.float64
    np.testing.assert_array_equal(action, [expected] * 4)


def test_whole_numbers_are_rounded_and_do_not_overflow():
    environment = gym_env(spaces.Box(-1, 1, (1,)), spaces.Box(-128, 127, (3,), np.int8))
    policy = constant(make_policy(environment), -100, np.arctanh(0.5), 100)
    action, _ = policy.predict(np.zeros(1))
    assert action.dtype == np.int8
    assert action.tolist() == [-128, 63, 127], "-0.5 + 0.5 * 127.5 = 63.25"


TUPLE = spaces.Tuple([spaces.Box(-1, 1, (2, 2)), spaces.Dict({"z": spaces.Box(-1, 1, ())})])
NUMBERED = spaces.Dict({1: spaces.Box(-1, 1, ()), 0: spaces.Box(-1, 1, (1,))})
GRID = {
    "scalars": (spaces.Box(-1, 1, ()), spaces.Box(-2, 3, ())),
    "bytes": (spaces.Box(0, 255, (1, 2), np.uint8), spaces.Box(0, 255, (2, 1), np.uint8)),
    "one": (spaces.Box(-1, 1, (1,), np.float64), spaces.Box(-0.1, 0.1, (1,), np.float64)),
    "numbered": (NUMBERED, spaces.Box(-(2**31), 2**31 - 1, (), np.int32)),
    "tuple": (TUPLE, spaces.Box(np.float16(-0.3), np.float16(0.7), (1, 2), np.float16)),
    "flags": (spaces.Box(0, 1, (3,), np.bool_), spaces.Box(-5, 7, (2,), np.int64)),
}


@pytest.mark.parametrize("name", GRID)
def test_any_shape_and_type_singly_and_in_a_batch(name):
    """Every action is one of the space, at its ends too; 0.1 and 2^31 - 1 are no float32."""
    observation, action = GRID[name]
    policy = make_policy(gym_env(observation, action))
    observation.seed(0)
    some = [observation.sample() for _ in range(3)]
    batch = create_empty_array(observation, 3)
    batch = concatenate(observation, some, batch)
    for outputs in ([-100] * policy.action_size, [100] * policy.action_size, None):
        if outputs:
            constant(policy, *outputs)
        together, _ = policy.predict(batch)
        assert together.shape == (3, *action.shape)
        for one, expected in zip(some, together, strict=True):
            acted, _ = policy.predict(one)
            assert acted in action, acted
            assert acted.dtype == action.dtype
            np.testing.assert_array_equal(acted, expected)


def test_dictionaries_and_tuples_are_flattened(tmp_path):
    """The environment does not exist here: the checkpoint says what its parts are."""
    parts = {
        "b": spaces.Box(-1, 1, (2,)),
        "a": spaces.Tuple([spaces.Box(-1, 1, (1, 2)), spaces.Box(-1, 1, ())]),
    }
    space = spaces.Dict(list(parts.items()))  # from pairs it keeps their order
    save_run(tmp_path, gym_env(space, spaces.Box(-1, 1, (1,))), env="gone:make")
    policy = mjx_sac.load_policy(tmp_path)
    flat = np.arange(5.0) / 5
    one = {"a": (flat[2:4].reshape(1, 2), flat[4]), "b": flat[:2]}
    expected, _ = policy.predict(flat)
    np.testing.assert_array_equal(policy.predict(one)[0], expected)
    batch = {
        "b": np.stack([flat[:2]] * 3),
        "a": (np.stack([flat[2:4].reshape(1, 2)] * 3), np.full(3, flat[4])),
    }
    np.testing.assert_allclose(policy.predict(batch)[0], [expected] * 3, atol=1e-6)
    with pytest.raises(
        ValueError,
        match=r"observation: without 'a'.* takes shape \(5,\) or \(batch, 5\), or the parts b, a",
    ):
        policy.predict({"b": flat[:2]})


BAD = [
    (np.zeros(3), r"observation: shape \(3,\): this policy takes shape \(2,\) or \(batch, 2\)"),
    (np.zeros((2, 3)), r"shape \(2, 3\)"),
    (1.0, r"shape \(\)"),
    ([0.0, np.nan], r"observation = nan at \[1\]"),
    (np.array([[0, 0], [np.inf, 0]]), r"observation = inf at \[1, 0\]"),
    ("left", "could not convert"),
    ({"a": 1}, "dict"),
]


@pytest.mark.parametrize(("observation", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_acted_on_is_one_line(run, observation, message):
    with pytest.raises(ValueError, match=message) as error:
        mjx_sac.load_policy(run[0]).predict(observation)
    assert isinstance(error.value, UsageError)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("env", "bound"), [("inverted_pendulum", 1), ("Pendulum-v1", 2)])
def test_an_older_checkpoint_takes_bounds_from_its_environment(copy, env, bound):
    rewrite_manifest(copy, spaces=None, config={"env": env, "hidden_sizes": [8]})
    policy = mjx_sac.load_policy(copy)
    assert (policy.action_low.tolist(), policy.action_high.tolist()) == ([-bound], [bound])


def spoil_bytes(directory) -> None:
    policy = directory / "checkpoints" / "32" / "policy"
    path = next(
        path for path in policy.iterdir() if path.name != "manifest.json" and len(path.name) == 64
    )
    path.write_bytes(path.read_bytes()[::-1])


UNUSABLE = [
    (lambda path: shutil.rmtree(path), r"no such directory"),
    (lambda path: shutil.rmtree(path / "checkpoints"), r"no checkpoint there"),
    (spoil_bytes, r"has been changed: its SHA-256 differs: there is no other checkpoint"),
    (lambda path: rewrite_manifest(path, schema=9), r"has schema 9.*upgrade mjx-sac"),
    (
        lambda path: (path / "checkpoints" / "32" / "policy" / "manifest.json").unlink(),
        r"cannot be read",
    ),
]


@pytest.mark.parametrize(
    ("spoil", "message"), UNUSABLE, ids=["none", "empty", "damaged", "newer", "cut"]
)
def test_a_run_that_cannot_be_used_is_one_line(copy, spoil, message):
    spoil(copy)
    with pytest.raises(UsageError, match=message):
        mjx_sac.load_policy(copy)


def test_a_step_that_was_not_saved_is_refused(run):
    with pytest.raises(UsageError, match=r"step = 33: no such checkpoint in .*; there are 32"):
        mjx_sac.load_policy(run[0], step=33)


def test_neither_replay_buffer_nor_simulators_are_needed(copy):
    shutil.rmtree(copy / "checkpoints" / "32" / "state")
    code = """if True:
        import sys, mjx_sac
        print(mjx_sac.load_policy(sys.argv[1]).predict([0.0, 0.0])[0].shape)
        print(sorted({"brax", "mujoco", "orbax", "tensorboardX"} & set(sys.modules)))"""
    command = [sys.executable, "-c", code, copy]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(1,)", "[]"]


def test_own_networks_must_be_passed_again(tmp_path):
    class Linear(nn.Module):
        @nn.compact
        def __call__(self, observation):
            return networks.TanhGaussian.from_network(nn.Dense(2)(observation))

    mine = networks.Networks(Linear(), networks.Critic((8,)))
    state = save_run(tmp_path, modules=mine)
    with pytest.raises(UsageError, match="networks of your own: pass them as `networks`"):
        mjx_sac.load_policy(tmp_path)
    policy = mjx_sac.load_policy(tmp_path, networks=mine)
    dense = state.train.actor_params["params"]["Dense_0"]
    scaled = (OBSERVATIONS - [-1, 0]) / np.sqrt([1, 2])  # as `save_run` has it
    expected = np.tanh(scaled @ dense["kernel"] + dense["bias"])[:, :1]
    np.testing.assert_allclose(policy.predict(OBSERVATIONS)[0], expected, atol=1e-5)
