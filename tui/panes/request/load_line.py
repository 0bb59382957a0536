"""How often a request is sent, as it is typed in one line: repeat=10 concurrency=4 rate=200 duration=5."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tritonctl.errors import UsageError
from tritonctl.workbench.load import LoadPlan

_NAMES: Mapping[str, Callable[[str], float]] = MappingProxyType(
    {"repeat": int, "concurrency": int, "rate": float, "duration": float, "limit": float}
)
DURATION_S = 10.0
MODEST = 100
"""Requests one after the other that nobody needs to be asked about."""


@dataclass(frozen=True, slots=True)
class LoadLine:
    """`limit_ms` asks for the highest load whose p99 stays under it."""

    repeat: int = 1
    concurrency: int = 1
    rate: float | None = None
    duration_s: float | None = None
    limit_ms: float | None = None

    @property
    def once(self) -> bool:
        return self == LoadLine()

    @property
    def modest(self) -> bool:
        return LoadLine(self.repeat) == self and self.repeat <= MODEST

    def plan(self) -> LoadPlan:
        requests = self.repeat if self.repeat > 1 else None
        endless = requests is None and self.duration_s is None
        return LoadPlan(self.concurrency, self.rate, requests, DURATION_S if endless else self.duration_s)

    def __str__(self) -> str:
        given = {
            "repeat": self.repeat if self.repeat != 1 else None,
            "concurrency": self.concurrency if self.concurrency != 1 else None,
            "rate": self.rate,
            "duration": self.duration_s,
            "limit": self.limit_ms,
        }
        return " ".join(f"{name}={value:g}" for name, value in given.items() if value is not None)


def parse_load(text: str) -> LoadLine:
    """A bare number is a repeat; nothing is once. Raises UsageError."""
    found: dict[str, float] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        if not equals:
            name, value = "repeat", word
        try:
            number = _NAMES[name](value)
        except (KeyError, ValueError):
            number = -1
        if not 0 < number <= 1_000_000:
            raise UsageError(
                f"load {word!r}", f"{word!r} is not understood", "repeat=10 concurrency=4 rate=200 duration=5"
            )
        found[name] = number
    return LoadLine(
        int(found.get("repeat", 1)),
        int(found.get("concurrency", 1)),
        found.get("rate"),
        found.get("duration"),
        found.get("limit"),
    )
