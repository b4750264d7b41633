"""What a policy needs to know of an environment to act without it. Imports no JAX."""

from typing import Any


def spaces(env: Any) -> dict[str, Any]:
    """Return what a policy needs to know of `env` to act without it, ready for JSON.

    Returns:
      "observation": a shape, or for a dictionary or tuple the actor's parts by key, in order.
      "views": see `Views.spaces`.
      "action": "shape", "dtype", and flat "low" and "high"; [-1, 1] unless `env.spaces` differs.
      "control": see `control`.
    """
    n = env.action_size
    action = {"shape": [n], "dtype": "float32", "low": [-1.0] * n, "high": [1.0] * n}
    own = getattr(env, "spaces", None) or {"observation": [env.observation_size]}
    return {"action": action, **own, **control(getattr(env, "env", env))}


def mujoco_model(env: Any) -> Any:
    """Return an environment's MuJoCo model; None where it has none."""
    of = (env, "mj_model"), (getattr(env, "sys", None), "mj_model"), (env, "model")
    models = (getattr(*name, None) for name in of)
    return next((model for model in models if hasattr(model, "nu")), None)


def posed(model: Any, data: Any, inner: Any) -> Any:
    """Return MuJoCo's `data` with positions of a state in JAX, and all that follows from them."""
    import mujoco

    physics: Any = getattr(inner, "pipeline_state", getattr(inner, "data", inner))
    data.qpos[:] = physics.qpos if hasattr(physics, "qpos") else physics.q
    for name in ("mocap_pos", "mocap_quat"):
        if hasattr(physics, name):
            getattr(data, name)[:] = getattr(physics, name)
    mujoco.mj_forward(model, data)  # pyright: ignore[reportAttributeAccessIssue]
    return data


def control(env: Any) -> dict[str, Any]:
    """Return under "control" what it takes to act in the world, of an environment in MuJoCo.

    Returns:
      "period": seconds from one action to the next, but for `action_repeat`.
      "actuators": names, in the order of the action.
      "action_scale": of Playground's tasks, where actions are offsets to a pose.
    """
    model, config = mujoco_model(env), getattr(env, "_config", None)
    if model is None or not hasattr(env, "dt"):
        return {}
    names = [model.actuator(i).name for i in range(model.nu)]
    scale = getattr(config, "action_scale", None)
    own = {} if scale is None else {"action_scale": float(scale)}
    return {"control": {"period": float(env.dt), "actuators": names, **own}}
