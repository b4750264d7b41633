"""MuJoCo Playground's environments, by `playground/<Name>`; the extra `playground` installs them."""

# pyright: basic
from mjx_sac.config import UsageError, nearest
from mjx_sac.envs.brax import BraxEnvironment


def make(name: str) -> BraxEnvironment:
    """The environment with Playground's own default configuration, on MJX's JAX implementation.

    Raises:
      UsageError: Playground has no such environment.
    """
    from mujoco_playground import registry  # pyright: ignore[reportMissingImports]

    if name not in registry.ALL_ENVS:
        hint = nearest(name, list(registry.ALL_ENVS))
        raise UsageError(f"env = 'playground/{name}': MuJoCo Playground has no such environment{hint}")
    overrides = {"impl": "jax"} if "impl" in registry.get_default_config(name) else None
    return BraxEnvironment(registry.load(name, config_overrides=overrides))
