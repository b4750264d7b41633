"""What every test has: a CPU, a compilation cache of its own, and checked array shapes."""

import importlib
import importlib.metadata
import inspect
import os
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Compiled programs are shared by the tests of one session, in all its worker processes, and never
# with the user's.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="mjx-sac-tests-")
    # Most of their time is compilation, which takes a fourth of the time where programs need not be
    # fast. Processes that tests start inherit this.
    flags = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
    if importlib.metadata.version("jaxlib").startswith("0.10."):  # 0.12 does not know it
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join([*flags, os.environ.get("XLA_FLAGS", "")]).strip()

import jax
import pytest
from beartype import beartype
from jaxtyping import jaxtyped

from mjx_sac.training.host import device

# `train` uses it only while it runs; tests compile as much outside.
jax.config.update("jax_compilation_cache_dir", str(device.cache()))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

_CHECKED = (
    "algorithms.base",
    "losses",
    "training.compiled.acting",
    "training.compiled.batches",
    "training.compiled.epoch",
    "training.compiled.evaluate",
    "training.compiled.metrics",
    "training.compiled.normalizer",
    "training.compiled.replay",
)


def _check_shapes(module) -> None:
    """Check the annotated shapes and types of a module's functions at every call.

    Functions only: a state's fields are not always arrays (shapes, axes), as pytrees are used.
    """
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__:
            setattr(module, name, jaxtyped(function, typechecker=beartype))


for _name in _CHECKED:
    _check_shapes(importlib.import_module(f"mjx_sac.{_name}"))

from helpers import robots as robots_lib  # noqa: E402
from helpers.envs import Counter  # noqa: E402

from mjx_sac import envs  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def _environments():
    envs.register("counter", Counter)


@pytest.fixture(scope="module")
def robots():
    """Let Playground find the meshes of G1 and Go1; without a network a test of them is skipped."""
    pytest.importorskip("mujoco_playground")
    try:
        directory = robots_lib.directory()
    except OSError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUJOCO_MENAGERIE", str(directory))
        yield directory
