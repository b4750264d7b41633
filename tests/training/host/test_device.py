"""Which device, how many, and where compiled programs are kept."""

import pathlib
import subprocess
import sys

import pytest

from mjx_sac.training.host import device


def run(code, **environment):
    """Standard output of a process that has not used JAX before."""
    code = f"from mjx_sac.training.host import device\nimport jax\n{code}"
    env = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    return done.stdout.strip()


def test_a_cpu_and_a_private_cache(tmp_path):
    code = (
        "device.set_up('cpu'); print(jax.default_backend(), jax.config.jax_compilation_cache_dir)"
    )
    cache = tmp_path / "mjx-sac" / "xla"
    assert run(code, XDG_CACHE_HOME=str(tmp_path)) == f"cpu {cache}"
    assert cache.stat().st_mode & 0o77 == 0


def test_a_device_that_is_not_there_is_one_line():
    code = (
        "try: device.set_up('tpu')\nexcept Exception as error: print(type(error).__name__, error)"
    )
    out = run(code)
    assert out.startswith("UsageError device = 'tpu': ")
    assert "\n" not in out


def test_another_device_than_the_one_in_use_is_refused(tmp_path):
    code = (
        "device.set_up('cpu'); jax.devices()\n"
        "try: device.set_up('gpu')\nexcept Exception as error: print(type(error).__name__, error)"
    )
    assert "already runs on cpu" in run(code, XDG_CACHE_HOME=str(tmp_path))


@pytest.mark.skipif(device.cores() < 2, reason="one core")
def test_each_core_can_be_a_device(tmp_path):
    code = "device.set_up('cpu', num_devices=2); print(jax.device_count())"
    assert run(code, XDG_CACHE_HOME=str(tmp_path)) == "2"


def test_the_cache_is_where_the_user_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert device.cache() == tmp_path / "mjx-sac" / "xla"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path)
    assert device.cache() == tmp_path / ".cache" / "mjx-sac" / "xla"
