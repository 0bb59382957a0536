"""A real tritonserver for the tests of tensors and inference: start it on a repository, know its address, stop it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tritonctl.server.address import ServerAddress


@dataclass(frozen=True)
class RealTriton:
    http_port: int
    grpc_port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def address(self) -> ServerAddress:
        return ServerAddress(f"http://127.0.0.1:{self.http_port}", grpc=f"127.0.0.1:{self.grpc_port}")

    @property
    def http_only(self) -> ServerAddress:
        return ServerAddress(f"http://127.0.0.1:{self.http_port}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_model(repository: Path, name: str, config: str, code: str, files: Mapping[str, str] | None = None) -> None:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (version / "model.py").write_text(code)
    for path, content in (files or {}).items():
        (repository / name / path).write_text(content)


@contextmanager
def running_triton(work: Path, repository: Path, flags: Sequence[str] = ()) -> Iterator[RealTriton]:
    """Skips the test where the wheel nvidia-pytriton is missing; fails where TRITONCTL_REQUIRE names triton."""
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        if "triton" in os.environ.get("TRITONCTL_REQUIRE", "").split(","):
            pytest.fail("triton is required, but nvidia-pytriton is not installed: pip install 'tritonctl[demo]'")
        pytest.skip("no tritonserver: pip install 'tritonctl[demo]'")
    wheel = Path(found.origin).parent
    backends = work / "backends"
    shutil.copytree(wheel / "tritonserver" / "backends" / "python", backends / "python")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = shutil.copy2(
        wheel / "tritonserver" / "python_backend_stubs" / python / "triton_python_backend_stub", backends / "python"
    )
    os.chmod(stub, 0o755)
    http, grpc = free_port(), free_port()
    log = work / "server.log"
    prefix = f"test_{os.getpid()}_{http}_"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                str(wheel / "tritonserver" / "bin" / "tritonserver"),
                f"--model-repository={repository}",
                f"--backend-directory={backends}",
                f"--backend-config=python,shm-region-prefix-name={prefix}",
                "--http-address=127.0.0.1",
                f"--http-port={http}",
                "--grpc-address=127.0.0.1",
                f"--grpc-port={grpc}",
                "--allow-metrics=false",
                "--exit-timeout-secs=3",
                *flags,
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "LD_LIBRARY_PATH": str(wheel.parent / "nvidia_pytriton.libs"),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
            start_new_session=True,
        )
    try:
        _wait_ready(process, http, log)
        yield RealTriton(http, grpc, process, log)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)
        for region in Path("/dev/shm").glob(f"{prefix}*"):  # a killed server leaves them behind
            region.unlink(missing_ok=True)


def _wait_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with opener.open(f"http://127.0.0.1:{port}/v2/health/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"tritonserver did not become ready:\n{log.read_text(errors='replace')[-4000:]}")
