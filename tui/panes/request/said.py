"""What is said of an answer, a stream, a load or a case in the pane, as pieces of a sheet."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tritonctl.errors import TritonctlError
from tritonctl.workbench.beside import Beside
from tritonctl.workbench.load import Found, LoadResult
from tritonctl.workbench.split import Split
from tui.figures import duration_us, number, percent
from tui.widgets.sheet import Block, Heading, Pair, Piece, Rows

if TYPE_CHECKING:
    from tritonctl.server.generate import Piece as GeneratePiece
    from tritonctl.server.inference import Inferencer
    from tritonctl.server.modelconfig import ModelSchema
    from tritonctl.server.request import InferenceAnswer
    from tritonctl.server.score import Body, Scored
    from tritonctl.workbench.case import Difference
    from tritonctl.workbench.picture import Pixel

PICTURE_WIDTH = 64
PICTURE_HEIGHT = 48
STREAM_LINES = 200


def error_pieces(error: TritonctlError) -> list[Piece]:
    pieces: list[Piece] = [Heading("answer"), Block(error.answer or error.tried, "failed")]
    return [*pieces, Block(f"→ {error.advice}", "muted")] if error.advice else pieces


def about(answer: InferenceAnswer, inferencer: Inferencer) -> list[Piece]:
    why = f"   (gRPC: {inferencer.why_not_grpc})" if inferencer.why_not_grpc else ""
    where = f", deployment {answer.deployment}" if answer.deployment else ""
    named = f", request id {answer.request_id}" if answer.request_id else ""
    return [Pair("answered by", f"version {answer.version or '?'}{where} over {answer.protocol}{named}{why}")]


def split_pieces(parts: Split | None) -> list[Piece]:
    if parts is None:
        return []
    cached = "   from the response cache" if parts.cached else ""
    server = f"queue {duration_us(parts.queue_us)} · compute {duration_us(parts.compute_us)}{cached}"
    if parts.others:  # no parts of this one's time: they may be longer than it
        return [Pair("averages", f"{server}   of {parts.requests} requests, others' among them")]
    client = f" + client {duration_us(parts.client_us)}" if parts.client_us else ""
    return [Pair("of it", f"network {duration_us(parts.network_us)} · {server}{client}")]


def output_pieces(
    answer: InferenceAnswer, classified: Collection[str], schema: ModelSchema, *, colours: bool, ascii_only: bool
) -> list[Piece]:
    """Reads whole tensors: called in a thread."""
    from tritonctl.server.answer import summarise_answer
    from tritonctl.workbench import picture

    pieces: list[Piece] = [Block("\n" + "\n".join(summarise_answer(answer, classified)))]
    batched = {spec.name: spec.batched for spec in schema.outputs}
    for output in answer.outputs:
        rows = picture.pixels(
            output, batched=batched.get(output.name, False), width=PICTURE_WIDTH, height=PICTURE_HEIGHT
        )
        if rows is not None:
            pieces.append(Block(f"\n{output.name}", "muted"))
            lines = (
                half_blocks(rows)
                if colours
                else [((line, ""),) for line in picture.shaded(rows, ascii_only=ascii_only)]
            )
            pieces.append(Rows(tuple(lines)))
    return pieces


def half_blocks(rows: Sequence[Sequence[Pixel]]) -> list[tuple[tuple[str, str], ...]]:
    """Two rows of pixels in a line: the upper one in the foreground, the lower one behind it."""
    lines = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=False):
        pairs = zip(upper, lower, strict=True)
        runs = [("▀" * len(list(same)), _style(*key)) for key, same in itertools.groupby(pairs)]
        lines.append(tuple(runs))
    return lines


def _style(above: Pixel, below: Pixel) -> str:
    return "#{:02x}{:02x}{:02x} on #{:02x}{:02x}{:02x}".format(*above, *below)


def stream_pieces(answers: Sequence[InferenceAnswer], ended: bool) -> list[Piece]:
    """Time to the first, between, total; then each answer as it came."""
    from tritonctl.server.answer import summarise_answer

    pieces: list[Piece] = [Pair("answers", timing([each.latency_us for each in answers], ended))]
    text = _text_of(answers)
    if text:
        pieces.append(Block("\n" + text))
        return pieces
    for each in answers[-STREAM_LINES:]:
        pieces.append(Pair(duration_us(each.latency_us), "  ".join(line.strip() for line in summarise_answer(each))))
    return pieces


def _text_of(answers: Sequence[InferenceAnswer]) -> str:
    """The pieces of a text model put together; nothing for another model."""
    words = []
    for answer in answers:
        if len(answer.outputs) != 1 or answer.outputs[0].datatype != "BYTES" or answer.outputs[0].data.size != 1:
            return ""
        words.append(answer.outputs[0].data.reshape(-1)[0].decode("utf-8", "replace"))
    return "".join(words) if answers and answers[0].outputs[0].name == "text_output" else ""


def load_pieces(result: LoadResult, parts: Split | None, *, ended: bool) -> list[Piece]:
    at = result.histogram.percentile
    pieces: list[Piece] = [
        Heading("load" if ended else "load, running; esc stops it"),
        Pair("answered", f"{result.done} in {result.seconds:.1f} s, {number(result.requests_per_s)} a second"),
        Pair(
            "latency",
            f"p50 {duration_us(at(50))}   p90 {duration_us(at(90))}   p99 {duration_us(at(99))}   "
            f"max {duration_us(result.histogram.max or None)}",
        ),
        *split_pieces(parts),
    ]
    if result.late:
        pieces.append(Pair("sent late", f"{result.late}: the rate is more than is answered; waiting counts", "warn"))
    pieces += [Pair(f"{count} failed", words, "failed") for words, count in result.errors.most_common(5)]
    if result.stopped:
        pieces.append(Pair("stopped", result.stopped, "warn"))
    return pieces


def beside_pieces(beside: Beside | None) -> list[Piece]:
    """What the server's own metrics say meanwhile, of everybody's requests."""
    if beside is None:
        return []
    pieces: list[Piece] = [
        Pair(
            "server, last second",
            f"queue {duration_us(beside.queue_us)} · compute {duration_us(beside.compute_us)} · "
            f"batch {number(beside.batch)} · pending {number(beside.pending)}",
        )
    ]
    pieces += [Pair(f"GPU {place}", f"busy {percent(each)}") for place, each in enumerate(beside.gpus)]
    return pieces


def found_pieces(limit_ms: float, found: Found) -> list[Piece]:
    """What a search came to, with every try."""
    best = found.best
    words = f"{found.concurrency} at once, {number(best.requests_per_s)} requests a second" if best else "none"
    pieces: list[Piece] = [
        Heading(f"highest load with p99 under {limit_ms:g} ms"),
        Pair("found", words, "ok" if best else "warn"),
    ]
    for each in found.tries:
        p99 = duration_us(each.histogram.percentile(99))
        bad = f"   {each.stopped or f'{each.failed} failed'}" if each.failed or each.stopped else ""
        pieces.append(
            Pair(f"{each.plan.concurrency} at once", f"{number(each.requests_per_s)} a second, p99 {p99}{bad}")
        )
    return pieces


def piece_pieces(pieces: Sequence[GeneratePiece], ended: bool) -> list[Piece]:
    """Of a generated text: how fast it came, and what there is of it."""
    times = [each.latency_us for each in pieces]
    text = "".join(each.text for each in pieces)
    return [Pair("pieces", timing(times, ended)), Block("\n" + (text or "nothing yet"))]


def posted_pieces(got: Sequence[Scored], body: Body, *, ended: bool) -> list[Piece]:
    from tritonctl.server.score import lines_of

    last = got[-1]
    by = [Pair("answered by", f"deployment {last.deployment}")] if last.deployment else []
    sent = Pair("sent", f"{len(body.content)} bytes of {body.content_type}")
    if last.event:
        told = timing([each.latency_us for each in got], ended)
        return [sent, Pair("pieces", told), *by, Block("\n" + "".join(each.said for each in got))]
    took = Pair("took", f"{duration_us(last.latency_us)}, {len(last.content)} bytes")
    return [sent, took, *by, Block("\n" + "\n".join(lines_of(last)))]


def timing(times: Sequence[float], ended: bool) -> str:
    """Time to the first, between, and total."""
    if not times:
        return "none yet"
    gaps = sorted(after - before for before, after in itertools.pairwise(times))
    between = f", between {duration_us(gaps[len(gaps) // 2])}" if gaps else ""
    state = "total" if ended else "so far"
    return f"{len(times)}, first after {duration_us(times[0])}{between}, {state} {duration_us(times[-1])}"


def case_pieces(name: str, differences: Sequence[Difference], error: str = "") -> list[Piece]:
    """One case."""
    if error:
        return [Heading(f"case {name}"), Block(error, "failed")]
    if not differences:
        return [Heading(f"case {name}"), Block("the answer is alike", "ok")]
    return [Heading(f"case {name}"), *(Pair(each.output, each.words, "failed") for each in differences)]
