"""Blocks, lines and braille as geometry: fonts leave gaps between them, or do not have them."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""Left, top, right, bottom as parts of a cell, 0 to 1."""

# Unicode's order of the dots 1 to 8 of a braille cell: column, row.
_DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
_LINE = 0.06
_BOXES: dict[str, Sequence[Box]] = {
    "─": [(0, 0.5 - _LINE / 2, 1, 0.5 + _LINE / 2)],
    "│": [(0.5 - _LINE, 0, 0.5 + _LINE, 1)],
    "█": [(0, 0, 1, 1)],
    "▀": [(0, 0, 1, 0.5)],
    "▐": [(0.5, 0, 1, 1)],
    "▔": [(0, 0, 1, 0.125)],
    "▕": [(0.875, 0, 1, 1)],
}


def boxes(character: str) -> Sequence[Box] | None:
    """The rectangles a character is made of, None for one that the font is to draw."""
    code = ord(character)
    if character in _BOXES:
        return _BOXES[character]
    if 0x2581 <= code <= 0x2587:  # lower eighths
        return [(0, 1 - (code - 0x2580) / 8, 1, 1)]
    if 0x2589 <= code <= 0x258F:  # left eighths
        return [(0, 0, (0x2590 - code) / 8, 1)]
    if 0x2800 <= code <= 0x28FF:
        dots = [dot for bit, dot in enumerate(_DOTS) if (code - 0x2800) >> bit & 1]
        return [(0.14 + 0.5 * x, 0.06 + 0.25 * y, 0.36 + 0.5 * x, 0.19 + 0.25 * y) for x, y in dots]
    return None
