"""What a command imports: start-up time is part of the contract, and each of these costs tens of milliseconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.commands.process import ROOT, Tritonctl
from tests.servers import Running

RUN = """
import sys
from tui.cli import main
code = main(sys.argv[1:])
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""
HEAVY = {"textual", "rich", "click", "pygments", "numpy", "httpx", "grpc", "tritonclient", "google", "pynvml"}
HEAVY |= {"docker", "azure"}


@pytest.mark.parametrize("arguments", [("services",), ("models", "it"), ("load", "it", "echo", "--dry-run")])
def test_no_screen_no_tensors_no_cloud(tritonctl: Tritonctl, demo: Running, arguments: tuple[str, ...]) -> None:
    tritonctl.knows(it=demo)
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments, "-o", "json"],
        cwd=ROOT,
        env=tritonctl.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not HEAVY & set(done.stderr.split())
