"""The command `infer`: one test request, with values that were typed, read or generated, and its answer."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from argparse import Namespace
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tritonctl.errors import NotFound, OperationFailed, TritonctlError, UsageError
from tritonctl.inventory import ModelState, ReplicaStatus, ServiceStatus
from tritonctl.server import answer as answers
from tritonctl.server.address import Secret, Speaks
from tritonctl.server.client import ServerClient
from tritonctl.server.files import image_note
from tritonctl.server.inference import MAX_ANSWER_BYTES, Inferencer, Latency
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.request import (
    DEPLOYMENT,
    InferenceAnswer,
    InferenceRequest,
    Parameter,
    Protocol,
    WantedOutput,
    check_request,
)
from tritonctl.server.tensors import Tensor
from tritonctl.server.typed import find_spec, split_assignment, values_of
from tritonctl.workbench import form as forms
from tritonctl.workbench.form import Form, Made
from tritonctl.workbench.history import History, Sent
from tritonctl.workbench.load import LoadPlan, LoadResult, run_load
from tritonctl.workbench.others import MODEST, requests_of_others
from tritonctl.workbench.split import Counted, Split, read_counted, split
from tui import figures
from tui.commands import documents, text
from tui.commands.session import Session, client_of, first_reachable
from tui.commands.streams import say, tell

if TYPE_CHECKING:
    from tui.commands.measure import Subject

TOP = 5


async def infer(session: Session) -> int:
    """With -o json the document is written also where the request fails; its `error` then says why."""
    arguments = session.arguments
    got: list[InferenceAnswer] = []
    try:
        async with session.fleet() as fleet:
            loading = _load_ahead(arguments, await session.named(fleet))
            found = await session.find(fleet)
            await loading
            target = _chosen(first_reachable(found, arguments.model), arguments.deployment)
        if speaks(target) is Speaks.SCORE:
            from tui.commands.score import score

            return await score(session, found.id, target)
        if speaks(target) is Speaks.TRITON:
            arguments.model = arguments.model or _only_model(found)
        async with client_of(target, session.read_timeout_s) as client:
            history = History.usual(os.environ, Path.home())
            form = form_of(arguments, history)
            try:
                shape = await _schema(target, client, form, arguments)
            except (NotFound, OperationFailed) as error:
                raise _why_not(found, arguments.model) or error from None
            if speaks(target) is Speaks.TRITON:
                _check_fits(arguments, shape)
            request, kept = request_of(form, shape, arguments)
            if arguments.duration or arguments.rate or arguments.latency_limit or arguments.concurrency > 1:
                from tui.commands.measure import measure

                async with inferencer_of(session, target) as inferencer:
                    return await measure(session, subject_of(inferencer, client, shape, request))
            if arguments.generate:
                from tui.commands.generate import generate_text

                return await generate_text(session, target, shape, request)
            sent = Sent(time.time(), found.id, form, None, "") if kept else None
            return await _once(session, target, client, shape, request, sent, history, got)
    except UsageError:
        raise
    except TritonctlError as error:
        if session.json:
            tell(documents.dump(answers.document(arguments.model, got, error=error.answer)))
        raise


async def _nothing() -> None:
    return


def _load_ahead(arguments: Namespace, status: ServiceStatus) -> Awaitable[None]:
    """Import what gRPC needs, a tenth of a second, while the server is looked at."""
    addresses = [each.replica.address for each in status.replicas if each.replica.address is not None]
    wanted = any(each.protocol is Speaks.TRITON and each.grpc is not None for each in addresses)
    if not wanted or arguments.protocol == Protocol.HTTP or arguments.generate:
        return _nothing()
    from tritonctl.server.inference_grpc import load

    task: asyncio.Task[None] = asyncio.create_task(asyncio.to_thread(load))
    return task


def speaks(target: ReplicaStatus) -> Speaks:
    return target.replica.address.protocol if target.replica.address is not None else Speaks.TRITON


def _chosen(target: ReplicaStatus, deployment: str | None) -> ReplicaStatus:
    """With the header that chooses a deployment of an Azure ML endpoint."""
    address = target.replica.address
    if not deployment or address is None:
        return target
    headers = {name: value for name, value in address.headers.items() if name.lower() != DEPLOYMENT}
    address = replace(address, headers={**headers, DEPLOYMENT: Secret(deployment)})
    return replace(target, replica=replace(target.replica, address=address))


def _only_model(found: ServiceStatus) -> str:
    """Raises UsageError where there are several, or none."""
    names = sorted({each.name for each in found.models if each.ready_on})
    if len(names) == 1:
        return names[0]
    said = f"it has {', '.join(names[:20])}" if names else "none of it is known to be ready"
    raise UsageError(f"infer {found.id}", "which model?", said)


def _why_not(found: ServiceStatus, model: str) -> TritonctlError | None:
    """Why a model that the service knows cannot be asked, as its server told; None where that is not known."""
    known = [each for each in found.models if each.name == model]
    if not known or any(each.ready_on for each in known):
        return None
    worst = min(known, key=lambda each: each.level).worst
    if worst.failed and worst.reason:
        why = f"it is {worst.in_words}: {worst.reason}"
        return NotFound(f"model {model!r}", why, f"tritonctl triage {found.id}")
    if worst.state in (ModelState.LOADING, ModelState.UNLOADING):
        advice = f"tritonctl wait {found.id} --for model={model}" if worst.state is ModelState.LOADING else ""
        return NotFound(f"model {model!r}", f"it is {worst.in_words}", advice)
    if worst.failed:
        return None
    return NotFound(f"model {model!r}", "it is not loaded", f"tritonctl load {found.id} {model}")


def subject_of(inferencer: Inferencer, client: ServerClient, shape: ModelSchema, request: InferenceRequest) -> Subject:
    from tritonctl.workbench.beside import watching
    from tui.commands.measure import Subject

    return Subject(
        request.model,
        lambda: inferencer.sender(request, decoupled=shape.decoupled),
        lambda: others_of(client, request.model),
        lambda at_least: _counted(client, request, at_least),
        lambda: watching(client, request.model),
    )


async def _counted(client: ServerClient, request: InferenceRequest, at_least: int = 0) -> Counted | None:
    if client.address.protocol is not Speaks.TRITON:
        return None
    return await read_counted(client, request.model, request.version, at_least)


async def others_of(client: ServerClient, model: str) -> int | None:
    return await requests_of_others(client, model) if client.address.protocol is Speaks.TRITON else None


async def _schema(target: ReplicaStatus, client: ServerClient, form: Form, arguments: Namespace) -> ModelSchema:
    from tritonctl.workbench import schema as schemas

    address = target.replica.address
    assert address is not None
    if address.protocol is Speaks.TRITON:
        return await schemas.of_triton(client, arguments.model, form.version)
    datatypes = dict(split_assignment(each) for each in arguments.datatype)
    return await schemas.of_tensorflow(
        address,
        arguments.model,
        form.version,
        values=form.values,
        shapes=form.shapes,
        datatypes=datatypes,
        parameters=form.parameters,
    )


# What is sent


def form_of(arguments: Namespace, history: History) -> Form:
    """The form that the options make; with --last they change what was sent last. Raises UsageError."""
    before = history.last(arguments.model) if arguments.last else Form()
    if before is None:
        raise UsageError(f"infer {arguments.model} --last", "nothing was sent to this model from here yet")
    kind = "zeros" if arguments.zeros else "ones" if arguments.ones else "random"
    between = forms.parse_range(arguments.range) if arguments.range else None
    made = Made(kind, arguments.seed, between)
    given = (Made(), 1) != (made, arguments.batch)
    return Form(
        {**before.values, **values_of(arguments.input)},
        made if given or not arguments.last else before.made,
        {**before.shapes, **dict(forms.shape_assignment(each) for each in arguments.shape)},
        arguments.batch if given or not arguments.last else before.batch,
        arguments.model_version or before.version,
        {**before.parameters, **_parameters(arguments)},
        arguments.request_id or before.request_id,
    )


def _check_fits(arguments: Namespace, shape: ModelSchema) -> None:
    """Raises UsageError for options that this model's own schema leaves no room for: they would be ignored."""
    if arguments.batch > 1 and not any(spec.batched for spec in shape.inputs):
        raise UsageError(
            f"infer {shape.name} --batch {arguments.batch}",
            "the model takes no batch: its max_batch_size is 0",
            "give a size with --shape where a dimension is free",
        )
    for name, datatype in (split_assignment(each) for each in arguments.datatype):
        spec = find_spec(shape.inputs, name)
        if datatype.upper() != spec.datatype:
            raise UsageError(
                f"infer {shape.name} --datatype {name}={datatype}",
                f"the model says that it is {spec.datatype}",
                "leave the option out: it is for servers that do not tell",
            )


