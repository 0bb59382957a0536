"""Charts of one colour: a trend of several lines and one in a line, with gaps where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tui.widgets.lines import Line, Lines, merge, padded
from tui.widgets.plaintext import fit, plain, width_of
from tui.widgets.symbols import Symbols

Values = Sequence[float | None]
"""Samples at equal distances, the newest last; None (and NaN) is a gap."""


def short(value: float) -> str:
    """A number in at most five characters with k, M, G: 0.12, 4.1, 798, 1.2k, 34M."""
    size = abs(value)
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= limit * 0.9995:
            scaled = value / limit
            return f"{scaled:.1f}{unit}" if abs(scaled) < 9.95 else f"{scaled:.0f}{unit}"
    if size >= 9.95 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.1f}" if size >= 0.995 else f"{value:.2g}"


def step_above(value: float) -> float:
    """The least of … 0.5, 1, 2, 5, 10 … that is not below the value."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1, 2, 5) if step * power >= value * (1 - 1e-9)), 10 * power)


def scale_for(values: Sequence[float], before: float | None) -> float:
    """Top of the axis: the step above the greatest value, lowered only when it would fall to less than half."""
    top = step_above(max(values, default=0.0))
    return before if before is not None and top < before and top * 2.0 >= before else top


def columns_of(values: Values, width: int, rows: int, top: float, symbols: Symbols) -> list[str]:
    """The chart as `rows` texts of `width` cells, from the top; zero draws the lowest level, a gap nothing."""
    per_cell = 2 if symbols.braille and rows > 1 else 1
    steps = 4 if per_cell == 2 else len(symbols.levels)
    recent = list(values[-width * per_cell :]) if width > 0 else []
    levels = [_level(value, top, rows * steps) for value in recent]
    levels = [0] * (width * per_cell - len(levels)) + levels
    if per_cell == 2:
        pairs = list(zip(levels[::2], levels[1::2], strict=True))
        return ["".join([_braille(a - base, b - base) for a, b in pairs]) for base in _bases(rows, steps)]
    signs = " " + symbols.levels
    return ["".join([signs[max(0, min(steps, level - base))] for level in levels]) for base in _bases(rows, steps)]


def _bases(rows: int, steps: int) -> range:
    return range((rows - 1) * steps, -1, -steps)


def _level(value: float | None, top: float, steps: int) -> int:
    if value is None or not math.isfinite(value):
        return 0
    return 1 + round(max(0.0, min(1.0, value / top)) * (steps - 1))


def _braille(left: int, right: int) -> str:
    """A cell filled from below with `left` and `right` dots of four (Unicode block 2800)."""
    bits = (0x00, 0x40, 0x44, 0x46, 0x47)[max(0, min(4, left))] | (0x00, 0x80, 0xA0, 0xB0, 0xB8)[max(0, min(4, right))]
    return chr(0x2800 + bits) if bits else " "


class _Charted(Lines):
    def __init__(
        self,
        *,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
        symbols: Symbols | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes, symbols=symbols)
        self._title = ""
        self._unit = ""
        self._values: Values = ()
        self._format: Callable[[float], str] = short
        self._style = "trend"
        self._note = ""
        self._scale: float | None = None
        self._fixed_top: float | None = None

    def show(
        self,
        title: str,
        values: Values,
        *,
        unit: str = "",
        format: Callable[[float], str] = short,  # noqa: A002
        top: float | None = None,
        style: str = "trend",
        note: str = "",
    ) -> None:
        """Show these samples; `top` fixes the axis (100 for per cent), else it goes in steps of 1, 2, 5."""
        self._title, self._values, self._unit, self._format = title, values, unit, format
        self._fixed_top, self._style, self._note = top, style, note
        self.paint()

    def _known(self, reach: int) -> list[float]:
        recent = self._values[-reach:] if reach > 0 else ()
        return [value for value in recent if value is not None and math.isfinite(value)]

    def _top(self, known: Sequence[float]) -> float:
        self._scale = self._fixed_top or scale_for(known, self._scale)
        return self._scale

    def _now(self) -> str:
        """The newest value with its unit; a dash when it is not known."""
        value = self._values[-1] if self._values else None
        known = value is not None and math.isfinite(value)
        text = self._format(value) if known and value is not None else self.symbols.dash
        return plain(f"{text} {self._unit}".rstrip())


class Trend(_Charted):
    """A chart under a title line: name, value now, then least and greatest of the window and the axis' top."""

    DEFAULT_CSS = "Trend { height: 5; }"

    def frame(self, width: int, height: int) -> list[Line]:
        """Title, then the chart in the remaining lines."""
        rows = height - 1
        known = self._known(width * (2 if self.symbols.braille and rows > 1 else 1))
        top = self._top(known)
        left = f"{plain(self._title)}  "
        now = self._now() + (f"  {plain(self._note)}" if self._note else "")
        right = ""
        if known:
            right = plain(f"{self._format(min(known))}{self.symbols.dash}{self._format(max(known))} of {short(top)}")
        room = width - width_of(left) - width_of(now) - width_of(right)
        if room < 1:
            right, room = "", max(0, width - width_of(left) - width_of(now))
        else:
            now += " " * room
        lines = [padded([(left, ""), (now, "title"), (right, "muted")], width)]
        if rows > 0:
            texts = columns_of(self._values, width, rows, top, self.symbols)
            lines.extend(((text, self._style),) for text in texts)
        return lines


class TrendLine(_Charted):
    """A chart of one line between a name and the value now."""

    DEFAULT_CSS = "TrendLine { height: 1; }"

    TITLE_WIDTH = 18
    VALUE_WIDTH = 12
    NOTE_WIDTH = 56
    """Kept free where a chart of 24 cells is left: lines with notes of any length, or none, then share one time axis,
    and none moves as the figures in its note grow longer or shorter."""

    def frame(self, width: int, height: int) -> list[Line]:
        """Name, chart, value, note; a narrow line keeps the value and gives up the chart."""
        title = fit(self._title, min(self.TITLE_WIDTH, width), ellipsis=self.symbols.ellipsis)
        now, note = self._now(), plain(self._note)
        free = width - width_of(title) - max(self.VALUE_WIDTH, width_of(now)) - 2
        beside = self.NOTE_WIDTH if free - self.NOTE_WIDTH >= 24 else 0
        room = free - max(beside, width_of(note))
        if note and room < 8:
            note, room = "", free
        value = now + " " * (self.VALUE_WIDTH - width_of(now)) + note
        chart = ""
        if room > 0:
            chart = columns_of(self._values, room, 1, self._top(self._known(room)), self.symbols)[0] + " "
        return [merge(padded([(title + " ", ""), (chart, self._style), (value, "")], width))]
