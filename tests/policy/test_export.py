"""Exported policies act as the policy does, wherever they are loaded."""

import functools
import json
import pathlib
import shutil
import subprocess
import sys
import types

import jax
import mujoco
import numpy as np
import pytest
from flax import linen as nn
from gymnasium import spaces
from helpers import actors
from helpers.envs import Asymmetric, Counter
from helpers.gymnasium_envs import Drawing
from helpers.runs import make_config, make_policy

import mjx_sac
from mjx_sac import networks
from mjx_sac.algorithms import td3
from mjx_sac.config import Config, UsageError
from mjx_sac.envs.checked import adapt
from mjx_sac.envs.host.gymnasium import GymnasiumEnvironment
from mjx_sac.policy import export, numpy_policy

NETWORKS = [
    ("relu", (8, 16), True),
    ("tanh", (8,), False),
    ("elu", (16, 8, 4), True),
    ("gelu", (8, 8), True),
    ("silu", (8,), True),
]
FORMS = ["npz", "stablehlo", "onnx"]
OBSERVATIONS = (10 * np.random.default_rng(0).normal(size=(1000, 6))).astype(np.float32)


class Valve(Drawing):
    """Observations are far from normalised, actions far from [-1, 1]."""

    observation_space = spaces.Box(-100, 100, (2, 3))
    action_space = spaces.Box(np.float32([-3, 0]), np.float32([3, 0.5]))


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network[0])
def policy(request):
    activation, hidden_sizes, normalize = request.param
    overrides = {
        "activation": activation,
        "hidden_sizes": hidden_sizes,
        "normalize_observations": normalize,
    }
    return make_policy(GymnasiumEnvironment("valve", Valve), **overrides)


def load(path, form):
    """A function from observations to actions, by what the format is for."""
    if form == "npz":
        return numpy_policy.load(path)
    if form == "stablehlo":
        return jax.export.deserialize(bytearray(path.read_bytes())).call
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    return lambda observation: session.run(None, {"observation": observation})[0]


@pytest.mark.parametrize("form", FORMS)
def test_actions_equal_the_policys_in_any_batch(policy, tmp_path, form):
    path = tmp_path / "policy"
    difference = mjx_sac.export_policy(policy, path, form)
    act = load(path, form)
    expected, _ = policy.predict(OBSERVATIONS)
    np.testing.assert_allclose(act(OBSERVATIONS), expected, atol=1e-5)
    assert difference <= 1e-5
    for n in (1, 7):
        assert act(OBSERVATIONS[:n]).shape == (n, 2)
    # The actions are spread over the bounds, so rescaling is inside.
    assert (expected.min(0) < [-2, 0.1]).all()
    assert (expected.max(0) > [2, 0.4]).all()


OTHERS = {
    "residual": lambda: actors.Residual(2),
    "varied": lambda: actors.Varied(2),
    "normed": lambda: actors.Normed(2),
    "td3": lambda: td3.networks(td3.Config(hidden_sizes=(8, 8), activation="elu"), 2).actor,
}


@functools.cache
def other(name):
    """Return the policy of one of `OTHERS`, as if trained, in the valve."""
    modules = networks.Networks(OTHERS[name](), None)
    policy = make_policy(GymnasiumEnvironment("valve", Valve), modules)
    policy.actor_params = actors.scattered(policy.actor_params)
    return policy


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", OTHERS)
def test_other_actors_export_by_their_operations(name, tmp_path, form):
    policy = other(name)
    assert mjx_sac.export_policy(policy, tmp_path / "policy", form) <= 1e-5
    actions = np.asarray(load(tmp_path / "policy", form)(OBSERVATIONS))
    expected, _ = policy.predict(OBSERVATIONS)
    np.testing.assert_allclose(actions, expected, atol=1e-5)
    inside = (np.abs(expected - policy.bounds["middle"]) < 0.9 * policy.bounds["half"]).mean(0)
    assert (inside > 0.2).all()  # most are not saturated, where any export would do
    assert (expected.std(0) > 0.05 * policy.bounds["half"]).all()


