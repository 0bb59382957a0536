"""A measured figure with its bar, and the table and the JSON document that they are shown in."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """`runs` are all measured values; the figure is their median. Without a bar it is only told.

    `bar` is the most that it may be, or, with `at_least`, the least.
    """

    row: str
    what: str
    unit: str
    runs: tuple[float, ...]
    bar: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.runs)

    @property
    def passed(self) -> bool | None:
        if self.bar is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def line(self) -> tuple[str, ...]:
        sign = "≥" if self.at_least else "≤"
        bar = "" if self.bar is None else f"{sign} {_short(self.bar)}"
        word = {True: "pass", False: "MISS", None: ""}[self.passed]
        spread = f"{_short(min(self.runs))} – {_short(max(self.runs))}" if len(self.runs) > 1 else ""
        return (self.row, self.what, _short(self.value), self.unit, bar, word, spread, self.note)


@dataclass(frozen=True)
class Failed:
    """A row that could not be measured."""

    row: str
    why: str


HEADINGS = ("row", "what", "figure", "unit", "bar", "", "least – most", "")
_RIGHT = (2, 4)


def table(figures: Sequence[Figure]) -> str:
    rows = [HEADINGS, *(each.line() for each in figures)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEADINGS))]
    lines = []
    for row in rows:
        cells = (
            text.rjust(w) if n in _RIGHT else text.ljust(w) for n, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def document(machine: str, figures: Sequence[Figure], failed: Sequence[Failed]) -> str:
    rows = [
        {
            "row": each.row,
            "what": each.what,
            "unit": each.unit,
            "value": each.value,
            "bar": each.bar,
            "at_least": each.at_least,
            "passed": each.passed,
            "runs": each.runs,
            "note": each.note,
        }
        for each in figures
    ]
    not_measured = [{"row": each.row, "why": each.why} for each in failed]
    return json.dumps({"machine": machine, "figures": rows, "not_measured": not_measured}, indent=2)


def machine() -> str:
    """The machine and how busy it was before anything was measured, in one line."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, load {load}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
