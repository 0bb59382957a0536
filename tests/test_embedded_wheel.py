"""Where the embedded server cannot run it says why and what to type instead, at once."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backends.embedded import wheel
from backends.embedded.server import SAMPLES, demo_options, docker_advice
from tests import components

INSTEAD = docker_advice(demo_options())


def test_the_advice_is_the_same_repository_on_tritons_own_image() -> None:
    assert INSTEAD.startswith("docker run --rm ")
    assert f"-v {SAMPLES}:/models:ro" in INSTEAD
    assert "nvcr.io/nvidia/tritonserver:24.10-py3 tritonserver --model-repository=/models" in INSTEAD
    assert "--model-control-mode=explicit --load-model=digits" in INSTEAD
    assert INSTEAD.endswith("tritonctl --url http://127.0.0.1:8000")


@pytest.mark.parametrize(
    ("target", "name", "value", "reason"),
    [
        (sys, "platform", "darwin", "needs Linux"),
        (platform, "machine", lambda: "aarch64", "needs an x86-64 processor, this is aarch64"),
        (os, "confstr", lambda _: "glibc 2.31", "needs glibc 2.35 or newer, this machine has 2.31"),
        (os, "confstr", lambda _: None, "has another C library"),
        (sys, "version_info", (3, 13, 0), "needs Python 3.12 or older, this is 3.13"),
    ],
)
def test_other_machines_are_told_the_docker_line(
    monkeypatch: pytest.MonkeyPatch, target: object, name: str, value: object, reason: str
) -> None:
    monkeypatch.setattr(target, name, value)
    with pytest.raises(wheel.CannotRun) as caught:
        wheel.find(INSTEAD)
    assert reason in caught.value.reason
    assert caught.value.advice == INSTEAD


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(wheel.CannotRun, match="nvidia-pytriton is not installed"):
        wheel.find(INSTEAD)


def test_a_missing_libpython_is_named_and_found_in_the_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    components.need("triton")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    cached = tmp_path / "tritonctl" / "lib" / f"libpython{version}.so.1.0"
    real = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda p: real(p) and (p == cached or not p.name.startswith("libpython")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(wheel.CannotRun) as caught:
        wheel.find(INSTEAD)
    assert caught.value.advice == f"apt-get install libpython{version}"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert wheel.find(INSTEAD).libpython == cached


def test_numpy_2_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    components.need("triton")
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2.1.0")
    with pytest.raises(wheel.CannotRun, match=r"needs numpy 1, 2\.1\.0 is installed"):
        wheel.find(INSTEAD)


def test_looking_is_instant_and_imports_nothing_heavy() -> None:
    components.need("triton")
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        wheel.find(INSTEAD)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1, seconds
    code = (
        "import sys; from backends.embedded import server, wheel; wheel.find('');"
        "print([m for m in ('pytriton', 'numpy', 'httpx', 'tritonclient', 'grpc') if m in sys.modules])"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert seen.stdout.strip() == "[]"


def test_a_required_component_that_is_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = components.Component("triton", lambda: "not here; get it there")
    monkeypatch.setitem(components.COMPONENTS, "triton", gone)
    monkeypatch.setenv("TRITONCTL_REQUIRE", "")
    with pytest.raises(pytest.skip.Exception, match="needs triton: not here; get it there"):
        components.need("triton")
    monkeypatch.setenv("TRITONCTL_REQUIRE", "triton,tmux")
    with pytest.raises(pytest.fail.Exception, match="triton is required"):
        components.need("triton")
    with pytest.raises(pytest.UsageError, match="no component"):
        components.required("tritn")
