"""A test request from the model's page: a form made from its schema, sent, and the answer below it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import BindingType

from tritonctl.errors import TritonctlError
from tritonctl.workbench import form as forms
from tritonctl.workbench.form import KINDS, Form
from tritonctl.workbench.history import Sent
from tui.keys import REQUEST
from tui.panes.request.comparing import candidates, parse_against
from tui.panes.request.draft import WAYS
from tui.panes.request.face import RequestFace
from tui.panes.request.form_fields import INPUT
from tui.panes.request.load_line import LoadLine, parse_load
from tui.panes.request.menus import Menus
from tui.panes.request.sending import Sending
from tui.widgets.sheet import Sheet

TIMES = 10


class RequestPane(RequestFace):
    """Nothing is sent before a key asks for it."""

    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in REQUEST]

    def __init__(self) -> None:
        super().__init__()
        self._place = 0
        self._menus = Menus(self)
        self._sending = Sending(self, self._ask_for_a_load)

    def take_focus(self) -> None:
        (self.menu if self._menus.is_open else self.fields).focus()

    # Editing

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
            typed = self.draft.form.values.get(name, "")
            self.ask(f"{name} =", typed, lambda text: self._set_value(name, text), paths=True)
        elif field.key == "batch":
            self.ask("batch =", str(self.draft.form.batch), self._set_batch)
        elif field.key == "version":
            self.action_version()
        elif field.key == "parameters":
            self.ask("parameters =", forms.line_of(self.draft.form), self._set_parameters)
        elif field.key == "load":
            self.ask("load =", str(self.draft.load), self._set_load)
        elif field.key == "way":
            self.draft.way = WAYS[(WAYS.index(self.draft.way) + 1) % len(WAYS)]
            self.draw()
        elif field.key == "against":
            self.action_against()
        else:
            self.action_send()

    def action_against(self) -> None:
        """What the same request is sent to as well: another version, another service."""
        if self.seen is None:
            return
        snapshot, here = self.seen.page.triton.fleet.snapshot, self.seen.status.id
        found = candidates(snapshot, here, self.seen.model, self.draft.form.version)

        def entered(text: str) -> None:
            self.draft.against = parse_against(text)
            self.draw()
            self._check()

        if not found and self.draft.against is None:
            self.say("no other version of it is loaded, and no other service has it", "warn")
        before = str(self.draft.against) if self.draft.against is not None else ""
        self.ask("compare with =", before, entered, complete=lambda typed: [each for each in found if typed in each])

    def _change(self, form: Form) -> None:
        self.draft.form = form
        self._place = 0
        self.draw()
        self._check()

    def _set_value(self, name: str, text: str) -> None:
        self.draft.errors = {key: error for key, error in self.draft.errors.items() if key != name}
        self._change(forms.with_value(self.draft.form, name, text))

    def _set_batch(self, text: str) -> None:
        if not text.isdigit() or not int(text):
            raise ValueError(f"{text!r} is not a batch size")
        self._change(replace(self.draft.form, batch=int(text)))

    def _set_parameters(self, text: str) -> None:
        self._change(forms.with_line(self.draft.form, text))

    def _set_load(self, text: str) -> None:
        self.draft.load = parse_load(text)

    def action_shape(self) -> None:
        field = self.fields.current
        if field is None or not field.key.startswith(INPUT):
            self.say("the cursor is on no input", "warn")
            return
        name = field.key.removeprefix(INPUT)
        before = self.draft.form.shapes.get(name, ())
        self.ask(f"shape of {name} =", ",".join(map(str, before)), lambda text: self._set_shape(name, text))

    def _set_shape(self, name: str, text: str) -> None:
        shapes = {key: shape for key, shape in self.draft.form.shapes.items() if key != name}
        self._change(replace(self.draft.form, shapes={**shapes, name: forms.parse_shape(text)} if text else shapes))

    def action_fill(self) -> None:
        kinds = [*KINDS, KINDS[0]]
        kind = kinds[kinds.index(self.draft.form.made.kind) + 1]
        self._change(replace(self.draft.form, made=replace(self.draft.form.made, kind=kind)))

    def action_seed(self) -> None:
        made = replace(self.draft.form.made, kind="random", seed=self.draft.form.made.seed + 1)
        self._change(replace(self.draft.form, made=made))

    def action_version(self) -> None:
        if self.seen is not None:
            loaded: list[str | None] = [None, *(each.version for each in self.seen.versions if each.ready_on)]
            place = loaded.index(self.draft.form.version) if self.draft.form.version in loaded else 0
            self._change(replace(self.draft.form, version=loaded[(place + 1) % len(loaded)]))

    def action_history(self, step: int) -> None:
        """To what was sent to this model before, and back."""
        if self.seen is None:
            return
        sent = self.history.of(self.seen.model)
        place = max(-len(sent), min(-1, self._place + step)) if sent else 0
        self._take(sent, place)

    def _take(self, sent: Sequence[Sent], place: int) -> None:
        """One of what was sent, into the form; 0: there is none."""
        assert self.seen is not None
        if not place:
            self.say("nothing was sent to this model from here yet", "warn")
            return
        entry = sent[place]
        self._change(entry.form)
        self._place = place
        when = time.strftime("%d %b %H:%M", time.localtime(entry.at))
        self.say(f"sent {when} to {entry.service}{': ' + entry.outcome if entry.outcome else ''}")

    def action_file(self) -> None:
        """A whole request out of a file, or a case, into the form; what is typed goes before it."""
        self.ask("request out of", self.draft.given_from, self._set_given, paths=True)

    def _set_given(self, text: str) -> None:
        self.draft.given, self.draft.given_from = {}, text
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
            self.say(f"{error.tried}: {error.answer}", "failed")
            return
        self.draft.given, parameters, request_id = read
        form = self.draft.form
        merged = {**parameters, **form.parameters}
        self._change(forms.with_parameters(form, merged, form.request_id or request_id))

    def action_history_menu(self) -> None:
        """All that was sent to this model from here, to choose from."""
        if self.seen is None:
            return
        sent = self.history.of(self.seen.model)
        if sent:
            self._menus.history(sent, lambda place: self._take(sent, place))
        else:
            self._take(sent, 0)

    @work(group="cases", exclusive=True, exit_on_error=False)
    async def action_open_case(self) -> None:
        """The cases of this model, to send one or all of them again."""
        if self.seen is not None:

            def ask() -> None:
                self.ask("send the case", "", self._send_case, paths=True)

            await self._menus.cases(self.seen.model, self._sending.send_cases, ask)

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
            if error := self.fields.cut_error:
                self.say(error, "failed")

    # Sending

    def action_send(self) -> None:
        self._begin(self.draft.load)

    def action_repeat(self) -> None:
        self._begin(LoadLine(TIMES))

    def _begin(self, load: LoadLine) -> None:
        if self.busy or self.seen is None or self.schema is None:
            return
        self._menus.close()
        self._sending.start(load)

    def _ask_for_a_load(self, load: LoadLine) -> None:
        """Others may use the model: a load would slow them down."""

        def entered(text: str) -> None:
            if text.lower() in ("y", "yes"):
                self._sending.start(load, agreed=True)

        self.call_later(self.ask, "send it all the same? yes sends it:", "", entered)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape closes the menu or stops what is being sent, and leaves the page when neither is there."""
        return self.busy or self._menus.is_open if action == "stop" else True

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
            self.say("copied, where the terminal allows it (OSC 52)", "ok")
        except TritonctlError as error:
            self.say(error.answer, "warn")

    def action_save(self) -> None:
        if self.seen is not None:
            self.ask("save the answer to", f"{self.seen.model}.json", self._sending.save, paths=True)

    def action_save_case(self) -> None:
        def entered(text: str) -> None:
            self._menus.remember(Path(text).expanduser())
            self._sending.save_case(text)

        if self.seen is not None:
            self.ask("save the case in", f"cases/{self.seen.model}", entered, paths=True)
