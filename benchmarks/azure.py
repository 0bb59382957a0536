"""The row `azure`: a workspace of 200 endpoints and 400 deployments, at a Resource Manager that answers in 50 ms.

Azure is the tests' own emulator, in a process beside, and `az` a script of it: what a person's `az` takes to give a
token (one or two seconds) is not counted here.
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

ENDPOINTS, DEPLOYMENTS = 200, 2
_ALL = re.compile(r"\b(\d+) services\b")
_START_S = 60.0


@dataclass(frozen=True)
class _Place:
    settings: Path
    path: str  # PATH with the emulator's az on it

    def environ(self, stage: Stage) -> dict[str, str]:
        return {**stage.environ(), "PATH": self.path}

    def command(self) -> list[str]:
        return command("--config", str(self.settings))


def rows_of(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    """First frame with every deployment, keys while keys of endpoints are fetched, and the cost of standing there."""
    with _emulated(stage.folder) as place:
        first, whole, tails = [], [], []
        for _ in range(runs + 1):
            with running(place.command(), place.environ(stage)) as terminal:
                first.append(terminal.until(_filled, "a screen of deployments", 30.0) - terminal.began)
                whole.append(terminal.until(_listed, "every deployment", 30.0) - terminal.began)
                # From the first frame on: what is behind the endpoints is only now asked for. The worst comes to the
                # top meanwhile, and any row may be the last one: so from end to end.
                count = 30 if quick else 100
                tails.append(p99(press_each(terminal, ["Gg"[place % 2] for place in range(count)])) * 1e3)
        with running(place.command(), place.environ(stage)) as terminal:
            terminal.until(_listed, "every deployment", 30.0)
            terminal.watch(2 * SETTLE_S)
            before, window_s = terminal.cpu_s(), 20.0 if quick else 40.0
            terminal.watch(window_s)
            cpu, memory = (terminal.cpu_s() - before) / window_s * 100, terminal.rss_mb()
    what = f"tritonctl to a screen of the {ENDPOINTS * DEPLOYMENTS} deployments of {ENDPOINTS} endpoints"
    return [
        Figure("azure", what, "s", tuple(first[1:]), 2.5, note="emulated, 50 ms an answer"),
        Figure("azure", "… to all of them", "s", tuple(whole[1:]), note="27 turns of 8 requests take 1.35 s of it"),
        Figure("azure", "… key press to repaint while it loads, p99", "ms", tuple(tails[1:]), 60.0),
        Figure("azure", "… standing on the services table: CPU", "% of a core", (cpu,)),
        Figure("azure", "… resident memory", "MB", (memory,)),
    ]


def _listed(lines: list[str]) -> bool:
    found = _ALL.search(lines[0])
    return found is not None and int(found[1]) >= ENDPOINTS * DEPLOYMENTS


def _filled(lines: list[str]) -> bool:
    return sum("Succeeded" in line for line in lines) > 25


@contextmanager
def _emulated(folder: Path) -> Iterator[_Place]:
    """Raises NotSeen where the emulator does not start: azure-identity and trustme are needed."""
    argv = [sys.executable, "-m", "tests.azure", "--crowd", str(ENDPOINTS), "--latency", "0.05"]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        told = _told(process)
        given = re.search(r"^settings +(\S+)$", told, re.MULTILINE)
        az = re.search(r"^az +(\S+)/az$", told, re.MULTILINE)
        if given is None or az is None:
            raise NotSeen(f"the emulator of Azure did not start: {told}")
        settings = folder / "azure.toml"
        settings.write_text(Path(given[1]).read_text(encoding="utf-8").partition("[backends.aks]")[0], encoding="utf-8")
        yield _Place(settings, f"{az[1]}{os.pathsep}{os.environ.get('PATH', '')}")
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