def test_every_activation_and_operation_was_tried():
    known = Config.model_fields["activation"].annotation.__args__
    assert {name for name, *_ in NETWORKS} == set(known)
    tried = {step.name for name in OTHERS for step in export.operations(other(name))}
    assert tried | {"round"} == set(numpy_policy.OPERATIONS)


def test_an_npz_is_operations_and_their_arrays(tmp_path):
    """It says relu(2 x - 1) + x, which is (8, -1) at (3, -1)."""
    np.savez(
        tmp_path / "policy.npz",
        **{
            "operations": ["affine", "relu", "add"],
            "0.kernel": 2 * np.eye(2, dtype=np.float32),
            "0.bias": np.float32([-1, -1]),
            "2.back": 2,
        },
    )
    action = numpy_policy.load(tmp_path / "policy.npz")([3, -1])
    assert (action.tolist(), action.dtype) == ([8, -1], np.float32)


@pytest.mark.parametrize("known", [{"activation": "relu"}, {"operations": ["tanh", "attention"]}])
def test_an_npz_of_another_version_is_one_line(known, tmp_path):
    np.savez(tmp_path / "policy.npz", **known)
    with pytest.raises(
        ValueError,
        match=r"operations = (none|attention): not known here: copy numpy_policy.py",
    ):
        numpy_policy.load(tmp_path / "policy.npz")


@pytest.mark.parametrize("name", OTHERS)
def test_numpy_stays_in_float_32(name, tmp_path):
    mjx_sac.export_policy(other(name), tmp_path / "policy.npz", "npz")
    assert numpy_policy.load(tmp_path / "policy.npz")(OBSERVATIONS[0].tolist()).dtype == np.float32


@pytest.mark.parametrize("form", FORMS)
def test_whole_numbers_are_rounded_inside(tmp_path, form):
    class Gears(Valve):
        action_space = spaces.Box(0, 6, (1,), np.int64)

    policy = make_policy(GymnasiumEnvironment("gears", Gears))
    mjx_sac.export_policy(policy, tmp_path / "policy", form)
    actions = np.asarray(load(tmp_path / "policy", form)(OBSERVATIONS))
    np.testing.assert_array_equal(actions, policy.predict(OBSERVATIONS)[0])
    assert set(np.unique(actions)) <= set(range(7))


def test_an_npz_needs_one_file_and_numpy(tmp_path):
    """In a process without JAX and this package, in a directory with the loader and the file."""
    policy = make_policy(GymnasiumEnvironment("valve", Valve))
    mjx_sac.export_policy(policy, tmp_path / "policy.npz", "npz")
    shutil.copy(numpy_policy.__file__, tmp_path)
    code = """if True:
        import sys
        absent = ("jax", "flax", "mjx_sac", "gymnasium")
        sys.modules.update(dict.fromkeys(absent))  # none of these can be imported
        import numpy as np, numpy_policy
        np.save("actions", numpy_policy.load("policy.npz")(np.load("observations.npy")))"""
    np.save(tmp_path / "observations.npy", OBSERVATIONS)
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "actions.npy"), policy.predict(OBSERVATIONS)[0], atol=1e-5
    )


def test_large_numbers_overflow_nothing(tmp_path):
    """Without normalisation the hidden layers see what the environment says."""
    for activation in ("elu", "silu"):
        policy = make_policy(
            GymnasiumEnvironment("valve", Valve),
            activation=activation,
            normalize_observations=False,
        )
        mjx_sac.export_policy(policy, tmp_path / "policy.npz", "npz")
        with np.errstate(all="raise", under="ignore"):
            actions = numpy_policy.load(tmp_path / "policy.npz")(1e4 * OBSERVATIONS)
        np.testing.assert_allclose(actions, policy.predict(1e4 * OBSERVATIONS)[0], atol=1e-3)


def test_stablehlo_runs_on_every_platform(tmp_path):
    mjx_sac.export_policy(make_policy(Counter()), tmp_path / "policy", "stablehlo")
    assert jax.export.deserialize(bytearray((tmp_path / "policy").read_bytes())).platforms == (
        "cpu",
        "cuda",
        "tpu",
    )


