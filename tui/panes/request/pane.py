"""A test request from the model's page: a form made from its schema, sent, and the answer below it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical

from tritonctl.errors import TritonctlError
from tritonctl.inventory import JoinedModel, ServiceStatus
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.tensors import TensorSpec
from tritonctl.workbench import form as forms
from tritonctl.workbench.form import KINDS, Form
from tritonctl.workbench.history import History
from tui.keys import REQUEST
from tui.panes.model import ModelPane
from tui.panes.request.fields import Field, Fields
from tui.panes.request.load_line import LoadLine, parse_load
from tui.panes.request.paths import complete_path
from tui.panes.request.sending import Sending
from tui.widgets.sheet import Block, Heading, Piece, Sheet
from tui.widgets.trend import TrendLine

if TYPE_CHECKING:
    from tui.screens.model import ModelScreen

TIMES = 10
_INPUT = "input "


class RequestPane(ModelPane):
    """Nothing is sent before a key asks for it."""

    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in REQUEST]
    DEFAULT_CSS = """
    RequestPane #curve { height: 3; display: none; }
    RequestPane #curve.shown { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.form = Form()
        self.load = LoadLine()
        self.answer: list[Piece] = []
        self.errors: dict[str, str] = {}
        self.seen: tuple[ModelScreen, ServiceStatus, Sequence[JoinedModel]] | None = None
        self.history = History.usual(os.environ, Path.home())
        self._place = 0
        self._sending = Sending(self)

    def compose(self) -> ComposeResult:
        yield Fields(id="fields")
        with Vertical(id="curve"):
            yield TrendLine(id="rate")
            yield TrendLine(id="p50")
            yield TrendLine(id="p99")
        yield Sheet(id="answer")

    def take_focus(self) -> None:
        self.query_one(Fields).focus()

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
            self.query_one(Fields).show(())
            sheet.show([Block(self.seen[0].trouble, "muted")])
            return
        self.query_one(Fields).show(self._fields(self.schema))
        sheet.show(self.answer or [Block("enter edits the field, or sends; s sends from anywhere", "muted")])

    def _fields(self, schema: ModelSchema) -> list[Field]:
        form = self.form
        fields = [self._input(spec) for spec in schema.inputs]
        known = {spec.name for spec in schema.inputs}
        fields += [
            Field(_INPUT + name, name, "", text, error="the model has no such input")
            for name, text in form.values.items()
            if name not in known
        ]
        if any(spec.batched for spec in schema.inputs):
            fields.append(Field("batch", "batch", f"1 to {schema.max_batch_size}", str(form.batch)))
        fields.append(Field("version", "version", "", form.version or "the server's choice", made=not form.version))
        parameters = forms.parameters_line(form.parameters)
        needs = "needs sequence_id=1 sequence_start=true" if schema.sequence_batching else "none"
        fields.append(Field("parameters", "parameters", "", parameters or needs, made=not parameters))
        if not schema.decoupled:
            fields.append(Field("load", "load", "", str(self.load) or "once", made=self.load.once))
        fields.append(Field("send", "[ Send ]" if not self._sending.busy else "sending, esc stops it", "", ""))
        return fields

    def _input(self, spec: TensorSpec) -> Field:
        text = self.form.values.get(spec.name, "")
        if text:
            value = text
        elif spec.optional:
            value = "left out: optional"
        else:
            shape = self.form.shapes.get(spec.name)
            sizes = (
                f", shape {list(shape)}" if shape else ", free dimensions 1" if -1 in spec.shape[spec.batched :] else ""
            )
            value = f"{self.form.made}{sizes}"
        kind = f"{spec.datatype} {list(spec.shape)}"
        return Field(_INPUT + spec.name, spec.name, kind, value, not text, self.errors.get(spec.name, ""))

    # Editing

    def _ask(self, what: str, text: str, then: Callable[[str], None], *, paths: bool = False) -> None:
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

        if paths:
            self.seen[0].ask(f"{what} ", text, complete_path, entered)
        else:
            self.seen[0].ask(f"{what} ", text, then=entered)

    def action_enter(self) -> None:
        """Edit the field under the cursor, or send."""
        field = self.query_one(Fields).current
        if field is None:
            return
        if field.key.startswith(_INPUT):
            name = field.key.removeprefix(_INPUT)
            self._ask(f"{name} =", self.form.values.get(name, ""), lambda text: self._set_value(name, text), paths=True)
        elif field.key == "batch":
            self._ask("batch =", str(self.form.batch), self._set_batch)
        elif field.key == "version":
            self.action_version()
        elif field.key == "parameters":
            self._ask("parameters =", forms.parameters_line(self.form.parameters), self._set_parameters)
        elif field.key == "load":
            self._ask("load =", str(self.load), self._set_load)
        else:
            self.action_send()

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
        field = self.query_one(Fields).current
        if field is None or not field.key.startswith(_INPUT):
            if self.seen is not None:
                self.seen[0].say("the cursor is on no input", "warn")
            return
        name = field.key.removeprefix(_INPUT)
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
        if not place:
            self.seen[0].say("nothing was sent to this model from here yet", "warn")
            return
        entry = sent[place]
        self._change(entry.form)
        self._place = place
        when = time.strftime("%d %b %H:%M", time.localtime(entry.at))
        self.seen[0].say(f"sent {when} to {entry.service}{': ' + entry.outcome if entry.outcome else ''}")

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
        screen, status, _ = self.seen
        if not load.modest and (others := self._others(status)):
            self._ask(
                f"others send it {others:.1f} requests a second, a load would slow them down; yes sends it:",
                "",
                lambda text: self._sending.start(load) if text.lower() in ("y", "yes") else None,
            )
            return
        if not any(each.error is None and each.replica.address is not None for each in status.replicas):
            screen.say("no server of it can be reached", "failed")
            return
        self._sending.start(load)

    def _others(self, status: ServiceStatus) -> float:
        """Requests a second that the model gets now, when none of them is ours."""
        assert self.seen is not None
        rates = status.rates.models if status.rates is not None else {}
        return sum(each.requests_per_s or 0.0 for key, each in rates.items() if key.model == self.seen[0].model)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape stops what is being sent, and leaves the page when nothing is."""
        return self._sending.busy if action == "stop" else True

    def action_stop(self) -> None:
        self._sending.stop()

    # The answer

    def action_copy(self) -> None:
        """By OSC 52, which reaches the clipboard of the terminal's own machine over SSH."""
        self.app.copy_to_clipboard(self._sending.as_json() or self.query_one("#answer", Sheet).text())
        if self.seen is not None:
            self.seen[0].say("copied, where the terminal allows it (OSC 52)", "ok")

    def action_save(self) -> None:
        if self.seen is not None:
            self._ask("save the answer to", f"{self.seen[0].model}.json", self._sending.save, paths=True)

    def action_save_case(self) -> None:
        if self.seen is not None:
            self._ask("save the case in", f"cases/{self.seen[0].model}", self._sending.save_case, paths=True)

    def action_open_case(self) -> None:
        self._ask("send the case", "", self._sending.open_case, paths=True)

    def show_answer(self, pieces: Sequence[Piece]) -> None:
        self.answer = list(pieces)
        self.draw()

    def show_waiting(self, words: str = "sent, waiting …") -> None:
        self.show_answer([Heading("answer"), Block(words, "busy")])
