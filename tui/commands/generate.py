"""`infer --generate`: a text model over Triton's generate extension, its text written as it comes, or whole."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from tritonctl.errors import UsageError
from tritonctl.inventory import ReplicaStatus
from tritonctl.server.generate import Piece, can_generate, fields_of, generate
from tritonctl.server.inference import Latency
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.request import InferenceRequest
from tritonctl.workbench.history import History, Sent
from tui import figures
from tui.commands import documents, text
from tui.commands.cut import Cut
from tui.commands.latency import told_when_stopped
from tui.commands.session import Session
from tui.commands.streams import say, tell


async def generate_text(
    session: Session,
    target: ReplicaStatus,
    shape: ModelSchema,
    request: InferenceRequest,
    sent: Sent | None,
    history: History,
    cut: Cut,
) -> int:
    """Ctrl-C closes the connection, at which the server cancels the request."""
    assert target.replica.address is not None
    if not can_generate(shape):
        raise UsageError(
            f"infer {request.model} --generate",
            "the model has no text_input and text_output",
            "without --generate its tensors are sent as they are",
        )
    pieces: list[Piece] = []
    cut.document = lambda error: document(request, pieces, error)
    stream = generate(
        target.replica.address,
        request.model,
        fields_of(request),
        version=request.version,
        stream=session.arguments.generate == "stream",
        timeout_s=session.infer_timeout_s,
    )
    with (
        history.keeping(request.model, sent) as took,
        told_when_stopped(lambda: [each.latency_us for each in pieces]),
    ):
        async with aclosing(stream):
            async for piece in stream:
                pieces.append(piece)
                if not session.json:
                    tell("\n".join(text.clean(line) for line in piece.text.split("\n")), end="")
        took += [pieces[-1].latency_us] if pieces else []
    if session.json:
        tell(documents.dump(document(request, pieces)))
        return 0
    tell("")
    if not pieces:
        say("the stream ended without an answer")
        return 0
    times = [each.latency_us for each in pieces]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    between = f", between {figures.duration_us(Latency.of(gaps).p50)}" if gaps else ""
    first, total = figures.duration_us(times[0]), figures.duration_us(times[-1])
    say(f"{len(pieces)} pieces, first after {first}{between}, total {total}")
    return 0


def document(request: InferenceRequest, pieces: Sequence[Piece], error: str | None = None) -> dict[str, Any]:
    """What -o json writes: as of tensors, with the `pieces` in place of outputs. The latency is to the last of them."""
    told = str(pieces[-1].fields.get("model_version", "")) if pieces else ""
    return {
        "model": request.model,
        "version": told or request.version,
        "protocol": "generate",
        "deployment": None,
        "latency_us": Latency.of([pieces[-1].latency_us]).document() if pieces else None,
        "outputs": [],
        "pieces": [dict(each.fields) for each in pieces],
        "at_us": [round(each.latency_us, 1) for each in pieces],
        "error": error,
    }