ROBOT = """
<mujoco>
  <worldbody><body><joint name="hip"/><geom size="1"/></body></worldbody>
  <actuator><position name="hip_motor" joint="hip"/></actuator>
</mujoco>
"""


class Robot(Asymmetric):
    mj_model, dt = mujoco.MjModel.from_xml_string(ROBOT), 0.02
    _config = types.SimpleNamespace(action_scale=0.5)


@pytest.mark.parametrize("form", ["onnx", "stablehlo"])
def test_onnx_and_a_file_beside_stablehlo_say_what_the_numbers_are(tmp_path, form):
    onnx = pytest.importorskip("onnx")
    env = adapt("robot", Robot(), make_config(critic_observation="state"))
    mjx_sac.export_policy(make_policy(env, action_repeat=2), tmp_path / "policy", form)
    if form == "onnx":
        model = onnx.load(tmp_path / "policy")
        known = {prop.key: json.loads(prop.value) for prop in model.metadata_props}
    else:
        known = json.loads((tmp_path / "policy.json").read_text())
    assert known == {
        "env": "counter",
        "algorithm": "sac",
        "iterations": 32,
        "observation": {"state": [2]},
        "action_low": [-1.0],
        "action_high": [1.0],
        "actuators": ["hip_motor"],
        "action_scale": 0.5,
        "control_period": 0.04,
    }


def test_onnx_has_an_old_opset_and_named_ends(tmp_path):
    onnx = pytest.importorskip("onnx")
    mjx_sac.export_policy(make_policy(Counter()), tmp_path / "policy", "onnx")
    model = onnx.load(tmp_path / "policy")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 13)]
    ends = [
        (end.name, end.type.tensor_type.shape.dim)
        for end in (*model.graph.input, *model.graph.output)
    ]
    assert [(name, dim[0].dim_param, dim[1].dim_value) for name, dim in ends] == [
        ("observation", "batch", 2),
        ("action", "batch", 1),
    ]


class Linear(nn.Module):
    @nn.compact
    def __call__(self, observation):
        return networks.TanhGaussian.from_network(nn.Dense(2)(observation))


def test_actors_without_operations_export_as_stablehlo(tmp_path):
    policy = make_policy(Counter(), networks.Networks(Linear(), None))
    mjx_sac.export_policy(policy, tmp_path / "policy", "stablehlo")
    expected, _ = policy.predict(OBSERVATIONS[:, :2])
    np.testing.assert_allclose(
        load(tmp_path / "policy", "stablehlo")(OBSERVATIONS[:, :2]), expected, atol=1e-5
    )
    for form in ("npz", "onnx"):
        with pytest.raises(UsageError, match=r"your own Linear, .* `operations`: use stablehlo"):
            mjx_sac.export_policy(policy, tmp_path / form, form)
        assert not (tmp_path / form).exists()


def test_operations_that_are_not_the_actors_are_refused(tmp_path):
    modules = networks.Networks(actors.Contradicting(2, (8,)), None)
    policy = make_policy(GymnasiumEnvironment("valve", Valve), modules)
    mjx_sac.export_policy(policy, tmp_path / "policy.hlo", "stablehlo")
    for form in ("npz", "onnx"):
        with pytest.raises(UsageError, match=r"not what its mode\(\) computes: .* use stablehlo"):
            mjx_sac.export_policy(policy, tmp_path / form, form)
        assert not (tmp_path / form).exists()


def test_an_unknown_format_is_one_line(tmp_path):
    with pytest.raises(
        UsageError, match="format = 'tf': no such format; there are stablehlo, npz, onnx"
    ):
        mjx_sac.export_policy(make_policy(Counter()), tmp_path / "policy", "tf")


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(
        UsageError, match=r"out = .*No such file or directory: choose another --out"
    ):
        mjx_sac.export_policy(
            make_policy(Counter()), pathlib.Path(tmp_path / "none" / "policy"), "npz"
        )


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"format = 'onnx': needs onnxruntime: .*--extra onnx"):
        mjx_sac.export_policy(make_policy(Counter()), tmp_path / "policy", "onnx")
    assert not list(tmp_path.iterdir())
