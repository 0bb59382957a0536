"""Figures as a person reads them: about three digits, a unit, and a dash for what is unknown."""

from __future__ import annotations

import re
import time
from math import isfinite

from tritonctl.errors import UsageError
from tritonctl.inventory import Platform

UNKNOWN = "–"


def number(value: float | None, unit: str = "") -> str:
    """Counts below ten thousand in full, the rest in k, M, G, T; fractions with three significant digits."""
    if value is None or not isfinite(value):
        return UNKNOWN
    if abs(value) < 10_000:
        return f"{_digits(value)}{unit}"
    for letter in ("k", "M", "G"):
        value /= 1000
        if abs(value) < 1000:
            return f"{_digits(value)}{letter}{unit}"
    return f"{_digits(value / 1000)}T{unit}"


def _digits(value: float) -> str:
    """Never with an exponent: Python's own %g writes 1234 as 1.23e+03."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else "<0.001"


def rate(value: float | None) -> str:
    """A rate for a column: one decimal below a hundred, so that the decimals stand under each other."""
    if value is None or not isfinite(value) or value == 0 or value >= 99.95:
        return number(value)
    return f"{value:.1f}" if value >= 0.05 else "<0.1"


def duration_us(value: float | None) -> str:
    if value is None or not isfinite(value):
        return UNKNOWN
    if value < 1000:
        return f"{value:.0f} µs"
    if value < 1_000_000:
        return f"{_digits(value / 1000)} ms"
    return f"{_digits(value / 1_000_000)} s"


def platform_word(platform: Platform, lost_at: float | None = None) -> str:
    """The state, with the time that an operation takes so far, or since when its place is lost (both seconds since the
    epoch)."""
    if lost_at is not None:
        return f"{age(time.time() - lost_at)} ago: {platform.state}"  # in a narrow column its end is cut
    if platform.since is not None:
        return f"{platform.doing or platform.state} {age(time.time() - platform.since)}"
    return platform.state


def percent(value: float | None) -> str:
    """Of a ratio, 0..1."""
    if value is None or not isfinite(value):
        return UNKNOWN
    points = value * 100
    return f"{points:.0f} %" if points >= 9.95 or points == 0 else f"{points:.1f} %"


def size_bytes(value: float | None) -> str:
    """Bytes in binary units, short enough for a column."""
    if value is None or not isfinite(value):
        return UNKNOWN
    for unit in ("B", "K", "M", "G"):
        if value < 1024:
            return f"{_digits(value)}{unit}"
        value /= 1024
    return f"{_digits(value)}T"


def cpu_cores(value: float | None) -> str:
    """Of a machine's cores: 0.03, 1.5, 12."""
    if value is None or not isfinite(value):
        return UNKNOWN
    return f"{value:.2f}" if value < 1 else _digits(value)


def seconds_of(text: str) -> float:
    """Of a time as a person writes it: 90, 30s, 10m, 2h, 1d, 1h30m. Raises UsageError."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "": 1.0}
    found = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not found or "".join(number + unit for number, unit in found) != text.strip():
        raise UsageError("since", f"{text!r} is not a time", "write 30s, 10m, 2h or 1d")
    return sum(float(number) * units[unit] for number, unit in found)


def age(seconds: float | None) -> str:
    """How long ago, in the largest unit that fits: 40s, 4m, 3h, 19d."""
    if seconds is None or not isfinite(seconds):
        return UNKNOWN
    seconds = max(0.0, seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"
