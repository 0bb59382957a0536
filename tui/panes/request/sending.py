"""The pane's work: fills the form, sends it once, as a stream, as a load or as a case, and shows what comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from textual.worker import Worker

from tritonctl.errors import TritonctlError, UsageError
from tritonctl.server.address import ServerAddress
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.workbench import form as forms
from tritonctl.workbench.history import Sent
from tritonctl.workbench.load import LoadResult, run_load, search
from tritonctl.workbench.split import Counted, read_counted, split
from tui.figures import duration_us, number
from tui.panes.request import said
from tui.panes.request.load_line import LoadLine
from tui.widgets.sheet import Block, Heading, Pair, Piece
from tui.widgets.trend import TrendLine

if TYPE_CHECKING:
    from tritonctl.server.inference import Inferencer
    from tritonctl.server.request import InferenceAnswer, InferenceRequest
    from tui.panes.request.pane import RequestPane

TIMEOUT_S = 30.0
STREAM_TIMEOUT_S = 600.0
TOP = 5
SEARCH_STEP_S = 3.0
REDRAW_S = 0.25


class Sending:
    """What is under way, one thing at a time, and the last answer."""

    def __init__(self, pane: RequestPane) -> None:
        self._pane = pane
        self._worker: Worker[None] | None = None
        self._last: tuple[InferenceRequest, list[InferenceAnswer]] | None = None

    @property
    def busy(self) -> bool:
        return self._worker is not None and not self._worker.is_finished

    def stop(self) -> None:
        """The request is cancelled at the server, as far as its protocol can."""
        if self._worker is not None:
            self._worker.cancel()

    def start(self, load: LoadLine) -> None:
        self._run(lambda address, schema: self._send(address, schema, load))

    def _run(self, work: Callable[[ServerAddress, ModelSchema], Awaitable[None]]) -> None:
        pane = self._pane
        if self.busy or pane.seen is None or pane.schema is None:
            return
        address = next(
            (each.replica.address for each in pane.seen[1].replicas if each.error is None and each.replica.address),
            None,
        )
        if address is None:
            pane.seen[0].say("no server of it can be reached", "failed")
            return
        schema = pane.schema

        async def guarded() -> None:
            try:
                await work(address, schema)
            except TritonctlError as error:
                pane.show_answer(said.error_pieces(error))
            except asyncio.CancelledError:
                pane.answer = [Heading("stopped"), *pane.answer[1:]]
                raise
            finally:
                self._worker = None
                if pane.is_attached:
                    pane.draw()

        pane.show_waiting()
        self._worker = pane.run_worker(guarded(), group="request", exit_on_error=False)
        pane.draw()

    # Filling

    async def check(self, schema: ModelSchema) -> dict[str, object]:
        """Fill the form in a thread: its errors stand beside their fields. Returns the tensors."""
        pane = self._pane
        form = pane.form
        filled = await asyncio.to_thread(forms.fill, form, schema)
        pane.errors = {name: error.headline for name, error in filled.errors.items()}
        return dict(filled.tensors)

    async def _request(self, schema: ModelSchema) -> InferenceRequest:
        """Raises UsageError where a field is wrong; which one and why stands beside it."""
        pane = self._pane
        form = pane.form
        # Loading numpy and gRPC takes a quarter of a second, so they are loaded beside the loop and only here.
        await asyncio.to_thread(_load)
        filled = await asyncio.to_thread(forms.fill, form, schema)
        pane.errors = {name: error.headline for name, error in filled.errors.items()}
        for error in filled.errors.values():
            raise UsageError(error.tried, f"nothing was sent: {error.tried}: {error.answer}", error.advice)
        return forms.as_request(form, schema, filled.tensors)

    # Sending

    async def _send(self, address: ServerAddress, schema: ModelSchema, load: LoadLine) -> None:
        from tritonctl.server.inference import Inferencer

        pane = self._pane
        assert pane.seen is not None
        began, form, service, model = time.time(), pane.form, pane.seen[1].id, pane.seen[0].model
        outcome, latency_us = "stopped", None
        try:
            request = await self._request(schema)
            pane.query_one("#curve").set_class(False, "shown")
            timeout_s = STREAM_TIMEOUT_S if schema.decoupled else TIMEOUT_S
            async with Inferencer(address, timeout_s=timeout_s) as inferencer:
                if schema.decoupled:
                    latency_us = await self._stream(inferencer, request)
                elif load.once:
                    latency_us = await self._once(address, inferencer, schema, request)
                else:
                    await self._measure(address, inferencer, request, load)
            outcome = ""
        except TritonctlError as error:
            outcome = error.headline
            raise
        finally:
            sent = Sent(began, service, form, latency_us, outcome)
            await asyncio.to_thread(pane.history.add, model, sent)

    async def _once(
        self, address: ServerAddress, inferencer: Inferencer, schema: ModelSchema, request: InferenceRequest
    ) -> float:
        asked = replace(request, outputs=forms.classes_of(schema, TOP))
        before = await _counted(address, request)
        answer = await inferencer.infer(asked)
        after = await _counted(address, request, before.success + 1) if before is not None else None
        parts = split(before, after, 1, answer.latency_us, answer.client_us) if before and after else None
        self._last = (asked, [answer])
        classified = {output.name for output in asked.outputs if output.classes}
        app = self._pane.app
        colours = not (app.native_ansi_color or app.no_color)
        ascii_only = not self._pane.query_one("#fields").symbols.braille  # type: ignore[attr-defined]
        outputs = await asyncio.to_thread(
            said.output_pieces, answer, classified, schema, colours=colours, ascii_only=ascii_only
        )
        self._pane.show_answer(
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
                    self._pane.show_answer([*head, *said.stream_pieces(got, ended=False)])
        if not got:
            self._pane.show_answer([Heading("answer"), Block("the stream ended without an answer", "warn")])
            return None
        pieces = [*said.about(got[-1], inferencer), *said.stream_pieces(got, ended=True)]
        self._pane.show_answer([Heading("answers"), *pieces])
        return got[-1].latency_us

    async def _measure(
        self, address: ServerAddress, inferencer: Inferencer, request: InferenceRequest, load: LoadLine
    ) -> None:
        before = await _counted(address, request)
        send = await inferencer.sender(request)
        pane = self._pane
        pane.query_one("#curve").set_class(True, "shown")
        newest = LoadResult(load.plan())

        def told(result: LoadResult) -> None:
            nonlocal newest
            newest = result
            self._curve(result)
            pane.show_answer([*said.load_pieces(result, None, ended=False), *self._server_now()])

        if load.limit_ms:
            found = await search(send, load.limit_ms * 1000, step_s=load.duration_s or SEARCH_STEP_S, told=told)
            pieces: list[Piece] = [Heading(f"highest load with p99 under {load.limit_ms:g} ms")]
            best = found.best
            words = f"{found.concurrency} at once, {number(best.requests_per_s)} requests a second" if best else "none"
            pieces.append(Pair("found", words, "ok" if best else "warn"))
            for each in found.tries:
                p99 = duration_us(each.histogram.percentile(99))
                pieces.append(
                    Pair(f"{each.plan.concurrency} at once", f"{number(each.requests_per_s)} a second, p99 {p99}")
                )
            pane.show_answer(pieces)
            return
        try:
            result = await run_load(load.plan(), send, told)
        except asyncio.CancelledError:
            pane.show_answer(said.load_pieces(newest, None, ended=True))
            raise
        after = None
        if before is not None and "lost" not in result.stopped:
            after = await _counted(address, request, before.success + result.done + 1)
        mean = result.histogram.mean
        parts = split(before, after, result.done + 1, mean) if before and after and mean is not None else None
        self._curve(result)
        pane.show_answer([*said.load_pieces(result, parts, ended=True), *self._server_now()])

    def _curve(self, result: LoadResult) -> None:
        points = list(result.points)
        pane = self._pane

        def ms(value: float | None) -> float | None:
            return value / 1000 if value is not None else None

        pane.query_one("#rate", TrendLine).show("requests/s", [each.requests_per_s for each in points])
        pane.query_one("#p50", TrendLine).show("latency p50", [ms(each.p50_us) for each in points], unit="ms")
        pane.query_one("#p99", TrendLine).show("latency p99", [ms(each.p99_us) for each in points], unit="ms")

    def _server_now(self) -> list[Piece]:
        """What the server's own metrics say meanwhile, of everybody's requests."""
        seen = self._pane.seen
        if seen is None or seen[1].rates is None:
            return []
        pieces: list[Piece] = []
        for key, rates in seen[1].rates.models.items():
            if key.model == seen[0].model and rates.requests_per_s:
                pieces.append(
                    Pair(
                        f"server, version {key.version}",
                        f"queue {duration_us(rates.avg_queue_us)} · compute {duration_us(rates.avg_compute_us)} · "
                        f"batch {number(rates.avg_batch)} · pending {number(rates.pending)}",
                    )
                )
        for gpu in seen[1].rates.gpus:
            busy = f"{gpu.utilization:.0%}" if gpu.utilization is not None else "–"
            pieces.append(Pair(f"GPU {gpu.uuid[:12]}", f"busy {busy}"))
        return pieces

    # Cases and files

    def as_json(self) -> str | None:
        """The last answer as `infer -o json` writes it; None where there is none."""
        if self._last is None or not self._last[1]:
            return None
        import json

        from tritonctl.server.answer import document

        return json.dumps(document(self._last[0].model, self._last[1]), ensure_ascii=False, indent=2)

    def save(self, text: str) -> None:
        """Raises UsageError."""
        if self._last is None or not self._last[1]:
            raise UsageError("save", "there is no answer yet: send the request first")
        from tritonctl.workbench.keeping import save_outputs

        files = save_outputs(Path(text).expanduser(), self._last[0].model, self._last[1])
        self._say(f"saved {', '.join(str(each) for each in files)}")

    def save_case(self, text: str) -> None:
        """Send the form once more, for all of its numbers, and keep request and answer."""

        folder = Path(text).expanduser()

        async def work(address: ServerAddress, schema: ModelSchema) -> None:
            from tritonctl.workbench import case

            request = await self._request(schema)
            answers = await self._answers(address, schema, request)
            await asyncio.to_thread(case.save, folder, request, answers)
            self._pane.show_answer([Heading("case"), Block(f"saved in {text}", "ok")])

        self._run(work)

    def open_case(self, text: str) -> None:
        """Send a saved case again and show how its answer differs."""
        folder = Path(text).expanduser()

        async def work(address: ServerAddress, schema: ModelSchema) -> None:
            from tritonctl.workbench import case

            await asyncio.to_thread(_load)
            kept = await asyncio.to_thread(case.load, folder)
            if kept.request.model != schema.name:
                raise UsageError(f"case {text}", f"it is a case of {kept.request.model}, not of {schema.name}")
            version = self._pane.form.version or kept.request.version
            answers = await self._answers(address, schema, replace(kept.request, version=version))
            got = [answer.outputs for answer in answers]
            differences = await asyncio.to_thread(case.compare, kept.answers, got, kept.tolerances)
            self._pane.show_answer(said.case_pieces(kept.name, differences))

        self._run(work)

    async def _answers(
        self, address: ServerAddress, schema: ModelSchema, request: InferenceRequest
    ) -> list[InferenceAnswer]:
        from tritonctl.server.inference import Inferencer

        async with Inferencer(address, timeout_s=TIMEOUT_S) as inferencer:
            if not schema.decoupled:
                return [await inferencer.infer(request)]
            async with aclosing(inferencer.stream(request)) as answers:
                return [answer async for answer in answers]

    def _say(self, words: str) -> None:
        if self._pane.seen is not None:
            self._pane.seen[0].say(words, "ok")


def _load() -> None:
    """The modules that bring numpy and gRPC with them."""
    from tritonctl.server import inference_grpc, tensors

    tensors.numpy_type("FP32")
    inference_grpc.load()


async def _counted(address: ServerAddress, request: InferenceRequest, at_least: int = 0) -> Counted | None:
    from tritonctl.server.client import ServerClient

    async with ServerClient(address, timeout_s=2.0) as client:
        return await read_counted(client, request.model, request.version, at_least)
