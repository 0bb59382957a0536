"""The pane's work: fills the form, sends it once, as a stream, a load, to two sides or as a case; shows what comes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tritonctl.errors import TritonctlError, UsageError, fault
from tritonctl.server.address import ServerAddress, Speaks
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.workbench import form as forms
from tritonctl.workbench.form import Filled
from tritonctl.workbench.history import STOPPED, Sent
from tritonctl.workbench.split import Counted, read_counted, split
from tui.figures import duration_us
from tui.panes.request import said
from tui.panes.request.curve import Curve
from tui.panes.request.face import RequestFace
from tui.panes.request.load_line import LoadLine
from tui.widgets.sheet import Block, Heading, Pair, Piece

if TYPE_CHECKING:
    from tritonctl.server.generate import Piece as GeneratePiece
    from tritonctl.server.inference import Inferencer
    from tritonctl.server.request import InferenceAnswer, InferenceRequest
    from tritonctl.workbench.beside import Watching

TIMEOUT_S = 30.0
STREAM_TIMEOUT_S = 600.0
TOP = 5
REDRAW_S = 0.25
COPIED_BYTES = 256 * 1024
"""Terminals take no more by OSC 52; a larger answer is saved."""

Work = Callable[[ServerAddress, ModelSchema], Awaitable[None]]


class Sending:
    """What is under way, one thing at a time, and the last answer."""

    def __init__(self, face: RequestFace, ask_for_a_load: Callable[[LoadLine], None]) -> None:
        """`ask_for_a_load` is called where others use the model; `start` with `agreed` sends it all the same."""
        self._face = face
        self._ask_for_a_load = ask_for_a_load
        self._last: tuple[InferenceRequest, list[InferenceAnswer]] | None = None

    def stop(self) -> None:
        """The request is cancelled at the server, as far as its protocol can."""
        if self._face.worker is not None:
            self._face.worker.cancel()

    def start(self, load: LoadLine, *, agreed: bool = False) -> None:
        self.run(lambda address, schema: self._send(address, schema, load, agreed))

    def run(self, work: Work, waiting: str = "sent, waiting …") -> None:
        """Do this, with what came of it or what went wrong on the screen."""
        face = self._face
        if face.busy or face.seen is None or face.schema is None:
            return
        address = face.seen.status.address_for(face.seen.model)
        if address is None:
            face.say("no server of it can be reached", "failed")
            return
        schema = face.schema

        async def guarded() -> None:
            try:
                await work(address, schema)
            except TritonctlError as error:
                face.show_answer(said.error_pieces(error))
            except asyncio.CancelledError:
                face.answer = [Heading("stopped"), *face.answer[1:]]
                raise
            except Exception as error:  # nobody looks at the worker: "sent, waiting" would stand there for ever
                face.show_answer(said.error_pieces(fault("send the request", error)))
            finally:
                face.worker = None
                if face.is_attached:
                    face.draw()

        face.query_one(Curve).hide()
        face.show_waiting(waiting)
        face.worker = face.run_worker(guarded(), group="request", exit_on_error=False)
        face.draw()

    # Filling

    async def check(self, schema: ModelSchema) -> None:
        """Fill the form in a thread: its errors stand beside their fields."""
        await self._filled(schema)

    async def _filled(self, schema: ModelSchema) -> Filled:
        draft = self._face.draft
        filled = await asyncio.to_thread(forms.fill, draft.form, schema, draft.given)
        draft.errors = {name: error.headline for name, error in filled.errors.items()}
        draft.wrong_batch = filled.wrong_batch.headline if filled.wrong_batch is not None else ""
        draft.wrong_against = self._wrong_against()
        return filled

    async def _request(self, schema: ModelSchema) -> InferenceRequest:
        """Raises UsageError where a field is wrong; which one and why stands beside it."""
        form = self._face.draft.form
        # Loading numpy and gRPC takes a quarter of a second, so they are loaded beside the loop and only here.
        await asyncio.to_thread(_load)
        filled = await self._filled(schema)
        for error in filled.all_errors:
            raise UsageError(error.tried, f"nothing was sent: {error.tried}: {error.answer}", error.advice)
        return forms.as_request(form, schema, filled.tensors)

    # Sending

    async def _send(self, address: ServerAddress, schema: ModelSchema, load: LoadLine, agreed: bool) -> None:
        from tritonctl.server.inference import Inferencer

        face = self._face
        assert face.seen is not None
        began, form, service, model = time.time(), face.draft.form, face.seen.status.id, face.seen.model
        outcome, latency_us, was_sent = STOPPED, None, True
        try:
            request = await self._request(schema)
            timeout_s = STREAM_TIMEOUT_S if schema.decoupled else TIMEOUT_S
            async with Inferencer(address, timeout_s=timeout_s) as inferencer:
                if face.draft.generates(schema):
                    latency_us = await self._generate(address, request)
                elif face.draft.against is not None:
                    latency_us = await self._compare(address, schema, request)
                elif not load.once:
                    was_sent = await self._measure(address, inferencer, schema, request, load, agreed)
                elif schema.decoupled:
                    latency_us = await self._stream(inferencer, request)
                else:
                    latency_us = await self._once(address, inferencer, schema, request)
            outcome = ""
        except TritonctlError as error:
            outcome = error.headline
            raise
        finally:
            if was_sent:
                sent = Sent(began, service, form, latency_us, outcome)
                await asyncio.to_thread(face.history.add, model, sent)

    async def _once(
        self, address: ServerAddress, inferencer: Inferencer, schema: ModelSchema, request: InferenceRequest
    ) -> float:
        asked = replace(request, outputs=forms.classes_of(schema, TOP))
        before = await counted(address, request)
        answer = await inferencer.infer(asked)
        after = await counted(address, request, before.success + 1) if before is not None else None
        parts = split(before, after, 1, answer.latency_us, answer.client_us) if before and after else None
        self._last = (asked, [answer])
        classified = {output.name for output in asked.outputs if output.classes}
        app = self._face.app
        colours = not (app.native_ansi_color or app.no_color)
        ascii_only = not self._face.fields.symbols.braille
        outputs = await asyncio.to_thread(
            said.output_pieces, answer, classified, schema, colours=colours, ascii_only=ascii_only
        )
        self._face.show_answer(
            [
                Heading("answer"),
                Pair("took", duration_us(answer.latency_us)),
                *said.split_pieces(parts),
                *said.about(answer, inferencer),
                *outputs,
            ]
        )
        return answer.latency_us

    async def _stream(self, inferencer: Inferencer, request: InferenceRequest) -> float | None:
        got: list[InferenceAnswer] = []
        self._last = (request, got)
        drawn = 0.0
        async with aclosing(inferencer.stream(request)) as answers:
            async for answer in answers:
                got.append(answer)
                if time.monotonic() - drawn > REDRAW_S:
                    drawn = time.monotonic()
                    head: list[Piece] = [
                        Heading("answers as they come; esc stops them"),
                        *said.about(answer, inferencer),
                    ]
                    self._face.show_answer([*head, *said.stream_pieces(got, ended=False)])
        if not got:
            self._face.show_answer([Heading("answer"), Block("the stream ended without an answer", "warn")])
            return None
        pieces = [*said.about(got[-1], inferencer), *said.stream_pieces(got, ended=True)]
        self._face.show_answer([Heading("answers"), *pieces])
        return got[-1].latency_us

    async def _generate(self, address: ServerAddress, request: InferenceRequest) -> float | None:
        """By Triton's generate extension: the text as it comes, or whole."""
        from tritonctl.server.generate import fields_of, generate

        face = self._face
        path = f"answered by POST …/{face.draft.way}"
        got: list[GeneratePiece] = []
        drawn = 0.0
        stream = generate(
            address,
            request.model,
            fields_of(request),
            version=request.version,
            stream=face.draft.way == "generate_stream",
            timeout_s=STREAM_TIMEOUT_S,
        )
        async with aclosing(stream):
            async for piece in stream:
                got.append(piece)
                if time.monotonic() - drawn > REDRAW_S:
                    drawn = time.monotonic()
                    head: list[Piece] = [Heading("text as it comes; esc stops it"), Pair("by", path)]
                    face.show_answer([*head, *said.piece_pieces(got, ended=False)])
        face.show_answer([Heading("answer"), Pair("by", path), *said.piece_pieces(got, ended=True)])
        return got[-1].latency_us if got else None

    # Two sides

    def _wrong_against(self) -> str:
        """Why the service that is compared with cannot be asked; nothing where it can."""
        against, seen = self._face.draft.against, self._face.seen
        address = seen.status.address_for(seen.model) if seen is not None else None
        if against is None or address is None:
            return ""
        try:
            self._other_side(address)
        except TritonctlError as error:
            return error.headline
        return ""

    def _other_side(self, address: ServerAddress) -> tuple[ServerAddress, str | None, str]:
        """The address, version and name of what is compared with. Raises UsageError where it cannot be reached."""
        face = self._face
        against = face.draft.against
        assert against is not None
        assert face.seen is not None
        if against.service is None:
            return address, against.version, str(against)
        fleet = face.seen.page.triton.fleet
        status = fleet.resolve(against.service)
        other = status.address_for(face.seen.model)
        if other is None:
            raise UsageError("compare with", f"no server of {status.id} can be reached", status.error or "")
        return other, against.version, f"{status.id}{f' version {against.version}' if against.version else ''}"

    async def _compare(self, address: ServerAddress, schema: ModelSchema, request: InferenceRequest) -> float | None:
        from tui.panes.request.comparing import ask_side, compared

        face = self._face
        assert face.seen is not None
        other, version, name = self._other_side(address)
        mine = f"version {request.version}" if request.version else "the server's choice"
        left = await ask_side(f"{face.seen.status.id} {mine}", address, schema, request, request.version)
        right = await ask_side(name, other, schema, request, version or request.version)
        self._last = (request, list(left.answers))
        face.show_answer(await compared(left, right, face.size.width))
        return left.answers[-1].latency_us if left.answers else None

    # A load

    async def _measure(
        self,
        address: ServerAddress,
        inferencer: Inferencer,
        schema: ModelSchema,
        request: InferenceRequest,
        load: LoadLine,
        agreed: bool,
    ) -> bool:
        """False where it was not sent, since it is asked first."""
        from tritonctl.server.client import ServerClient
        from tritonctl.workbench.beside import watching
        from tritonctl.workbench.others import requests_of_others, why_ask
        from tui.panes.request.measuring import measure

        face = self._face
        async with ServerClient(address, timeout_s=2.0) as client:
            if not load.modest and not agreed:
                face.show_waiting("looking for a second whether others use it …")
                others = await requests_of_others(client, request.model) if _is_triton(address) else None
                if words := why_ask(request.model, others):
                    face.show_answer(
                        [Heading("nothing was sent"), Block(f"{words}; a load would slow them down", "warn")]
                    )
                    self._ask_for_a_load(load)
                    return False
            beside: contextlib.AbstractAsyncContextManager[Watching] = watching(client, request.model)
            await measure(
                load,
                await inferencer.sender(request, decoupled=schema.decoupled),
                curve=face.query_one(Curve),
                counted=lambda at_least: counted(address, request, at_least),
                beside=beside,
                show=face.show_answer,
            )
        return True

    # Cases and files

    def as_json(self) -> str | None:
        """The last answer as `infer -o json` writes it; None where there is none. Raises UsageError for a large one."""
        if self._last is None or not self._last[1]:
            return None
        size = sum(output.data.nbytes for answer in self._last[1] for output in answer.outputs)
        if size > COPIED_BYTES:
            raise UsageError("copy", f"an answer of {size // 1024} KiB is too large to copy: save it with ctrl-s")
        import json

        from tritonctl.server.answer import document

        return json.dumps(document(self._last[0].model, self._last[1]), ensure_ascii=False, indent=2)

    def save(self, text: str) -> None:
        """Raises UsageError where there is nothing to save; what else goes wrong is said."""
        if self._last is None or not self._last[1]:
            raise UsageError("save", "there is no answer yet: send the request first")
        model, got, path = self._last[0].model, list(self._last[1]), Path(text).expanduser()

        async def work() -> None:
            from tritonctl.workbench.keeping import save_outputs

            try:
                files = await asyncio.to_thread(save_outputs, path, model, got)
                self._face.say(f"saved {', '.join(str(each) for each in files)}", "ok")
            except TritonctlError as error:
                self._face.say(error.answer, "failed")

        self._face.run_worker(work(), group="save", exit_on_error=False)

    def save_case(self, text: str) -> None:
        """Send the form once more, for all of its numbers, and keep request and answer."""
        folder = Path(text).expanduser()

        async def work(address: ServerAddress, schema: ModelSchema) -> None:
            from tritonctl.workbench import case
            from tui.panes.request.comparing import answers_of

            request = await self._request(schema)
            answers = await answers_of(address, schema, request)
            await asyncio.to_thread(case.save, folder, request, answers)
            self._face.show_answer([Heading("case"), Block(f"saved in {text}", "ok")])

        self.run(work)

    def send_cases(self, folders: Sequence[Path]) -> None:
        """Send saved cases again and show how their answers differ from what was saved, or from the other side's."""

        async def work(address: ServerAddress, schema: ModelSchema) -> None:
            from tui.panes.request.keeping import send_cases

            await asyncio.to_thread(_load)
            there = self._other_side(address) if self._face.draft.against is not None else None
            pieces = await send_cases(folders, (address, self._face.draft.form.version), there, schema)
            self._face.show_answer(pieces)

        self.run(work)


def _load() -> None:
    """The modules that bring numpy and gRPC with them."""
    from tritonctl.server import inference_grpc, tensors

    tensors.numpy_type("FP32")
    inference_grpc.load()


def _is_triton(address: ServerAddress) -> bool:
    return address.protocol is Speaks.TRITON


async def counted(address: ServerAddress, request: InferenceRequest, at_least: int = 0) -> Counted | None:
    """The statistics, where the server tells them."""
    from tritonctl.server.client import ServerClient

    if not _is_triton(address):
        return None
    async with ServerClient(address, timeout_s=2.0) as client:
        return await read_counted(client, request.model, request.version, at_least)
