"""A test request to a service that is posted to: a body, typed or out of a file, and what comes back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.worker import Worker

from tritonctl.errors import TritonctlError, UsageError, fault
from tritonctl.inventory import ServiceStatus
from tritonctl.server.address import DEPLOYMENT, Secret, ServerAddress
from tritonctl.workbench.beside import Watching
from tritonctl.workbench.body import WHOLE
from tritonctl.workbench.form import Form
from tritonctl.workbench.history import STOPPED, History, Sent
from tritonctl.workbench.others import why_ask
from tui.keys import POST
from tui.panes.base import Pane
from tui.panes.request import said
from tui.panes.request.curve import Curve
from tui.panes.request.fields import Field, Fields
from tui.panes.request.load_line import LoadLine, parse_load
from tui.panes.request.paths import complete_path
from tui.screens.base import LiveScreen
from tui.widgets.sheet import Block, Heading, Piece, Sheet

if TYPE_CHECKING:
    from tritonctl.server.score import Body, ScoreClient, Scored

TIMEOUT_S = 60.0
REDRAW_S = 0.25
COPIED_BYTES = 256 * 1024
_TIMES = 10


class PostPane(Pane):
    """Nothing is sent before a key asks for it."""

    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in POST]

    def __init__(self) -> None:
        super().__init__()
        self.body = ""
        self.deployment = ""
        self.load = LoadLine()
        self.answer: list[Piece] = []
        self.error = ""
        self.agreed = False
        self.seen: tuple[LiveScreen, ServiceStatus] | None = None
        self.history = History.usual(os.environ, Path.home())
        self._place = 0
        self._worker: Worker[None] | None = None
        self._last: tuple[Body, list[Scored]] | None = None

    def compose(self) -> ComposeResult:
        yield Fields(id="fields")
        yield Curve()
        yield Sheet(id="answer")

    def take_focus(self) -> None:
        self.query_one(Fields).focus()

    def show_endpoint(self, screen: LiveScreen, status: ServiceStatus) -> None:
        self.seen = (screen, status)
        self.draw()

    def show(self, status: ServiceStatus) -> None:
        """It is shown by `show_endpoint`."""

    @property
    def busy(self) -> bool:
        return self._worker is not None and not self._worker.is_finished

    @property
    def _address(self) -> ServerAddress | None:
        if self.seen is None:
            return None
        address = self.seen[1].address_for("")
        if address is None or not self.deployment:
            return address
        headers = {name: value for name, value in address.headers.items() if name.lower() != DEPLOYMENT}
        return replace(address, headers={**headers, DEPLOYMENT: Secret(self.deployment)})

    def draw(self) -> None:
        """The form, and the answer below it."""
        if self.seen is None:
            return
        body = self.body or "its own example, where it gives one"
        self.query_one(Fields).show(
            [
                Field("body", "body", "JSON or @FILE", body, not self.body, self.error),
                Field("deployment", "deployment", "of Azure ML", self.deployment or "by traffic", not self.deployment),
                Field("load", "load", "", str(self.load) or "once", self.load.once),
                Field("send", "[ Send ]" if not self.busy else "sending, esc stops it", "", ""),
            ]
        )
        hint = f"POST {self._address.http if self._address else 'nowhere: it has no address'}"
        self.query_one("#answer", Sheet).show(self.answer or [Block(hint, "muted")])

    def show_answer(self, pieces: Sequence[Piece]) -> None:
        self.answer = list(pieces)
        self.draw()

    # Editing

    def action_enter(self) -> None:
        """Edit the field under the cursor, or send."""
        field = self.query_one(Fields).current
        key = field.key if field is not None else ""
        if key == "body":
            self._ask("body =", self.body, self._set_body, paths=True)
        elif key == "deployment":
            self._ask("deployment =", self.deployment, self._set_deployment)
        elif key == "load":
            self._ask("load =", str(self.load), self._set_load)
        else:
            self.action_send()

    def _ask(self, what: str, text: str, then: Callable[[str], None], *, paths: bool = False) -> None:
        if self.seen is None:
            return

        def entered(value: str) -> None:
            try:
                then(value.strip())
            except TritonctlError as error:
                if self.seen is not None:
                    self.seen[0].say(error.answer, "failed")
            self.draw()

        if paths:
            self.seen[0].ask(f"{what} ", text, complete_path, entered)
        else:
            self.seen[0].ask(f"{what} ", text, then=entered)

    def _set_body(self, text: str) -> None:
        self.body, self.error, self._place = text, "", 0
        if text:
            self.run_worker(self._check(text), group="check", exclusive=True, exit_on_error=False)

    async def _check(self, text: str) -> None:
        from tritonctl.workbench import body

        try:
            await asyncio.to_thread(body.of_text, text)
        except TritonctlError as error:
            if text == self.body:
                self.error = error.headline
                self.draw()

    def _set_deployment(self, text: str) -> None:
        self.deployment = text

    def _set_load(self, text: str) -> None:
        self.load = parse_load(text)

    def action_history(self, step: int) -> None:
        """To what was sent to this service before, and back."""
        if self.seen is None:
            return
        sent = self.history.of(self.seen[1].id)
        self._place = max(-len(sent), min(-1, self._place + step)) if sent else 0
        if not self._place:
            self.seen[0].say("nothing was sent to this service from here yet", "warn")
            return
        place = self._place
        self._set_body(_body_text(sent[place].form))
        self._place = place
        self.draw()

    # Sending

    def action_send(self) -> None:
        self._start(self.load)

    def action_repeat(self) -> None:
        self._start(LoadLine(_TIMES))

    def action_stop(self) -> None:
        if self._worker is not None:
            self._worker.cancel()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape stops what is being sent, and leaves the page when nothing is."""
        return self.busy if action == "stop" else True

    def _start(self, load: LoadLine) -> None:
        if self.busy or self.seen is None:
            return
        address = self._address
        if address is None:
            self.seen[0].say("no server of it can be reached", "failed")
            return
        unknown = why_ask(self.seen[1].id, None)
        if not load.modest and not self.agreed:
            self._ask(f"{unknown}; yes sends it:", "", lambda text: self._agree(text, load))
            return
        self.agreed = False
        self.show_answer([Heading("answer"), Block("sent, waiting …", "busy")])
        self._worker = self.run_worker(self._guarded(address, load), group="request", exit_on_error=False)
        self.draw()

    def _agree(self, text: str, load: LoadLine) -> None:
        if text.lower() in ("y", "yes"):
            self.agreed = True
            self._start(load)

    async def _guarded(self, address: ServerAddress, load: LoadLine) -> None:
        assert self.seen is not None
        service, text, began = self.seen[1].id, self.body, time.time()
        outcome, latency_us = STOPPED, None
        try:
            latency_us = await self._send(address, load)
            outcome = ""
        except TritonctlError as error:
            outcome = error.headline
            self.show_answer(said.error_pieces(error))
        except asyncio.CancelledError:
            self.answer = [Heading("stopped"), *self.answer[1:]]
            raise
        except Exception as caught:  # nobody looks at the worker: "sent, waiting" would stand there for ever
            failed = fault("send the request", caught)
            outcome = failed.headline
            self.show_answer(said.error_pieces(failed))
        finally:
            self._worker = None
            if text:
                sent = Sent(began, service, Form({WHOLE: text}), latency_us, outcome)
                await asyncio.to_thread(self.history.add, service, sent)
            if self.is_attached:
                self.draw()

    async def _send(self, address: ServerAddress, load: LoadLine) -> float | None:
        from tritonctl.server.score import ScoreClient

        self.query_one(Curve).hide()
        async with ScoreClient(address) as client:
            body = await self._body(client)
            if load.once:
                return await self._once(client, body)
            from tui.panes.request.measuring import measure

            await measure(
                load,
                await client.sender(body, TIMEOUT_S),
                curve=self.query_one(Curve),
                counted=_nothing,
                beside=_nobody(),
                show=self.show_answer,
            )
        return None

    async def _body(self, client: ScoreClient) -> Body:
        from tritonctl.workbench import body

        if self.body:
            return await asyncio.to_thread(body.of_text, self.body)
        sample = await client.sample()
        if sample is None:
            raise UsageError("body", "nothing to send: the service gives no example of its own", "type a body first")
        return sample

    async def _once(self, client: ScoreClient, body: Body) -> float | None:
        got: list[Scored] = []
        self._last = (body, got)
        drawn = 0.0
        async with aclosing(client.ask(body, TIMEOUT_S)) as answers:
            async for each in answers:
                got.append(each)
                if each.event and time.monotonic() - drawn > REDRAW_S:
                    drawn = time.monotonic()
                    self.show_answer(
                        [Heading("text as it comes; esc stops it"), *said.posted_pieces(got, body, ended=False)]
                    )
        if not got:
            self.show_answer([Heading("answer"), Block("the stream ended without an answer", "warn")])
            return None
        self.show_answer([Heading("answer"), *await asyncio.to_thread(said.posted_pieces, got, body, ended=True)])
        return got[-1].latency_us

    # The answer

    def action_copy(self) -> None:
        """By OSC 52."""
        if self.seen is None:
            return
        got = self._last[1] if self._last is not None else []
        if sum(len(each.content) for each in got) > COPIED_BYTES:
            self.seen[0].say("the answer is too large to copy: save it with ctrl-s", "warn")
            return
        text = got[0].text if got and not got[0].event else None
        self.app.copy_to_clipboard(text or self.query_one("#answer", Sheet).text())
        self.seen[0].say("copied, where the terminal allows it (OSC 52)", "ok")

    def action_save(self) -> None:
        if self.seen is not None:
            self._ask("save the answer to", "answer.json", self._save, paths=True)

    def _answered(self) -> tuple[Body, list[Scored]]:
        if self._last is None or not self._last[1]:
            raise UsageError("save", "there is no answer yet: send the request first")
        return self._last

    def _save(self, text: str) -> None:
        """As it came, events one a line."""
        contents = [each.content for each in self._answered()[1]]
        self._write(lambda: Path(text).expanduser().write_bytes(b"\n".join(contents)), text)

    def _write(self, write: Callable[[], object], to: str) -> None:
        """In a thread: the answer may be large, and the disk slow."""
        assert self.seen is not None
        screen = self.seen[0]

        async def work() -> None:
            try:
                await asyncio.to_thread(write)
                screen.say(f"saved {to}", "ok")
            except TritonctlError as error:
                screen.say(error.answer, "failed")
            except OSError as error:
                screen.say(f"{to}: {error.strerror or error}", "failed")

        self.run_worker(work(), group="save", exit_on_error=False)

    # Cases

    def action_save_case(self) -> None:
        if self.seen is not None:
            name = self.seen[1].id.rpartition("/")[2]
            self._ask("save the case in", f"cases/{name}", self._save_case, paths=True)

    def _save_case(self, text: str) -> None:
        from tritonctl.workbench import posted

        body, got = self._answered()
        self._write(partial(posted.save, Path(text).expanduser(), body, list(got)), f"the case in {text}")

    def action_open_case(self) -> None:
        if self.seen is not None and not self.busy:
            self._ask("send the case, or all in,", "cases", self._send_cases, paths=True)

    def _send_cases(self, text: str) -> None:
        address = self._address
        if address is None:
            raise UsageError("send the case", "no server of it can be reached")
        self.query_one(Curve).hide()
        self.show_answer([Heading("cases"), Block("sent, waiting …", "busy")])
        self._worker = self.run_worker(
            self._compare(address, Path(text).expanduser()), group="request", exit_on_error=False
        )
        self.draw()

    async def _compare(self, address: ServerAddress, path: Path) -> None:
        from tritonctl.workbench import case
        from tui.panes.request.keeping import post_cases

        try:
            folders = await asyncio.to_thread(case.find, [path])
            await post_cases(folders, address, TIMEOUT_S, self.show_answer)
        except TritonctlError as error:
            self.show_answer(said.error_pieces(error))
        except Exception as caught:
            self.show_answer(said.error_pieces(fault("send the cases", caught)))
        finally:
            self._worker = None
            if self.is_attached:
                self.draw()


async def _nothing(_at_least: int) -> None:
    return None


@asynccontextmanager
async def _nobody() -> AsyncIterator[Watching]:
    """Such a service tells nothing of itself."""
    yield Watching()


def _body_text(form: Form) -> str:
    """What was sent, as it can be typed here: fields that the command was given become one object."""
    from tritonctl.workbench import body

    if WHOLE in form.values:
        return form.values[WHOLE]
    if not form.values and not form.parameters:
        return ""
    try:
        return body.of_fields(form.values, form.parameters).content.decode()
    except UsageError:  # a file that is gone
        return ""
