"""A test request from the model's page: a form made from its schema, sent, and the answer below it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType

from tritonctl.errors import TritonctlError
from tritonctl.inventory import JoinedModel, ServiceStatus
from tritonctl.server.generate import can_generate
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.workbench import form as forms
from tritonctl.workbench.form import KINDS, Form
from tritonctl.workbench.history import History, Sent
from tui.keys import REQUEST
from tui.panes.model import ModelPane
from tui.panes.request.comparing import Against, candidates, parse_against
from tui.panes.request.curve import Curve
from tui.panes.request.fields import Fields
from tui.panes.request.form_fields import INPUT, WAYS, form_fields
from tui.panes.request.load_line import LoadLine, parse_load
from tui.panes.request.menus import Menus
from tui.panes.request.paths import complete_path
from tui.panes.request.sending import Sending
from tui.widgets.sheet import Block, Heading, Piece, Sheet

if TYPE_CHECKING:
    from tritonctl.server.tensors import Tensor
    from tui.screens.model import ModelScreen

TIMES = 10


class RequestPane(ModelPane):
    """Nothing is sent before a key asks for it."""

    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in REQUEST]
    DEFAULT_CSS = """
    RequestPane #menu { display: none; }
    RequestPane.choosing #menu { display: block; }
    RequestPane.choosing #answer { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.form = Form()
        self.load = LoadLine()
        self.answer: list[Piece] = []
        self.errors: dict[str, str] = {}
        self.seen: tuple[ModelScreen, ServiceStatus, Sequence[JoinedModel]] | None = None
        self.history = History.usual(os.environ, Path.home())
        self.way = WAYS[0]
        self.against: Against | None = None
        self.agreed = False
        """A load on what others use was confirmed."""
        self.given: Mapping[str, Tensor] = {}
        """Inputs out of a whole request, with the file that they came from."""
        self.given_from = ""
        self._place = 0
        self._menus = Menus(self)
        self._sending = Sending(self)

    def compose(self) -> ComposeResult:
        yield Fields(id="fields")
        yield Curve()
        yield Fields(id="menu")
        yield Sheet(id="answer")

    @property
    def fields(self) -> Fields:
        """The form's fields."""
        return self.query_one("#fields", Fields)

    @property
    def busy(self) -> bool:
        """Something is under way."""
        return self._sending.busy

    @property
    def generates(self) -> bool:
        """It is sent by the generate extension."""
        return self.way != WAYS[0] and self.schema is not None and can_generate(self.schema)

    def take_focus(self) -> None:
        (self._menus.list if self._menus.is_open else self.fields).focus()

    def show_model(self, screen: ModelScreen, status: ServiceStatus, versions: Sequence[JoinedModel]) -> None:
        self.seen = (screen, status, versions)
        self.draw()

    @property
    def schema(self) -> ModelSchema | None:
        return self.seen[0].schema if self.seen is not None else None

    # Drawing

    def draw(self) -> None:
        """The form, and the answer below it."""
        if self.seen is None:
            return
        sheet = self.query_one("#answer", Sheet)
        if self.schema is None:
            self.fields.show(())
            sheet.show([Block(self.seen[0].trouble, "muted")])
            return
        self.fields.show(form_fields(self, self.schema))
        sheet.show(self.answer or [Block("enter edits the field, or sends; s sends from anywhere", "muted")])

    # Editing

    def _ask(
        self,
        what: str,
        text: str,
        then: Callable[[str], None],
        *,
        paths: bool = False,
        complete: Callable[[str], Sequence[str]] | None = None,
    ) -> None:
        if self.seen is None:
            return

        def entered(value: str) -> None:
            try:
                then(value.strip())
            except (TritonctlError, ValueError) as error:
                words = error.answer if isinstance(error, TritonctlError) else str(error)
                if self.seen is not None:
                    self.seen[0].say(words, "failed")
            self.draw()

        if paths or complete is not None:
            self.seen[0].ask(f"{what} ", text, complete or complete_path, entered)
        else:
            self.seen[0].ask(f"{what} ", text, then=entered)

    def action_enter(self) -> None:
        """Edit the field under the cursor, or send; in a menu, choose."""
        if self._menus.is_open:
            self._menus.choose()
            return
        field = self.fields.current
        if field is None:
            return
        if field.key.startswith(INPUT):
            name = field.key.removeprefix(INPUT)
            self._ask(f"{name} =", self.form.values.get(name, ""), lambda text: self._set_value(name, text), paths=True)
        elif field.key == "batch":
            self._ask("batch =", str(self.form.batch), self._set_batch)
        elif field.key == "version":
            self.action_version()
        elif field.key == "parameters":
            self._ask("parameters =", forms.parameters_line(self.form.parameters), self._set_parameters)
        elif field.key == "load":
            self._ask("load =", str(self.load), self._set_load)
        elif field.key == "way":
            self.way = WAYS[(WAYS.index(self.way) + 1) % len(WAYS)]
            self.draw()
        elif field.key == "against":
            self.action_against()
        else:
            self.action_send()

    def action_against(self) -> None:
        """What the same request is sent to as well: another version, another service."""
        if self.seen is None:
            return
        screen, status, _ = self.seen
        found = candidates(screen.triton.fleet.snapshot, status.id, screen.model)

        def entered(text: str) -> None:
            self.against = parse_against(text)
            self.draw()

        if not found and self.against is None:
            screen.say("no other version of it is loaded, and no other service has it", "warn")
        before = str(self.against) if self.against is not None else ""
        self._ask("compare with =", before, entered, complete=lambda typed: [each for each in found if typed in each])

    def _change(self, form: Form) -> None:
        self.form = form
        self._place = 0
        self.draw()
        self._check()

    def _set_value(self, name: str, text: str) -> None:
        self.errors.pop(name, None)
        self._change(forms.with_value(self.form, name, text))

    def _set_batch(self, text: str) -> None:
        if not text.isdigit() or not int(text):
            raise ValueError(f"{text!r} is not a batch size")
        self._change(replace(self.form, batch=int(text)))

    def _set_parameters(self, text: str) -> None:
        self._change(replace(self.form, parameters=forms.parse_parameters(text)))

    def _set_load(self, text: str) -> None:
        self.load = parse_load(text)

    def action_shape(self) -> None:
        field = self.fields.current
        if field is None or not field.key.startswith(INPUT):
            if self.seen is not None:
                self.seen[0].say("the cursor is on no input", "warn")
            return
        name = field.key.removeprefix(INPUT)
        before = self.form.shapes.get(name, ())
        self._ask(f"shape of {name} =", ",".join(map(str, before)), lambda text: self._set_shape(name, text))

    def _set_shape(self, name: str, text: str) -> None:
        shapes = {key: shape for key, shape in self.form.shapes.items() if key != name}
        self._change(replace(self.form, shapes={**shapes, name: forms.parse_shape(text)} if text else shapes))

    def action_fill(self) -> None:
        kinds = [*KINDS, KINDS[0]]
        kind = kinds[kinds.index(self.form.made.kind) + 1]
        self._change(replace(self.form, made=replace(self.form.made, kind=kind)))

    def action_seed(self) -> None:
        made = replace(self.form.made, kind="random", seed=self.form.made.seed + 1)
        self._change(replace(self.form, made=made))

    def action_version(self) -> None:
        if self.seen is not None:
            loaded: list[str | None] = [None, *(each.version for each in self.seen[2] if each.ready_on)]
            place = loaded.index(self.form.version) if self.form.version in loaded else 0
            self._change(replace(self.form, version=loaded[(place + 1) % len(loaded)]))

    def action_history(self, step: int) -> None:
        """To what was sent to this model before, and back."""
        if self.seen is None:
            return
        sent = self.history.of(self.seen[0].model)
        place = max(-len(sent), min(-1, self._place + step)) if sent else 0
        self.take(sent, place)

    def take(self, sent: Sequence[Sent], place: int) -> None:
        """One of what was sent, into the form; 0: there is none."""
        assert self.seen is not None
        if not place:
            self.seen[0].say("nothing was sent to this model from here yet", "warn")
            return
        entry = sent[place]
        self._change(entry.form)
        self._place = place
        when = time.strftime("%d %b %H:%M", time.localtime(entry.at))
        self.seen[0].say(f"sent {when} to {entry.service}{': ' + entry.outcome if entry.outcome else ''}")

    def action_file(self) -> None:
        """A whole request out of a file, or a case, into the form; what is typed goes before it."""
        self._ask("request out of", self.given_from, self._set_given, paths=True)

    def _set_given(self, text: str) -> None:
        self.given, self.given_from = {}, text
        if text:
            path = Path(text.removeprefix("@")).expanduser()
            self.run_worker(self._read_given(path), group="given", exclusive=True, exit_on_error=False)
        else:
            self._check()

    async def _read_given(self, path: Path) -> None:
        from tritonctl.workbench import request_file

        if self.schema is None or self.seen is None:
            return
        try:
            read = await asyncio.to_thread(request_file.read, path, self.schema)
        except TritonctlError as error:
            self.seen[0].say(f"{error.tried}: {error.answer}", "failed")
            return
        self.given, parameters, request_id = read
        form = self.form
        merged = {**parameters, **form.parameters}
        self._change(forms.with_parameters(form, merged, form.request_id or request_id))

    def action_history_menu(self) -> None:
        self._menus.history()

    @work(group="cases", exclusive=True, exit_on_error=False)
    async def action_open_case(self) -> None:
        """The cases of this model, to send one or all of them again."""
        if self.seen is not None:

            def ask() -> None:
                self._ask("send the case", "", self._send_case, paths=True)

            await self._menus.cases(self.seen[0].model, self._sending.send_cases, ask)

    def _send_case(self, text: str) -> None:
        folder = Path(text).expanduser()
        self._menus.remember(folder)
        self._sending.send_cases([folder])

    @work(group="check", exclusive=True, exit_on_error=False)
    async def _check(self) -> None:
        """What is wrong with the fields, beside them, before anything is sent."""
        if self.schema is not None:
            await self._sending.check(self.schema)
            self.draw()

    # Sending

    def action_send(self) -> None:
        self._begin(self.load)

    def action_repeat(self) -> None:
        self._begin(LoadLine(TIMES))

    def _begin(self, load: LoadLine) -> None:
        if self._sending.busy or self.seen is None or self.schema is None:
            return
        self._menus.close()
        self._sending.start(load)

    def ask_for_a_load(self, load: LoadLine) -> None:
        """Others may use the model: a load would slow them down."""

        def entered(text: str) -> None:
            if text.lower() in ("y", "yes"):
                self.agreed = True
                self._sending.start(load)

        self.call_later(self._ask, "send it all the same? yes sends it:", "", entered)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape closes the menu or stops what is being sent, and leaves the page when neither is there."""
        return self._sending.busy or self._menus.is_open if action == "stop" else True

    def action_stop(self) -> None:
        if self._menus.is_open:
            self._menus.close()
        else:
            self._sending.stop()

    # The answer

    def action_copy(self) -> None:
        """By OSC 52, which reaches the clipboard of the terminal's own machine over SSH."""
        if self.seen is None:
            return
        try:
            self.app.copy_to_clipboard(self._sending.as_json() or self.query_one("#answer", Sheet).text())
            self.seen[0].say("copied, where the terminal allows it (OSC 52)", "ok")
        except TritonctlError as error:
            self.seen[0].say(error.answer, "warn")

    def action_save(self) -> None:
        if self.seen is not None:
            self._ask("save the answer to", f"{self.seen[0].model}.json", self._sending.save, paths=True)

    def action_save_case(self) -> None:
        def entered(text: str) -> None:
            self._menus.remember(Path(text).expanduser())
            self._sending.save_case(text)

        if self.seen is not None:
            self._ask("save the case in", f"cases/{self.seen[0].model}", entered, paths=True)

    def show_answer(self, pieces: Sequence[Piece]) -> None:
        self.answer = list(pieces)
        self.draw()

    def show_waiting(self, words: str = "sent, waiting …") -> None:
        self.show_answer([Heading("answer"), Block(words, "busy")])
