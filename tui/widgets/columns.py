"""The columns of a table, and which of them a width has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """How one column is shown."""

    key: str
    title: str
    width: int | None = None
    """Cells; None takes a share of what the fixed columns leave."""
    align: Literal["left", "right"] = "left"
    drop: int = 0
    """Order in which columns are left out of a narrow terminal, 1 first; 0 stays."""
    numeric: bool = False
    """Right-aligned, title too."""
    minimum: int = 8
    """Least cells of a flexible column."""
    weight: int = 1
    """Share of a flexible column."""
    widest: int = 0
    """Cells that one of a fixed width may grow to where no column is left out."""
    hidden: bool = False
    """Left out whatever the width: no row has anything to say in it."""

    @property
    def side(self) -> Literal["left", "right"]:
        """Where its cells stand."""
        return "right" if self.numeric else self.align


Layout = tuple[tuple[int, int], ...]
"""(column's number, its cells) of the columns shown, from the left."""


def lay_out(columns: Sequence[Column], width: int, gap: int) -> Layout:
    """The columns that fit `width` cells with `gap` cells between, dropping in their order, sharing what is left."""

    def least(column: Column) -> int:
        return column.minimum if column.width is None else column.width

    shown = [item for item in enumerate(columns) if not item[1].hidden]
    needed = sum(least(column) + gap for _, column in shown) - gap
    dropped = []
    for item in sorted((item for item in shown if item[1].drop), key=lambda item: item[1].drop):
        if needed <= width:
            break
        dropped.append(item)
        needed -= least(item[1]) + gap
    for item in reversed(dropped):  # a wide column that went last may have left room for narrow ones that went before
        if needed + least(item[1]) + gap <= width:
            dropped.remove(item)
            needed += least(item[1]) + gap
    shown = [item for item in shown if item not in dropped]
    rest = width - sum((column.width or 0) + gap for _, column in shown) + gap
    grown: dict[int, int] = {}
    if not dropped:
        spare = rest - sum(column.minimum for _, column in shown if column.width is None)
        for number, column in shown:
            if column.width is not None and column.widest:
                grown[number] = max(0, min(column.widest - column.width, spare // 4))
        rest -= sum(grown.values())
    weights = sum(column.weight for _, column in shown if column.width is None)
    result = []
    left = width
    for number, column in shown:
        cells = column.width + grown.get(number, 0) if column.width is not None else None
        if cells is None:
            share = rest * column.weight // weights
            rest -= share
            weights -= column.weight
            cells = max(column.minimum, share)
        cells = min(cells, left)
        if cells <= 0:
            break
        result.append((number, cells))
        left -= cells + gap
    return tuple(result)
