"""The tab of a test request as it looks: the form, the curve of a load, and below them the answer or a menu."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import ComposeResult

from tritonctl.errors import TritonctlError
from tritonctl.workbench.history import History
from tui.panes.model import ModelPane, ModelSeen
from tui.panes.request.curve import Curve
from tui.panes.request.draft import Draft
from tui.panes.request.fields import Fields
from tui.panes.request.form_fields import form_fields
from tui.panes.request.paths import complete_path
from tui.widgets.sheet import Block, Heading, Piece, Sheet

if TYPE_CHECKING:
    from textual.worker import Worker

    from tritonctl.server.modelconfig import ModelSchema


class RequestFace(ModelPane):
    """It shows what it is given and asks for a line; what comes of either is for those who use it."""

    DEFAULT_CSS = """
    RequestFace #menu { display: none; }
    RequestFace.choosing #menu { display: block; }
    RequestFace.choosing #answer { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.draft = Draft()
        self.answer: list[Piece] = []
        self.seen: ModelSeen | None = None
        self.history = History.usual(os.environ, Path.home())
        self.worker: Worker[None] | None = None
        """What is under way: one thing at a time."""

    def compose(self) -> ComposeResult:
        yield Fields(id="fields")
        yield Curve()
        yield Fields(id="menu")
        yield Sheet(id="answer")

    @property
    def fields(self) -> Fields:
        return self.query_one("#fields", Fields)

    @property
    def menu(self) -> Fields:
        """A list to choose from, in place of the answer while the tab is `choosing`."""
        return self.query_one("#menu", Fields)

    @property
    def busy(self) -> bool:
        return self.worker is not None and not self.worker.is_finished

    @property
    def schema(self) -> ModelSchema | None:
        return self.seen.schema if self.seen is not None else None

    def show_model(self, seen: ModelSeen) -> None:
        self.seen = seen
        self.draw()

    def draw(self) -> None:
        """The form, and the answer below it."""
        if self.seen is None:
            return
        sheet = self.query_one("#answer", Sheet)
        if self.schema is None:
            self.fields.show(())
            sheet.show([Block(self.seen.trouble, "muted")])
            return
        self.fields.show(form_fields(self.draft, self.schema, busy=self.busy))
        sheet.show(self.answer or [Block("enter edits the field, or sends; s sends from anywhere", "muted")])

    def show_answer(self, pieces: Sequence[Piece]) -> None:
        self.answer = list(pieces)
        self.draw()

    def show_waiting(self, words: str = "sent, waiting …") -> None:
        self.show_answer([Heading("answer"), Block(words, "busy")])

    def say(self, words: str, state: str = "") -> None:
        """In the page's reserved line."""
        if self.seen is not None:
            self.seen.page.say(words, state)

    def ask(
        self,
        what: str,
        text: str,
        then: Callable[[str], None],
        *,
        paths: bool = False,
        complete: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        """A line of `text` to be edited; what `then` raises of it is said."""
        if self.seen is None:
            return

        def entered(value: str) -> None:
            try:
                then(value.strip())
            except (TritonctlError, ValueError) as error:
                self.say(error.answer if isinstance(error, TritonctlError) else str(error), "failed")
            self.draw()

        if paths or complete is not None:
            self.seen.page.ask(f"{what} ", text, complete or complete_path, entered)
        else:
            self.seen.page.ask(f"{what} ", text, then=entered)
