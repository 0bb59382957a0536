"""A test request from the model's page: data generated from its schema, sent, and the answer in words."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType

from tritonctl.errors import TritonctlError
from tritonctl.inventory import JoinedModel, ServiceStatus
from tritonctl.server.address import ServerAddress
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.tensors import shape_text
from tui.figures import duration_us
from tui.keys import REQUEST
from tui.panes.model import ModelPane
from tui.widgets.sheet import Block, Heading, Pair, Piece, Sheet

if TYPE_CHECKING:
    from tritonctl.server.inference import Inferencer
    from tritonctl.server.request import InferenceAnswer, InferenceRequest
    from tui.screens.model import ModelScreen

TIMEOUT_S = 30.0
TIMES = 10


class RequestPane(ModelPane):
    """Nothing is sent before a key asks for it."""

    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in REQUEST]

    def __init__(self) -> None:
        super().__init__()
        self._random = True
        self._seed = 0
        self._version: str | None = None  # None: the server chooses
        self._answer: list[Piece] = []
        self._sending = False
        self._seen: tuple[ModelScreen, ServiceStatus, Sequence[JoinedModel]] | None = None

    def compose(self) -> ComposeResult:
        yield Sheet()

    def show_model(self, screen: ModelScreen, status: ServiceStatus, versions: Sequence[JoinedModel]) -> None:
        self._seen = (screen, status, versions)
        self._draw()

    def _draw(self) -> None:
        if self._seen is None:
            return
        screen = self._seen[0]
        if screen.schema is None:
            self.query_one(Sheet).show([Block(screen.trouble, "muted")])
            return
        pieces: list[Piece] = [Heading("request")]
        values = f"random values, seed {self._seed}" if self._random else "zeros"
        for spec in screen.schema.inputs:
            left = " (left out: optional)" if spec.optional else f"   {values}, free dimensions 1"
            pieces.append(Pair(spec.name, f"{spec.datatype} {shape_text(spec.shape)}{left}"))
        pieces.append(Pair("version", self._version or "the server's choice"))
        if not self._answer:
            pieces.append(Block("\nenter sends it", "muted"))
        self.query_one(Sheet).show([*pieces, *self._answer])

    def action_fill(self) -> None:
        self._random = not self._random
        self._draw()

    def action_seed(self) -> None:
        self._random = True
        self._seed += 1
        self._draw()

    def action_version(self) -> None:
        if self._seen is not None:
            loaded: list[str | None] = [None, *(each.version for each in self._seen[2] if each.ready_on)]
            place = loaded.index(self._version) if self._version in loaded else 0
            self._version = loaded[(place + 1) % len(loaded)]
            self._draw()

    def action_copy(self) -> None:
        """By OSC 52, which reaches the clipboard of the terminal's own machine over SSH."""
        self.app.copy_to_clipboard(self.query_one(Sheet).text())
        if self._seen is not None:
            self._seen[0].say("copied, where the terminal allows it (OSC 52)", "ok")

    def action_send(self) -> None:
        self._begin(1)

    def action_repeat(self) -> None:
        self._begin(TIMES)

    def _begin(self, times: int) -> None:
        if self._sending or self._seen is None or self._seen[0].schema is None:
            return
        screen, status, _ = self._seen
        address = next((each.replica.address for each in status.replicas if each.error is None), None)
        if address is None:
            screen.say("no server of it can be reached", "failed")
            return
        self._sending = True
        self._answer = [Heading("answer"), Block("sent, waiting …", "busy")]
        self._draw()
        assert screen.schema is not None
        self._send(address, screen.schema, screen.model, times)

    @work(group="request", exit_on_error=False)
    async def _send(self, address: ServerAddress, shape: ModelSchema, model: str, times: int) -> None:
        # Loading these takes a quarter of a second, so they are loaded beside the loop and only here.
        import asyncio

        try:
            inference, make_request, tensors = await asyncio.to_thread(_load)
            fill = tensors.random if self._random else tensors.zeros
            options = {"seed": self._seed} if self._random else {}
            request = make_request(
                model, tuple(fill(spec, **options) for spec in shape.inputs if not spec.optional), self._version
            )
            async with inference.Inferencer(address, timeout_s=TIMEOUT_S) as inferencer:
                if shape.decoupled:
                    await self._stream(inferencer, request)
                else:
                    await self._ask(inferencer, request, times)
        except TritonctlError as error:
            self._answer = [Heading("answer"), Block(error.answer, "failed")]
            if error.advice:
                self._answer.append(Block(f"→ {error.advice}", "muted"))
        finally:
            self._sending = False
            self._draw()

    async def _ask(self, inferencer: Inferencer, request: InferenceRequest, times: int) -> None:
        repeated = await inferencer.repeat(request, times)
        answer, latency = repeated.answer, repeated.latency
        took = duration_us(latency.p50)
        if times > 1:
            took += (
                f" median of {len(repeated.latencies_us)}   min {duration_us(latency.min)}   "
                f"p99 {duration_us(latency.p99)}   max {duration_us(latency.max)}"
            )
        self._answer = [Heading("answer"), Pair("took", took), *_about(answer, inferencer)]
        self._answer += [Pair(f"{count} failed", words, "failed") for words, count in repeated.errors.items()]
        self._answer += _outputs(answer)

    async def _stream(self, inferencer: Inferencer, request: InferenceRequest) -> None:
        pieces: list[Piece] = []
        count = 0
        async with aclosing(inferencer.stream(request)) as answers:
            async for answer in answers:
                count += 1
                pieces.append(Pair(duration_us(answer.latency_us), "  ".join(_lines(answer))))
                head = Pair("answers", f"{count} so far, last after {duration_us(answer.latency_us)}")
                self._answer = [Heading("answers as they come"), head, *_about(answer, inferencer), *pieces[-200:]]
                self._draw()
        if not count:
            self._answer = [Heading("answer"), Block("the stream ended without an answer", "warn")]


def _load() -> tuple[Any, Any, Any]:
    """The modules that bring numpy and gRPC with them."""
    from tritonctl.server import inference, inference_grpc, request, tensors

    tensors.numpy_type("FP32")
    inference_grpc.load()
    return inference, request.InferenceRequest, tensors


def _about(answer: InferenceAnswer, inferencer: Inferencer) -> list[Piece]:
    why = f"   (gRPC: {inferencer.why_not_grpc})" if inferencer.why_not_grpc else ""
    return [Pair("answered by", f"version {answer.version or '?'} over {answer.protocol}{why}")]


def _lines(answer: InferenceAnswer) -> list[str]:
    from tritonctl.server.answer import summarise_answer

    return summarise_answer(answer)


def _outputs(answer: InferenceAnswer) -> list[Piece]:
    return [Block("\n" + "\n".join(_lines(answer)))]