def say_unused_deployment(wanted: str | None, answered: str) -> None:
    """Azure ML names the deployment in each answer; only an answer without it tells that nothing chose by it."""
    if wanted and not answered:
        say(f"--deployment {text.clean(wanted)}: the answer names none: no Azure ML endpoint chose by it")


def _parameters(arguments: Namespace) -> dict[str, Parameter]:
    found = dict(forms.parse_parameter(each) for each in arguments.parameter)
    if arguments.sequence_id is not None:
        text_id: str = arguments.sequence_id
        found["sequence_id"] = int(text_id) if text_id.isdigit() else text_id
    for name in ("sequence_start", "sequence_end"):
        if getattr(arguments, name):
            found[name] = True
    if arguments.priority:
        found["priority"] = arguments.priority
    if arguments.queue_timeout:
        found["timeout"] = arguments.queue_timeout
    return found


def request_of(form: Form, shape: ModelSchema, arguments: Namespace) -> tuple[InferenceRequest, bool]:
    """The request, and whether the form says all of it. Raises UsageError, of several wrong inputs with all of them."""
    given: dict[str, Tensor] = {}
    parameters: dict[str, Parameter] = {}
    request_id = ""
    if arguments.request is not None:
        from tritonctl.workbench import request_file

        given, parameters, request_id = request_file.read(arguments.request, shape)
    filled = forms.fill(form, shape, given)
    errors = list(filled.errors.values())
    if len(errors) > 1:
        raise UsageError("", "\n".join(f"{each.tried}: {each.answer}" for each in errors), errors[0].advice)
    if errors:
        raise errors[0]
    for spec in shape.inputs:
        if note := image_note(spec, form.values.get(spec.name, "")):
            say(f"{text.clean(spec.name)}: {text.clean(note)}")
    form = forms.with_parameters(form, {**parameters, **form.parameters}, form.request_id or request_id)
    request = forms.as_request(form, shape, filled.tensors)
    check_request(request, shape.inputs)
    return request, arguments.request is None


