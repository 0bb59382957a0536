"""The row `azure`: a workspace of 200 endpoints and 400 deployments, at a Resource Manager that answers in 50 ms.

Azure is the tests' own emulator, in a process beside, and `az` a script of it: what a person's `az` takes to give a
token (one or two seconds) is not counted here. Keys are pressed from the first frame on, in a table that has the five
local servers already: while azure-identity is imported, the deployments come in and their servers are met.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.dashboard import SETTLE_S, p99, press_each
from benchmarks.figure import Figure
from benchmarks.servers import ROOT, Stage, command
from benchmarks.terminal import NotSeen, running
from tests.azure.entra import CLIENT, SECRET
from tests.azure.shapes import TENANT

ENDPOINTS, DEPLOYMENTS = 200, 2
_ALL = re.compile(r"\b(\d+) services\b")
_START_S = 60.0


@dataclass(frozen=True)
class _Place:
    settings: Path
    signed_in: Path  # the same as a service principal, which takes azure-identity, and with the local servers beside
    path: str  # PATH with the emulator's az on it

    def environ(self, stage: Stage) -> dict[str, str]:
        principal = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": SECRET}
        return {**stage.environ(), **principal, "PATH": self.path}


def rows_of(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    """First frame with every deployment, keys while all of it is loaded, and the cost of standing there."""
    with _emulated(stage) as place:
        environ = place.environ(stage)
        plain, signed_in = (command("--config", str(each)) for each in (place.settings, place.signed_in))
        first, whole, tails, worst = [], [], [], []
        for _ in range(runs + 1):
            with running(plain, environ) as terminal:
                first.append(terminal.until(_filled, "a screen of deployments", 30.0) - terminal.began)
                whole.append(terminal.until(_listed, "every deployment", 30.0) - terminal.began)
            with running(signed_in, environ) as terminal:
                terminal.until(lambda lines: any("local/" in line for line in lines), "the local servers", 30.0)
                # The worst comes to the top meanwhile, and any row may be the last one: so from end to end.
                times = press_each(terminal, ["Gg"[place % 2] for place in range(50 if quick else 150)], unmoved=1)
                terminal.until(_listed, "every deployment", 30.0)
                tails.append(p99(times) * 1e3)
                worst.append(max(times) * 1e3)
        with running(plain, environ) as terminal:
            terminal.until(_listed, "every deployment", 30.0)
            terminal.watch(2 * SETTLE_S)
            before, window_s = terminal.cpu_s(), 20.0 if quick else 40.0
            terminal.watch(window_s)
            cpu, memory = (terminal.cpu_s() - before) / window_s * 100, terminal.rss_mb()
    what = f"tritonctl to a screen of the {ENDPOINTS * DEPLOYMENTS} deployments of {ENDPOINTS} endpoints"
    return [
        Figure("azure", what, "s", tuple(first[1:]), 2.5, note="emulated, 50 ms an answer"),
        Figure("azure", "… to all of them", "s", tuple(whole[1:]), note="27 turns of 8 requests take 1.35 s of it"),
        Figure("azure", "… key press to repaint while it and azure-identity load, p99", "ms", tuple(tails[1:]), 60.0),
        Figure("azure", "… the slowest of them", "ms", tuple(worst[1:])),
        Figure("azure", "… standing on the services table: CPU", "% of a core", (cpu,)),
        Figure("azure", "… resident memory", "MB", (memory,)),
    ]


def _listed(lines: list[str]) -> bool:
    found = _ALL.search(lines[0])
    return found is not None and int(found[1]) >= ENDPOINTS * DEPLOYMENTS


def _filled(lines: list[str]) -> bool:
    return sum("Succeeded" in line for line in lines) > 25


@contextmanager
def _emulated(stage: Stage) -> Iterator[_Place]:
    """Raises NotSeen where the emulator does not start: azure-identity and trustme are needed."""
    argv = [sys.executable, "-m", "tests.azure", "--crowd", str(ENDPOINTS), "--latency", "0.05"]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        told = _told(process)
        given = re.search(r"^settings +(\S+)$", told, re.MULTILINE)
        az = re.search(r"^az +(\S+)/az$", told, re.MULTILINE)
        if given is None or az is None:
            raise NotSeen(f"the emulator of Azure did not start: {told}")
        plain, signed_in = stage.folder / "azure.toml", stage.folder / "signed_in.toml"
        workspace = Path(given[1]).read_text(encoding="utf-8").partition("[backends.aks]")[0]
        plain.write_text(workspace, encoding="utf-8")
        beside = stage.settings.read_text(encoding="utf-8")
        signed_in.write_text(beside + workspace.replace('"cli"', '"environment"'), encoding="utf-8")
        yield _Place(plain, signed_in, f"{az[1]}{os.pathsep}{os.environ.get('PATH', '')}")
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _told(process: subprocess.Popen[bytes]) -> str:
    """What it prints until it is ready."""
    assert process.stdout is not None
    end, told = time.monotonic() + _START_S, b""
    while b"try it:" not in told and time.monotonic() < end:
        if not select.select([process.stdout], [], [], 1.0)[0]:
            continue
        piece = os.read(process.stdout.fileno(), 1 << 16)
        if not piece:
            assert process.stderr is not None
            return told.decode() + process.stderr.read().decode()
        told += piece
    return told.decode()
