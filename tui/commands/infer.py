"""The command `infer`: one test request, with values that were typed, read or generated, and its answer."""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from argparse import Namespace
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING

from tritonctl.errors import NotFound, OperationFailed, TritonctlError, UsageError
from tritonctl.inventory import ModelState, ServiceStatus, Snapshot
from tritonctl.server import answer as answers
from tritonctl.server.address import Speaks
from tritonctl.server.client import ServerClient
from tritonctl.server.inference import Inferencer
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.request import InferenceAnswer, InferenceRequest, Protocol
from tritonctl.workbench.history import History, Sent
from tui.commands.asked import check_fits, form_of, request_of
from tui.commands.cut import Cut
from tui.commands.endpoint import deployments, nobody_answered, one_of, through_its_shares
from tui.commands.once import ask_once
from tui.commands.session import Session, client_of, first_reachable
from tui.commands.target import chosen, counted, inferencer_of, others_of, schema_of, speaks

if TYPE_CHECKING:
    from tui.commands.measure import Subject


async def infer(session: Session) -> int:
    """With -o json the document is written also where the request fails or is stopped: its `error` then says why."""
    arguments = session.arguments
    got: list[InferenceAnswer] = []
    cut = Cut(session, lambda error: answers.document(arguments.model, got, error=error))
    with cut.written():
        async with session.fleet() as fleet:
            below = await deployments(session, fleet)
            if below:
                _check_deployment(fleet.snapshot, below[0], arguments.deployment)
                named = [each for each in below if arguments.deployment in (None, each.id.rpartition("/")[2])]
                found = await one_of(session, fleet, named)
            else:
                loading = _load_ahead(arguments, await session.named(fleet))
                found = await session.find(fleet)
                await loading
                _check_deployment(fleet.snapshot, found, arguments.deployment)
            target = chosen(first_reachable(found, arguments.model), arguments.deployment)
        # What the model takes one deployment tells; who answers, where none is named, the endpoint's traffic decides.
        shared = bool(below) and not arguments.deployment
        asked = through_its_shares(target) if shared else target
        name = found.id.rpartition("/")[0] if shared else found.id
        if speaks(target) is Speaks.SCORE:
            from tui.commands.score import score

            return await score(session, name, asked, cut)
        if speaks(target) is Speaks.TRITON:
            arguments.model = arguments.model or _only_model(found)
        async with client_of(target, session.read_timeout_s) as client:
            history = History.usual(os.environ, Path.home())
            form = form_of(arguments, history)
            try:
                shape = await schema_of(target, client, form, arguments)
            except (NotFound, OperationFailed) as error:
                raise _why_not(found, arguments.model, form.version, error.answer) or error from None
            if speaks(target) is Speaks.TRITON:
                check_fits(arguments, shape)
            request, kept = request_of(form, shape, arguments)
            sent = Sent(time.time(), name, form, None, "") if kept else None
            if arguments.duration or arguments.rate or arguments.latency_limit or arguments.concurrency > 1:
                from tui.commands.measure import measure

                async with inferencer_of(session, asked) as inferencer:
                    return await measure(session, subject_of(inferencer, client, shape, request))
            if arguments.generate:
                from tui.commands.generate import generate_text

                return await generate_text(session, asked, shape, request, sent, history, cut)
            try:
                return await ask_once(session, asked, client, shape, request, sent, history, got)
            except TritonctlError as error:
                raise (nobody_answered(name, below, error) if shared else error) from None


def _check_deployment(snapshot: Snapshot, found: ServiceStatus, wanted: str | None) -> None:
    """Raises UsageError where the endpoint's deployments are listed, and none is called so. Of an address nothing lists
    them: there only the answer tells."""
    if not wanted or found.service.kind != "azureml":
        return
    endpoint = found.id.rpartition("/")[0]
    names = [name for above, _, name in (each.id.rpartition("/") for each in snapshot.services) if above == endpoint]
    if wanted not in names:
        raise UsageError(
            f"infer {found.id} --deployment {wanted}",
            f"{endpoint} has no such deployment",
            f"its deployments: {', '.join(names)}",
        )


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


def _only_model(found: ServiceStatus) -> str:
    """Raises UsageError where there are several, or none."""
    names = sorted({each.name for each in found.models if each.ready_on})
    if len(names) == 1:
        return names[0]
    said = f"it has {', '.join(names[:20])}" if names else "none of it is known to be ready"
    raise UsageError(f"infer {found.id}", "which model?", said)


def _why_not(found: ServiceStatus, model: str, version: str | None, said: str) -> TritonctlError | None:
    """Why a model cannot be asked, as its server told in its list or `said`, and what could be asked in its place; None
    where nothing more is known."""
    known = [each for each in found.models if each.name == model]
    if not known:
        names = ", ".join(sorted({each.name for each in found.models}))
        return NotFound(f"model {model!r} of {found.id}", said, f"models: {names}") if names else None
    loaded = [each.version for each in known if each.ready_on and each.version]
    if loaded and version is not None and version not in loaded:
        return NotFound(f"model {model!r} of {found.id}", said, f"loaded versions: {', '.join(loaded)}")
    if any(each.ready_on for each in known):
        return None
    worst = min(known, key=lambda each: each.level).worst
    if worst.failed and worst.reason:
        why = f"it is {worst.in_words}: {worst.reason.strip()}"
        return NotFound(f"model {model!r}", why, f"tritonctl triage {found.id}")
    if worst.state in (ModelState.LOADING, ModelState.UNLOADING):
        advice = f"tritonctl wait {found.id} --for model={model}" if worst.state is ModelState.LOADING else ""
        return NotFound(f"model {model!r}", f"it is {worst.in_words}", advice)
    if worst.failed:
        return None
    return NotFound(
        f"model {model!r}", "it is not loaded", f"tritonctl load {shlex.quote(found.id)} {shlex.quote(model)}"
    )


def subject_of(inferencer: Inferencer, client: ServerClient, shape: ModelSchema, request: InferenceRequest) -> Subject:
    from tritonctl.workbench.beside import watching
    from tui.commands.measure import Subject

    return Subject(
        request.model,
        lambda: inferencer.sender(request, decoupled=shape.decoupled),
        lambda: others_of(client, request.model),
        lambda at_least: counted(client, request, at_least),
        lambda: watching(client, request.model),
    )
