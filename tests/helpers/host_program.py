"""A user's program that calls us: `python host_program.py LOGDIR`.

It has settings of its own, trains, evaluates, acts and exports twice: with JAX as it is, and with
every setting changed that a run must not see. It prints JSON: what of the process is not as it was,
and whether both gave the same.
"""

import contextlib
import ctypes
import gc
import io
import json
import logging
import os
import pathlib
import random
import signal
import socket
import sys
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

# What third parties do when they are imported is theirs.
import flax.linen  # noqa: F401
import gymnasium
import jax
import mujoco
import numpy as np
import tensorboardX  # noqa: F401

CHANGED = {
    "jax_enable_x64": True,
    "jax_default_prng_impl": "rbg",
    "jax_enable_custom_prng": True,
    "jax_legacy_prng_key": "error",
    "jax_random_seed_offset": 3,
    "jax_threefry_partitionable": False,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
    "jax_transfer_guard": "disallow",
    "jax_raise_persistent_cache_errors": True,
    "jax_disable_jit": True,
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_debug_key_reuse": True,
    "jax_check_tracer_leaks": True,
    "jax_error_checking_behavior_nan": "raise",
    "jax_error_checking_behavior_divide": "raise",
    "jax_error_checking_behavior_oob": "raise",
}
"""Not those under which this program itself could not compute, or would end."""


def abort_handler() -> int | None:
    """C's handler of SIGABRT."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(signal.SIGABRT, found := libc.signal(signal.SIGABRT, None))
    return found


def process() -> dict:
    """What belongs to the whole process, by name."""
    loggers = {name: logging.getLogger(name) for name in ("root", "absl", "jax", "mine")}
    return {
        "environment": dict(os.environ),
        "JAX": dict(jax.config.values),
        "signals": {number: str(signal.getsignal(number)) for number in signal.valid_signals()},
        "SIGABRT": abort_handler(),
        "warnings": [str(each) for each in warnings.filters],
        "loggers": {k: (x.level, x.disabled, len(x.handlers)) for k, x in loggers.items()},
        "gymnasium": gymnasium.logger.min_level,
        "mujoco": str(mujoco.get_mju_user_warning()),
        "random": str(random.getstate()),
        "NumPy": (str(np.random.get_state()), np.geterr(), np.get_printoptions()),
        "collector": (gc.isenabled(), gc.get_threshold()),
        "streams": [id(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "hooks": (str(sys.excepthook), sys.getrecursionlimit(), socket.getdefaulttimeout()),
        "directory": os.getcwd(),
        "path": list(sys.path),
    }


def differences(before: dict, after: dict) -> list[str]:
    return [f"{name}: {x} -> {after[name]}" for name, x in before.items() if after[name] != x]


def use(logdir: pathlib.Path) -> list:
    """Use all that the package offers; return results."""
    import mjx_sac
    from helpers.runs import COUNTER, make_config

    mjx_sac.train(make_config(env=COUNTER, logdir=str(logdir), iterations=64, device="cpu"))
    policy = mjx_sac.load_policy(logdir)
    played = mjx_sac.evaluate_policy(policy, episodes=2)
    mjx_sac.export_policy(policy, logdir / "policy.npz", "npz")
    mjx_sac.export_policy(policy, logdir / "policy.hlo", "stablehlo")
    sampled = policy.predict([[0.5, 1.0]], deterministic=False)[0]
    acted = policy.predict([[0.5, 1.0]])[0]
    return [acted.tolist(), sampled.tolist(), *(x.tolist() for x in played.values())]


def main(logdir: pathlib.Path) -> dict:
    signal.signal(signal.SIGTERM, lambda *_: None)
    logging.getLogger("absl").setLevel(logging.INFO)
    random.seed(7)
    np.random.seed(7)
    changes, results = [], []
    for name, settings in (("ordinary", {}), ("changed", CHANGED)):
        for setting, value in settings.items():
            jax.config.update(setting, value)
        before = process()
        with contextlib.redirect_stdout(io.StringIO()) as said:
            results.append(use(logdir / name))
        changes += differences(before, process())
    finite = all(map(np.all, map(np.isfinite, results[0])))
    same = finite and results[0] == results[1]
    return {"changes": changes, "same": same, "said": said.getvalue()}


if __name__ == "__main__":
    print(json.dumps(main(pathlib.Path(sys.argv[1]))))
