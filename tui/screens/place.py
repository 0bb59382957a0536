"""A place where services run, as it tells of itself: nodes and their GPUs, registered models, computes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from textual import work
from textual.binding import BindingType
from textual.widget import Widget

from tritonctl.errors import TritonctlError
from tritonctl.inventory import BackendState, BackendStatus, Snapshot
from tui.keys import PLACE, Action
from tui.screens.base import LiveScreen
from tui.widgets.bar import Part
from tui.widgets.sheet import Block, Heading, Pair, Piece, Sheet

_DEADLINE_S = 15.0


class PlaceScreen(LiveScreen):
    """What the backend `name` tells of itself, asked when it is opened, and again and again while it is in view."""

    NAME = "a place"
    ACTIONS = PLACE
    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in PLACE]

    def __init__(self, name: str) -> None:
        super().__init__()
        self._place_name = name
        self._told: list[Piece] = [Block("asking …", "muted")]
        self._fault: list[Piece] = []
        self._trouble: list[Piece] | None = None
        self._ask_after = 0.0
        self._search = ""

    def body(self) -> Iterator[Widget]:
        yield Sheet()

    def on_mount(self) -> None:
        super().on_mount()
        self.focus_body()

    def focus_body(self) -> None:
        self.query_one(Sheet).focus()

    def show(self, snapshot: Snapshot) -> None:
        backend = next((each for each in snapshot.backends if each.name == self._place_name), None)
        parts = [Part(self._place_name, "title", 9)]
        if backend is not None:
            lost = backend.state is BackendState.LOST
            parts.append(Part(f"{backend.kind}, {backend.state}", "warn" if lost else "muted", 5))
        if self._search:
            parts.append(Part(f"/{self._search}", "accent", 9))
        self.show_header(parts)
        if _trouble_of(backend) != self._trouble:  # it is known before the place itself has answered, or refused to
            self._show()
        if time.monotonic() >= self._ask_after:
            self._ask_after = float("inf")
            self._ask()

    def actions_here(self) -> Sequence[Action]:
        return PLACE

    def action_filter(self) -> None:
        self.ask("/", self._search)

    def set_filter(self, text: str) -> None:
        """Nothing is hidden: the words are marked, and n and N go from one to the next."""
        self._search = text
        self.query_one(Sheet).set_search(text)
        self.show_now()

    def show_all(self) -> bool:
        if not self._search:
            return False
        self.set_filter("")
        return True

    @work(group="ask", exclusive=True, exit_on_error=False)
    async def _ask(self) -> None:
        fault: list[Piece] = []
        backend = self.triton.fleet.backends[self._place_name]
        try:
            async with asyncio.timeout(_DEADLINE_S):
                sections = await backend.describe_place()
            self._told = [Block("it tells nothing beside its services", "muted")]
            if sections:
                self._told = []
            for section in sections:
                self._told += [Heading(section.heading), *(Pair(name, value) for name, value in section.rows)]
        except TimeoutError:
            fault = [Block(f"no answer within {_DEADLINE_S:g} s", "failed")]
        except TritonctlError as error:
            fault = [Block(str(error), "failed")]
        finally:
            self._ask_after = time.monotonic() + backend.place_every_s
        self._fault = fault
        self._show()

    def _show(self) -> None:
        """Above all what keeps it from answering, or soon will: whole, since a line to type is of no use cut."""
        backends = self.triton.fleet.snapshot.backends
        self._trouble = _trouble_of(next((each for each in backends if each.name == self._place_name), None))
        self.query_one(Sheet).show([*self._trouble, *self._fault, *self._told])


def _trouble_of(backend: BackendStatus | None) -> list[Piece]:
    if backend is None or not backend.advice or not (backend.state is BackendState.LOST or backend.warning):
        return []
    return [Block(backend.detail, "warn"), Block(f"→ {backend.advice}", "accent"), Block("")]
