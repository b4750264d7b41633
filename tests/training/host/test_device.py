"""Which device, how many, and where compiled programs are kept."""

import pathlib
import subprocess
import sys
import types

import jax
import pytest

from mjx_sac.config import UsageError
from mjx_sac.training.host import device

FORCED = "--xla_force_host_platform_device_count=3"


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


def test_all_but_the_devices_is_put_back(tmp_path):
    code = (
        "import os\nbefore = dict(os.environ), dict(jax.config.values)\n"
        "from mjx_sac.training.host import processes\n"
        "with processes.as_found(): device.set_up('cpu', deterministic=True, num_devices=2)\n"
        "print(before[0] == dict(os.environ), jax.device_count())\n"
        "print([x for x, y in before[1].items() if jax.config.values[x] != y])"
    )
    lines = run(code, XDG_CACHE_HOME=str(tmp_path), XLA_FLAGS=FORCED).splitlines()
    assert lines == ["True 3", "[]"]


def test_a_cache_that_cannot_be_written_to_is_not_used(tmp_path):
    (tmp_path / "file").touch()
    code = "device.set_up('cpu'); print(jax.config.jax_compilation_cache_dir)"
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        assert run(code, **{name: str(tmp_path / "file" / "cache")}) == "None"


def test_flags_that_xla_does_not_know_are_one_line():
    code = "try: device.set_up('cpu')\nexcept Exception as error: print(error)"
    out = run(code, XLA_FLAGS="--xla_nonsense")
    assert out.startswith("device = 'cpu': XLA refuses XLA_FLAGS (Unknown flag")
    assert "\n" not in out


def test_deterministic_kernels_after_others_are_refused(monkeypatch):
    jax.devices()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(UsageError, match=r"deterministic = True: .* start a new one"):
        device.set_up("auto", deterministic=True)
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    device.set_up("auto", deterministic=True)


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


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("flags : fma avx512_bf16 avx512_vnni", True),
        ("flags : fma amx_bf16", True),
        ("Features : fp asimd bf16", True),
        ("flags : fma avx512f", False),
        (None, None),
    ],
)
def test_what_a_processor_says_of_bfloat16(tmp_path, monkeypatch, text, answer):
    monkeypatch.setattr(device, "_CPU", tmp_path / "cpuinfo")
    if text:
        (tmp_path / "cpuinfo").write_text(text)
    assert device.multiplies_bfloat16() is answer


@pytest.mark.parametrize(
    ("capability", "answer"), [("7.5", False), ("8.0", True), ("10.0", True), ("gfx942", None)]
)
def test_what_a_gpu_says_of_bfloat16(monkeypatch, capability, answer):
    gpu = types.SimpleNamespace(platform="gpu", compute_capability=capability)
    monkeypatch.setattr(jax, "devices", lambda: [gpu])
    assert device.multiplies_bfloat16() is answer
