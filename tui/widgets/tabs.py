"""One line of numbered tabs, the one in view marked."""

from __future__ import annotations

from collections.abc import Sequence

from tui.widgets.lines import Line, Lines, Run, padded
from tui.widgets.plaintext import plain, width_of


class TabBar(Lines):
    """`1 Models  2 Replicas …`; the marked one is told by brackets too, for terminals without colours."""

    DEFAULT_CSS = "TabBar { height: 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._titles: tuple[str, ...] = ()
        self._place = 0

    def show(self, titles: Sequence[str], place: int) -> None:
        """`place` counts from 0."""
        self._titles, self._place = tuple(titles), place
        self.paint()

    def frame(self, width: int, height: int) -> list[Line]:
        """The titles, shortened to their numbers from the right where the line is too narrow."""
        for full in range(len(self._titles), -1, -1):
            runs: list[Run] = []
            for place, title in enumerate(self._titles):
                text = f"{place + 1} {plain(title)}" if place < full or place == self._place else f"{place + 1}"
                runs.append((f"[{text}]", "accent") if place == self._place else (f" {text} ", "muted"))
            if sum(width_of(text) for text, _ in runs) <= width:
                break
        return [padded(runs, width)]
