"""The command `infer`: one test request, or several, with values that were typed, read or generated."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Callable, Sequence
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
from tui.commands.read import client_of, first_reachable
from tui.commands.session import Session, say


async def infer(session: Session) -> int:
    arguments = session.arguments
    if arguments.deployment:
        raise UsageError("infer --deployment", "only an endpoint with several deployments has one to choose")
    async with session.fleet() as fleet:
        found = await session.find(fleet)
        target = first_reachable(found)
    shape = await _schema(target, arguments.model, arguments.model_version)
    request = InferenceRequest(arguments.model, inputs_of(shape, arguments), arguments.model_version)
    check_request(request, shape.inputs)
    try:
        got, latency, errors = await _send(session, target, shape, request)
    except TritonctlError as error:
        if session.json:
            print(documents.dump(answers.document(arguments.model, error=error.answer)))
        raise
    if session.json:
        print(documents.dump(answers.document(arguments.model, got, latency)))
    else:
        _print(got, latency, errors)
    return 1 if errors else 0


async def _schema(target: ReplicaStatus, model: str, version: str | None) -> ModelSchema:
    async with client_of(target) as client:
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
    session: Session, target: ReplicaStatus, shape: ModelSchema, request: InferenceRequest
) -> tuple[Sequence[InferenceAnswer], Latency, dict[str, int]]:
    assert target.replica.address is not None
    timeout_s: float = session.arguments.timeout or 30.0
    async with Inferencer(target.replica.address, timeout_s=timeout_s) as inferencer:
        if shape.decoupled:
            got: list[InferenceAnswer] = []
            async with aclosing(inferencer.stream(request)) as stream:
                async for answer in stream:
                    got.append(answer)
                    if not session.json:
                        for line in answers.summarise_answer(answer):
                            say(f"{figures.duration_us(answer.latency_us)}  {line}")
            times = [each.latency_us for each in got] or [0.0]
            return got, Latency.of(times[-1:]), {}
        repeated = await inferencer.repeat(request, session.arguments.repeat)
        if inferencer.why_not_grpc and not session.json:
            say(f"by HTTP: {inferencer.why_not_grpc}")
        return [repeated.answer], repeated.latency, dict(repeated.errors)


def _print(got: Sequence[InferenceAnswer], latency: Latency, errors: dict[str, int]) -> None:
    if not got:
        print("the model ended its stream without an answer")
        return
    last = got[-1]
    several = f", {len(got)} answers" if len(got) > 1 else ""
    print(f"{last.model} version {last.version or '?'} answered by {last.protocol}{several}")
    spread = (
        ""
        if latency.min == latency.max
        else (
            f"  (min {figures.duration_us(latency.min)}, p99 {figures.duration_us(latency.p99)}, "
            f"max {figures.duration_us(latency.max)})"
        )
    )
    print(f"latency {figures.duration_us(latency.p50)}{spread}")
    for line in answers.summarise_answer(last):
        print(text.clean(line))
    for words, count in errors.items():
        say(f"{count} failed: {words}")
