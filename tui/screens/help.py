"""The keys that work, by where they work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.binding import BindingType
from textual.screen import Screen
from textual.widget import Widget

from tritonctl.inventory import Snapshot
from tui.completion import COMMANDS
from tui.keys import GROUPS, MOVES, shown
from tui.screens.base import LiveScreen
from tui.widgets.bar import Part
from tui.widgets.sheet import Block, Heading, Pair, Piece, Sheet

_SIGNS = (
    ("failed", "failed"),
    ("warn", "degraded: it serves, and something of it does not"),
    ("busy", "changing: starting, loading, unloading"),
    ("unknown", "unknown: not asked yet, or it may not be asked"),
    ("ok", "fine"),
    ("off", "off on purpose"),
)


class HelpScreen(LiveScreen):
    NAME = "keys"
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, before: Screen[object]) -> None:
        super().__init__()
        self._before = before
        self._first = before.NAME if isinstance(before, LiveScreen) else ""

    def body(self) -> Iterator[Widget]:
        yield Sheet()

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(Sheet).show(self._pieces())
        self.focus_body()

    def focus_body(self) -> None:
        self.query_one(Sheet).focus()

    def show(self, snapshot: Snapshot) -> None:
        self.show_header([Part("tritonctl", "title", 9), Part("keys", "", 8)])

    def _pieces(self) -> list[Piece]:
        keymap = self.triton.keys_now
        names = sorted(GROUPS, key=lambda name: name != self._first)
        pieces: list[Piece] = []
        for name in names:
            pieces.append(Heading(name))
            for action in GROUPS[name]:
                if action.writes and self.triton.fleet.read_only:
                    continue
                keys = " ".join(shown(key) for key in keymap[action.id].split(","))
                why = self._before.why_not(action) if isinstance(self._before, LiveScreen) else None
                pieces.append(
                    Pair(keys, f"{action.help} · not here: {why}" if why else action.help, "off" if why else "")
                )
        pieces.append(Heading("tables and texts"))
        for name, default in MOVES.items():
            keys = " ".join(shown(key) for key in keymap.get(name, default).split(","))
            pieces.append(Pair(keys, name.partition(".")[2].replace("_", " ")))
        pieces.append(Heading("typed after :"))
        pieces.append(Block("\n".join(f":{usage}" for usage in COMMANDS.values())))
        pieces.append(Heading("signs"))
        pieces += [Pair(words.split(":")[0], words.partition(":")[2].strip(), state) for state, words in _SIGNS]
        pieces.append(
            Block(
                "\n≠ beside a server's word: the layers disagree (say, it is ready and a model of it failed)", "muted"
            )
        )
        return pieces
