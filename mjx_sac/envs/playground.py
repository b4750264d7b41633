"""MuJoCo Playground's environments, named `playground/<Name>`; needs the extra `playground`."""

# pyright: basic
import contextlib
import io
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from mjx_sac.config import UsageError, nearest
from mjx_sac.envs.base import State, physics_precision, reset_shape
from mjx_sac.envs.brax import BraxEnvironment
from mjx_sac.types import Key, Step

MENAGERIE = "MUJOCO_MENAGERIE"
"""The environment variable with a directory of MuJoCo Menagerie, which has the robots' files."""


class WarpEnvironment(BraxEnvironment):
    """An environment on MJX-Warp.

    Warp keeps part of its state, such as the list of contacts, once for all environments and fills
    it again in every step. One environment's state is stored without that part, since it would not
    fit the next episode; zeros take its place before each step.
    """

    def __init__(self, env: Any) -> None:
        if hasattr(env, "_mjx_model"):  # what Playground's environments return as `mjx_model`
            env._mjx_model = _without_iteration_warnings(env._mjx_model)
        super().__init__(env)
        one = reset_shape(self._reset)
        with physics_precision():
            two = jax.eval_shape(jax.vmap(self._reset), jax.ShapeDtypeStruct((2, 2), jnp.uint32))
        # The shape where a leaf is shared by all environments, None where each has one.
        self._shared = jax.tree.map(lambda x, xs: x if x.shape == xs.shape else None, one, two)

    def reset(self, key: Key) -> State:
        return self._without_shared(super().reset(key))

    def step(self, state: State, action: jax.Array) -> tuple[State, Step]:
        def blank(shared: Any, own: Any) -> Any:
            return own if shared is None else jnp.zeros(shared.shape, shared.dtype)

        state, step = super().step(self._map(blank, state), action)
        return self._without_shared(state), step

    def _without_shared(self, state: State) -> State:
        return self._map(lambda shared, x: x if shared is None else None, state)

    def _map(self, function: Any, state: State) -> State:
        inner = jax.tree.map(function, self._shared, state.inner, is_leaf=lambda x: x is None)
        return state.replace(inner=inner)


def _without_iteration_warnings(model: Any) -> Any:
    """Silence Warp's line for every solver that uses all its iterations.

    Models for learning have few on purpose. Warnings of contacts that found no room stay.
    """
    from mujoco.mjx.third_party.mujoco_warp import OverflowType

    iterations = OverflowType.ITERATIONS | OverflowType.LS_ITERATIONS
    kept = model.opt._impl.warn_overflow & ~iterations
    return model.tree_replace({"opt._impl.warn_overflow": int(kept)})


def make(name: str, impl: str) -> BraxEnvironment:
    """Return Playground's `name`, as it configures it, on MJX's implementation `impl`."""
    from mujoco_playground import registry  # pyright: ignore[reportMissingImports]

    if name not in registry.ALL_ENVS:
        hint = nearest(name, list(registry.ALL_ENVS))
        raise UsageError(f"env = 'playground/{name}': Playground has no such environment{hint}")
    chooses = "impl" in registry.get_default_config(name)
    if impl == "warp" and not chooses:
        raise UsageError(f"impl = 'warp': playground/{name} has no choice of it: leave --impl out")
    if impl == "warp":
        import warp  # pyright: ignore[reportMissingImports]

        warp.config.log_level = warp.LOG_WARNING  # or it prints every kernel it loads
    with _robots(name):
        env = registry.load(name, config_overrides={"impl": impl} if chooses else None)
    return (WarpEnvironment if impl == "warp" else BraxEnvironment)(env)


def robots(name: str) -> pathlib.Path | None:
    """Return the directory in which `name` looks for its robot; None if it needs none."""
    from mujoco_playground import registry  # pyright: ignore[reportMissingImports]
    from mujoco_playground._src import mjx_env  # pyright: ignore[reportMissingImports]

    if name in registry.dm_control_suite.ALL_ENVS:
        return None
    return pathlib.Path(os.environ.get(MENAGERIE) or mjx_env.MENAGERIE_PATH).expanduser()


@contextlib.contextmanager
def _robots(name: str) -> Iterator[None]:
    """Have Playground look in `robots`; where it then finds no robot, say in a line what to do.

    Where its own directory is missing, Playground clones a repository into it, with some prints.

    Raises:
      UsageError: a file of the robot is missing.
    """
    from mujoco_playground._src import mjx_env  # pyright: ignore[reportMissingImports]

    directory, usual = robots(name), mjx_env.MENAGERIE_PATH
    if directory is None:
        yield
        return
    try:
        if os.environ.get(MENAGERIE) and not directory.is_dir():
            raise FileNotFoundError("no such directory")
        mjx_env.MENAGERIE_PATH = type(usual)(directory)
        with contextlib.redirect_stdout(sys.stderr), contextlib.redirect_stderr(io.StringIO()):
            yield
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        if isinstance(error, ValueError) and "opening file" not in str(error):
            raise
        why = str(error).partition("\n")[0]
        clone = "a clone of https://github.com/google-deepmind/mujoco_menagerie"
        raise UsageError(
            f"env = 'playground/{name}': no files of its robot in {directory} ({why}): "
            f"put {clone} there, or name one in the environment variable {MENAGERIE}"
        ) from error
    finally:
        mjx_env.MENAGERIE_PATH = usual
