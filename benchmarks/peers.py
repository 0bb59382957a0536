"""The same first figures of the dashboards that people know, where this machine has them on PATH."""

from __future__ import annotations

import os
import shutil

from benchmarks.figure import Figure
from benchmarks.terminal import running

PEERS = {"lazydocker": "Containers", "k9s": "Context"}
"""Program, and a word that its first useful frame shows."""
SETTLE_S = 6.0


def path_of(name: str) -> str | None:
    return shutil.which(name)


def figures(name: str, runs: int, quick: bool) -> list[Figure]:
    """Start and idle cost, over whatever it finds on this machine."""
    window_s = 10.0 if quick else 40.0
    environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    started, cpu, memory, written = [], [], [], []
    for _ in range(runs):
        with running([str(path_of(name))], environ, leave="\x03") as terminal:
            word = PEERS[name]
            at = terminal.until(lambda lines, word=word: any(word in line for line in lines), f"{word!r}")  # type: ignore[misc]
            started.append(at - terminal.began)
            terminal.watch(SETTLE_S)
            before = terminal.cpu_s()
            written.append(terminal.watch(window_s) / window_s / 1e3)
            cpu.append((terminal.cpu_s() - before) / window_s * 100)
            memory.append(terminal.rss_mb())
    return [
        Figure(name, f"{name} to its first useful frame", "s", tuple(started)),
        Figure(name, "… standing there: CPU", "% of a core", tuple(cpu)),
        Figure(name, "… resident memory", "MB", tuple(memory)),
        Figure(name, "… to the terminal", "kB/s", tuple(written)),
    ]
