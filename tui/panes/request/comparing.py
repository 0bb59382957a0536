"""The same request to two services or versions: both answers side by side, and what is different about them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tritonctl.errors import TritonctlError, UsageError
from tritonctl.inventory import ModelState, Snapshot
from tritonctl.server.address import ServerAddress
from tui.figures import duration_us
from tui.widgets.plaintext import fit, plain, wrap
from tui.widgets.sheet import Block, Heading, Pair, Piece, Rows

if TYPE_CHECKING:
    from tritonctl.server.modelconfig import ModelSchema
    from tritonctl.server.request import InferenceAnswer, InferenceRequest

TIMEOUT_S = 30.0
_SIDE_BY_SIDE_FROM = 100
"""Cells; below that one answer stands under the other."""
_LINES = 60


@dataclass(frozen=True, slots=True)
class Against:
    """What is compared with: another service, or another version, or both. None: as here."""

    service: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        words = [self.service or "", f"version {self.version}" if self.version else ""]
        return " ".join(filter(None, words))


def parse_against(text: str) -> Against | None:
    """[SERVICE] [version V]; nothing is nothing. Raises UsageError."""
    words = text.split()
    version = None
    if len(words) >= 2 and words[-2] == "version":
        version = words[-1]
        words = words[:-2]
    if len(words) > 1:
        raise UsageError("compare with", f"{text!r} is not understood", "SERVICE, version V, or SERVICE version V")
    return Against(words[0] if words else None, version) if words or version else None


def candidates(snapshot: Snapshot, here: str, model: str, version: str | None) -> list[str]:
    """Every version here but `version` (None: the newest), and every other service where the model is ready."""
    found = []
    for status in snapshot.services:
        versions = [each.version for each in status.models if each.name == model and each.ready_on and each.version]
        if status.id == here and versions:
            mine = version or max(versions, key=lambda each: (each.isdigit(), int(each) if each.isdigit() else 0))
            found += [f"version {each}" for each in versions if each != mine]
        elif any(each.name == model and each.worst.state is ModelState.READY for each in status.models):
            found.append(status.id)
            found += [f"{status.id} version {each}" for each in versions if len(versions) > 1]
    return found


async def answers_of(address: ServerAddress, schema: ModelSchema, request: InferenceRequest) -> list[InferenceAnswer]:
    from tritonctl.server.inference import Inferencer

    async with Inferencer(address, timeout_s=TIMEOUT_S) as inferencer:
        if not schema.decoupled:
            return [await inferencer.infer(request)]
        async with aclosing(inferencer.stream(request)) as answers:
            return [answer async for answer in answers]


@dataclass(frozen=True)
class Side:
    """One of the two: where it was sent, what came of it."""

    title: str
    answers: Sequence[InferenceAnswer] = ()
    error: str = ""


async def ask_side(
    title: str, address: ServerAddress, schema: ModelSchema, request: InferenceRequest, version: str | None
) -> Side:
    try:
        return Side(title, await answers_of(address, schema, replace(request, version=version)))
    except TritonctlError as error:
        return Side(title, error=error.answer or error.tried)


async def compared(left: Side, right: Side, width: int) -> list[Piece]:
    """Differences first, then both answers; reads whole tensors, in a thread."""
    return await asyncio.to_thread(_compared, left, right, width)


def _compared(left: Side, right: Side, width: int) -> list[Piece]:
    from tritonctl.workbench import case

    pieces: list[Piece] = [Heading(f"{left.title}  |  {right.title}")]
    if left.error or right.error:
        pieces.append(Pair("compared", "not both have answered", "failed"))
    else:
        found = case.compare([each.outputs for each in left.answers], [each.outputs for each in right.answers], {})
        pieces.append(Pair("answers", "alike" if not found else "differ", "ok" if not found else "warn"))
        pieces += [Pair(each.output, each.words.replace("expected", "left has"), "warn") for each in found]
    if width >= _SIDE_BY_SIDE_FROM:
        half = (width - 5) // 2
        columns = [_lines(each, half) for each in (left, right)]
        height = max(map(len, columns))
        rows = []
        for at in range(height):
            a, b = (column[at] if at < len(column) else "" for column in columns)
            rows.append(((fit(a, half), ""), (" │ ", "muted"), (fit(b, half), "")))
        return [*pieces, Rows(((("", ""),),)), Rows(tuple(rows))]
    for side in (left, right):
        pieces += [Heading(side.title), Block("\n".join(_lines(side, max(20, width - 2))), "failed" * bool(side.error))]
    return pieces


def _lines(side: Side, width: int) -> list[str]:
    from tritonctl.server.answer import summarise_answer

    if side.error:
        lines = side.error.splitlines()
    elif not side.answers:
        lines = ["the stream ended without an answer"]
    else:
        last = side.answers[-1]
        where = f", deployment {last.deployment}" if last.deployment else ""
        head = f"version {last.version or '?'}{where} in {duration_us(last.latency_us)}"
        several = f", {len(side.answers)} answers" if len(side.answers) > 1 else ""
        lines = [head + several]
        for answer in side.answers[-10:]:
            lines += summarise_answer(answer)
    return [part for line in lines[:_LINES] for part in wrap(plain(line), width)]
