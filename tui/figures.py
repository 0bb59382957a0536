"""Figures as a person reads them: three significant digits, a unit, and a dash for what is unknown."""

from __future__ import annotations


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, or – where nothing is known."""
    if value is None:
        return "–"
    if value == 0:
        return f"0{unit}"
    if value >= 10_000:
        return f"{value / 1000:.3g}k{unit}"
    return f"{value:.3g}{unit}"


def duration_us(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 1000:
        return f"{value:.0f} µs"
    if value < 1_000_000:
        return f"{value / 1000:.3g} ms"
    return f"{value / 1_000_000:.3g} s"


def percent(value: float | None) -> str:
    if value is None:
        return "–"
    points = value * 100
    return f"{points:.0f} %" if points >= 10 or points == 0 else f"{points:.1f} %"


def size_bytes(value: float | None) -> str:
    """Bytes in binary units, short enough for a column."""
    if value is None:
        return "–"
    for unit in ("B", "K", "M", "G"):
        if value < 1024:
            return f"{value:.3g}{unit}"
        value /= 1024
    return f"{value:.3g}T"


def age(seconds: float | None) -> str:
    """How long ago, in the largest unit that fits: 40s, 4m, 3h, 19d."""
    if seconds is None:
        return "–"
    seconds = max(0.0, seconds)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"
