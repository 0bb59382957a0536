"""The command `infer`: one test request, or several, with values that were typed, read or generated."""

from __future__ import annotations

import asyncio
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing

from tritonctl.errors import NotFound, TritonctlError, UsageError
from tritonctl.inventory import ReplicaStatus
from tritonctl.server import answer as answers
from tritonctl.server.inference import Inferencer, Latency
from tritonctl.server.modelconfig import ModelSchema, schema
from tritonctl.server.request import InferenceAnswer, InferenceRequest, check_request
from tritonctl.server.tensors import Tensor, TensorSpec, random, zeros
from tritonctl.server.typed import find_spec, parse_value, split_assignment
from tui import figures
from tui.commands import documents, text
from tui.commands.session import Session, client_of, first_reachable
from tui.commands.streams import say, tell


async def infer(session: Session) -> int:
    """With -o json the document is written also where the request fails; its `error` then says why."""
    arguments = session.arguments
    if arguments.deployment:
        raise UsageError("infer --deployment", "only an endpoint with several deployments has one to choose")
    got: list[InferenceAnswer] = []
    try:
        async with session.fleet() as fleet:
            target = first_reachable(await session.find(fleet), arguments.model)
        shape = await _schema(session, target)
        request = InferenceRequest(arguments.model, inputs_of(shape, arguments), arguments.model_version)
        check_request(request, shape.inputs)
        latencies, errors = await _send(session, target, shape, request, got)
    except UsageError:
        raise
    except TritonctlError as error:
        if session.json:
            tell(documents.dump(answers.document(arguments.model, got, error=error.answer)))
        raise
    failed = [f"{count} of {arguments.repeat} failed: {words}" for words, count in errors.items()]
    if session.json:
        latency = Latency.of(latencies) if latencies else None
        tell(documents.dump(answers.document(arguments.model, got, latency, "; ".join(failed) or None)))
    else:
        _print(got, latencies)
    for line in failed:
        say(line)
    return 1 if errors else 0


async def _schema(session: Session, target: ReplicaStatus) -> ModelSchema:
    model, version = session.arguments.model, session.arguments.model_version
    async with client_of(target, session.read_timeout_s) as client:
        try:
            metadata, config = await asyncio.gather(
                client.model_metadata(model, version), client.config(model, version)
            )
        except NotFound as error:
            raise NotFound(f"model {model!r}", error.answer, "is it loaded? tritonctl models tells") from None
    return schema(metadata, config)


def inputs_of(shape: ModelSchema, arguments: Namespace) -> tuple[Tensor, ...]:
    """What was given for the inputs it was given for, and generated values for the others that are needed.

    Raises UsageError for an input that the model does not have, or a value that does not fit it.
    """
    given: dict[str, Tensor] = {}
    for each in arguments.input:
        name, value = split_assignment(each)
        given[name] = parse_value(find_spec(shape.inputs, name), value)
    batches = {len(tensor.data) for name, tensor in given.items() if find_spec(shape.inputs, name).batched}
    batch = batches.pop() if len(batches) == 1 else arguments.batch
    fill: Callable[[TensorSpec], Tensor]
    if arguments.zeros:
        fill = lambda spec: zeros(spec, batch=batch)  # noqa: E731
    else:
        fill = lambda spec: random(spec, seed=arguments.seed, batch=batch)  # noqa: E731
    return tuple(given.get(spec.name) or fill(spec) for spec in shape.inputs if spec.name in given or not spec.optional)


async def _send(
    session: Session, target: ReplicaStatus, shape: ModelSchema, request: InferenceRequest, got: list[InferenceAnswer]
) -> tuple[Sequence[float], Mapping[str, int]]:
    """Fills `got` with the answers of the last request; returns each one's latency in µs, and what failed how often."""
    assert target.replica.address is not None
    async with Inferencer(target.replica.address, timeout_s=session.infer_timeout_s) as inferencer:
        if shape.decoupled:
            return [await _stream(session, inferencer, request, got) for _ in range(session.arguments.repeat)], {}
        repeated = await inferencer.repeat(request, session.arguments.repeat)
        if inferencer.why_not_grpc and not session.json:
            say(f"by HTTP: {inferencer.why_not_grpc}")
        got.append(repeated.answer)
        return repeated.latencies_us, repeated.errors


async def _stream(
    session: Session, inferencer: Inferencer, request: InferenceRequest, got: list[InferenceAnswer]
) -> float:
    """One request to a model that answers as often as it likes; returns the time to its last answer in µs."""
    got.clear()
    began = time.monotonic()
    async with aclosing(inferencer.stream(request)) as stream:
        async for answer in stream:
            got.append(answer)
            if not session.json:
                for line in answers.summarise_answer(answer):
                    say(f"{figures.duration_us(answer.latency_us)}  {line}")
    return got[-1].latency_us if got else (time.monotonic() - began) * 1e6


def _print(got: Sequence[InferenceAnswer], latencies_us: Sequence[float]) -> None:
    latency = Latency.of(latencies_us)
    if not got:
        tell("the model ended its stream without an answer")
        return
    last = got[-1]
    several = f", {len(got)} answers" if len(got) > 1 else ""
    tell(text.clean(f"{last.model} version {last.version or '?'} answered by {last.protocol}{several}"))
    spread = (
        ""
        if latency.min == latency.max
        else (
            f"  (min {figures.duration_us(latency.min)}, p99 {figures.duration_us(latency.p99)}, "
            f"max {figures.duration_us(latency.max)})"
        )
    )
    tell(f"latency {figures.duration_us(latency.p50)}{spread}")
    for line in answers.summarise_answer(last):
        tell(text.clean(line))
