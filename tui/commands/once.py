"""`infer` of a model once, or as a stream, or with --repeat: what came is told, and kept where that is asked for."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from tritonctl.errors import UsageError
from tritonctl.inventory import ReplicaStatus
from tritonctl.server import answer as answers
from tritonctl.server.client import ServerClient
from tritonctl.server.inference import Inferencer, Latency
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.request import InferenceAnswer, InferenceRequest, WantedOutput
from tritonctl.workbench import form as forms
from tritonctl.workbench.history import History, Sent
from tritonctl.workbench.load import LoadPlan, LoadResult, run_load
from tritonctl.workbench.others import MODEST
from tritonctl.workbench.split import Split, split
from tui import figures
from tui.commands import documents, text
from tui.commands.latency import between_line, split_line, told_when_stopped
from tui.commands.session import Session
from tui.commands.streams import say, tell
from tui.commands.target import counted, inferencer_of, others_of, say_unused_deployment

TOP = 5


async def ask_once(
    session: Session,
    target: ReplicaStatus,
    client: ServerClient,
    shape: ModelSchema,
    request: InferenceRequest,
    sent: Sent | None,
    history: History,
    got: list[InferenceAnswer],
) -> int:
    """Fills `got`; with --repeat the same request follows the first, whose answer is shown."""
    arguments = session.arguments
    asked = replace(request, outputs=_wanted(session, shape))
    alike = client.address == target.replica.address  # else another server may answer than the one that counts
    before = await counted(client, request) if alike and not session.json and not shape.decoupled else None
    ours, mean_us = 1, 0.0
    errors: Mapping[str, int] = {}
    with history.keeping(request.model, sent) as took:
        async with inferencer_of(session, target) as inferencer:
            if shape.decoupled:
                times = [await _stream(session, inferencer, asked, got) for _ in range(arguments.repeat)]
                latency = Latency.of(times)
            else:
                got.append(await inferencer.infer(asked))
                latency, mean_us = Latency.of([got[0].latency_us]), got[0].latency_us
                if arguments.repeat > 1:
                    if arguments.repeat > MODEST:
                        from tui.commands.measure import ask_first

                        await ask_first(session, request.model, lambda: others_of(client, request.model))
                    plan = LoadPlan(requests=arguments.repeat, max_error_rate=1.0)
                    repeated = await run_load(plan, await inferencer.sender(asked))
                    latency, errors = _latency(repeated), repeated.errors
                    ours, mean_us = repeated.done + 2, repeated.histogram.mean or 0.0
        if inferencer.why_not_grpc and not session.json and not shape.decoupled:
            say(f"by HTTP: {inferencer.why_not_grpc}")
        took.append(latency.p50)
    _keep(arguments, request, got)
    say_unused_deployment(arguments.deployment, got[-1].deployment if got else "")
    failed = [f"{count} of {arguments.repeat} failed: {words}" for words, count in errors.items()]
    if session.json:
        tell(documents.dump(answers.document(arguments.model, got, latency, "; ".join(failed) or None)))
    else:
        parts = None
        if before is not None:
            after = await counted(client, request, before.success + ours)
            parts = split(before, after, ours, mean_us, got[-1].client_us) if after else None
        _print(session, shape, asked, got, latency, parts)
    for line in failed:
        say(line)
    return 1 if errors else 0


def _latency(result: LoadResult) -> Latency:
    """Raises the first error where nothing was answered."""
    at = result.histogram.percentile
    p50, p99 = at(50), at(99)
    if p50 is None or p99 is None:
        raise result.first_error or UsageError("repeat", "nothing was answered")
    return Latency(result.histogram.min, p50, p99, result.histogram.max)


def _wanted(session: Session, shape: ModelSchema) -> tuple[WantedOutput, ...]:
    """Labels are for a person: a program, a file and a case get the numbers, unless --top asks."""
    arguments = session.arguments
    if arguments.top is not None:
        return forms.classes_of(shape, arguments.top)
    plain = session.json or arguments.save or arguments.save_case or arguments.repeat > 1 or shape.decoupled
    return () if plain else forms.classes_of(shape, TOP)


async def _stream(
    session: Session, inferencer: Inferencer, request: InferenceRequest, got: list[InferenceAnswer]
) -> float:
    """The time to the last answer in µs. Ctrl-C closes the stream, at which the server stops its work."""
    got.clear()
    began = time.monotonic()
    with told_when_stopped(lambda: [each.latency_us for each in got]):
        async with aclosing(inferencer.stream(request)) as stream:
            async for answer in stream:
                got.append(answer)
                if not session.json:
                    said = "  ".join(line.strip() for line in answers.summarise_answer(answer))
                    say(f"{figures.duration_us(answer.latency_us)}  {said}")
    return got[-1].latency_us if got else (time.monotonic() - began) * 1e6


def _keep(arguments: Namespace, request: InferenceRequest, got: Sequence[InferenceAnswer]) -> None:
    if arguments.save_case is not None:
        from tritonctl.workbench import case

        case.save(arguments.save_case, request, got)
        say(f"saved the case {arguments.save_case}")
    if arguments.save is not None:
        from tritonctl.workbench.keeping import save_outputs

        for file in save_outputs(arguments.save, arguments.model, got):
            say(f"saved {file}")


# Said


def _print(
    session: Session,
    shape: ModelSchema,
    request: InferenceRequest,
    got: Sequence[InferenceAnswer],
    latency: Latency,
    parts: Split | None,
) -> None:
    if not got:
        tell("the model ended its stream without an answer")
        return
    last = got[-1]
    several = f", {len(got)} answers" if len(got) > 1 else ""
    named = f", request id {text.clean(last.request_id)}" if last.request_id else ""
    where = f", deployment {text.clean(last.deployment)}" if last.deployment else ""
    tell(f"{text.clean(last.model)} version {last.version or '?'} answered by {last.protocol}{where}{named}{several}")
    spread = (
        ""
        if latency.min == latency.max
        else (
            f"  (min {figures.duration_us(latency.min)}, p99 {figures.duration_us(latency.p99)}, "
            f"max {figures.duration_us(latency.max)})"
        )
    )
    if len(got) > 1:
        first = figures.duration_us(got[0].latency_us)
        tell(f"first after {first}, {between_line(got)}, total {figures.duration_us(last.latency_us)}")
    else:
        tell(f"latency {figures.duration_us(latency.p50)}{spread}")
    if parts is not None:
        tell(split_line(parts))
    classified = {output.name for output in request.outputs if output.classes}
    for line in answers.summarise_answer(last, classified):
        tell(text.clean(line))
    _draw(session, shape, last)


def _draw(session: Session, shape: ModelSchema, answer: InferenceAnswer) -> None:
    if not sys.stdout.isatty():
        return
    from tritonctl.workbench import picture

    style = session.style
    batched = {spec.name: spec.batched for spec in shape.outputs}
    size = os.get_terminal_size()
    height = max(16, min(48, 2 * (size.lines - 10)))  # so that what is said of the answer stays in view above it
    for output in answer.outputs:
        rows = picture.pixels(
            output, batched=batched.get(output.name, False), width=min(size.columns - 2, 80), height=height
        )
        if rows is not None:
            deep = style.colour and os.environ.get("COLORTERM") in ("truecolor", "24bit")
            for line in picture.coloured(rows) if deep else picture.shaded(rows, ascii_only=style.ascii):
                tell(line)
