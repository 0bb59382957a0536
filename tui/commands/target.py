"""Which server a test request goes to, what it speaks, and what it counts meanwhile."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

from tritonctl.inventory import ReplicaStatus
from tritonctl.server.address import DEPLOYMENT, Secret, Speaks
from tritonctl.server.client import ServerClient
from tritonctl.server.inference import MAX_ANSWER_BYTES, Inferencer
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.request import InferenceRequest, Protocol
from tritonctl.server.typed import split_assignment
from tritonctl.workbench.form import Form
from tritonctl.workbench.others import requests_of_others
from tritonctl.workbench.split import Counted, read_counted
from tui.commands import text
from tui.commands.session import Session
from tui.commands.streams import say


def speaks(target: ReplicaStatus) -> Speaks:
    return target.replica.address.protocol if target.replica.address is not None else Speaks.TRITON


def chosen(target: ReplicaStatus, deployment: str | None) -> ReplicaStatus:
    """With the header that chooses a deployment of an Azure ML endpoint."""
    address = target.replica.address
    if not deployment or address is None:
        return target
    headers = {name: value for name, value in address.headers.items() if name.lower() != DEPLOYMENT}
    address = replace(address, headers={**headers, DEPLOYMENT: Secret(deployment)})
    return replace(target, replica=replace(target.replica, address=address))


def inferencer_of(session: Session, target: ReplicaStatus) -> Inferencer:
    assert target.replica.address is not None
    protocol = Protocol(session.arguments.protocol) if session.arguments.protocol else None
    limit: int = getattr(session.arguments, "max_answer", None) or MAX_ANSWER_BYTES
    return Inferencer(target.replica.address, timeout_s=session.infer_timeout_s, protocol=protocol, max_bytes=limit)


async def counted(client: ServerClient, request: InferenceRequest, at_least: int = 0) -> Counted | None:
    if client.address.protocol is not Speaks.TRITON:
        return None
    return await read_counted(client, request.model, request.version, at_least)


async def others_of(client: ServerClient, model: str) -> int | None:
    return await requests_of_others(client, model) if client.address.protocol is Speaks.TRITON else None


def say_unused_deployment(wanted: str | None, answered: str) -> None:
    """Azure ML names the deployment in each answer; only an answer without it tells that nothing chose by it."""
    if wanted and not answered:
        say(f"--deployment {text.clean(wanted)}: the answer names none: no Azure ML endpoint chose by it")


async def schema_of(target: ReplicaStatus, client: ServerClient, form: Form, arguments: Namespace) -> ModelSchema:
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