# Sending


async def _once(
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
    before = None if session.json or shape.decoupled else await _counted(client, request)
    outcome, latency, ours, mean_us = "", None, 1, 0.0
    errors: Mapping[str, int] = {}
    try:
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
    except TritonctlError as error:
        outcome = error.headline
        raise
    finally:
        if sent is not None:
            p50 = latency.p50 if latency is not None else None
            history.add(request.model, Sent(sent.at, sent.service, sent.form, p50, outcome))
    _keep(arguments, request, got)
    say_unused_deployment(arguments.deployment, got[-1].deployment if got else "")
    failed = [f"{count} of {arguments.repeat} failed: {words}" for words, count in errors.items()]
    if session.json:
        tell(documents.dump(answers.document(arguments.model, got, latency, "; ".join(failed) or None)))
    else:
        parts = None
        if before is not None:
            after = await _counted(client, request, before.success + ours)
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


def inferencer_of(session: Session, target: ReplicaStatus) -> Inferencer:
    assert target.replica.address is not None
    protocol = Protocol(session.arguments.protocol) if session.arguments.protocol else None
    limit: int = getattr(session.arguments, "max_answer", None) or MAX_ANSWER_BYTES
    return Inferencer(target.replica.address, timeout_s=session.infer_timeout_s, protocol=protocol, max_bytes=limit)


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


def split_line(parts: Split) -> str:
    """client 0.3 ms on top · network 0.2 ms · queue …: the latency's parts, but for what comes on top. Where others
    sent requests too only the server's averages: they are no parts of ours."""
    server = [
        f"queue {figures.duration_us(parts.queue_us)}",
        f"compute {figures.duration_us(parts.compute_us)} (in {figures.duration_us(parts.input_us)}, "
        f"infer {figures.duration_us(parts.infer_us)}, out {figures.duration_us(parts.output_us)})",
    ]
    cached = "  from the response cache" if parts.cached else ""
    if parts.others:
        return f"averages of {parts.requests} requests, others' among them: {' · '.join(server)}{cached}"
    client = [f"client {figures.duration_us(parts.client_us)} on top"] if parts.client_us else []
    return " · ".join([*client, f"network {figures.duration_us(parts.network_us)}", *server]) + cached


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
    where = f", deployment {text.clean(last.deployment)}" if last.deployment else ""
    tell(f"{text.clean(last.model)} version {last.version or '?'} answered by {last.protocol}{where}{several}")
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


def between_line(got: Sequence[InferenceAnswer]) -> str:
    """Of a stream: what lay between its answers."""
    gaps = [after.latency_us - before.latency_us for before, after in itertools.pairwise(got)]
    of = Latency.of(gaps)
    return (
        f"between {figures.duration_us(of.p50)} (p99 {figures.duration_us(of.p99)}, max {figures.duration_us(of.max)})"
    )


def _draw(session: Session, shape: ModelSchema, answer: InferenceAnswer) -> None:
    if not sys.stdout.isatty():
        return
    from tritonctl.workbench import picture

    style = session.style
    batched = {spec.name: spec.batched for spec in shape.outputs}
    size = os.get_terminal_size()
    for output in answer.outputs:
        rows = picture.pixels(
            output, batched=batched.get(output.name, False), width=min(size.columns - 2, 80), height=48
        )
        if rows is not None:
            deep = style.colour and os.environ.get("COLORTERM") in ("truecolor", "24bit")
            for line in picture.coloured(rows) if deep else picture.shaded(rows, ascii_only=style.ascii):
                tell(line)
