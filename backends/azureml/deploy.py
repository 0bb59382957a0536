"""A registered model behind an endpoint: the endpoint if there is none, the deployment, its readiness, its traffic."""

from __future__ import annotations

import asyncio
from functools import partial

from backends.azure.fields import text
from backends.azureml import upload
from backends.azureml.deploy_steps import CONCURRENT, INSTANCE, Now, Work
from backends.azureml.documents import (
    TRITON,
    Deployment,
    Endpoint,
    EnvironmentVersion,
    ModelVersion,
    environment_of,
    model_of,
)
from backends.azureml.fields import asset_in
from backends.azureml.ground import CALL_S, OPERATION_S
from backends.azureml.place import Place, version_path
from backends.azureml.services import CHOOSE, Protocol
from backends.azureml.upload import Sending
from backends.azureml.watch import Watch
from backends.azureml.workspaces import API, Workspace
from tritonctl.backend import Serving
from tritonctl.errors import NotFound, OperationFailed, UsageError
from tritonctl.plan import Plan, Step

_AUTH = {"key": "Key", "aml_token": "AMLToken", "aad_token": "AADToken"}
_CONCURRENT_WORD = "request_settings.max_concurrent_requests_per_instance"  # to az
_READY_S = 300.0
_UPLOAD_S = 3600.0


async def plan(
    place: Place, workspace: Workspace, wanted: Serving, service: str, watch: Watch | None, *, read_only: bool
) -> Plan:
    """`wanted.name` is ENDPOINT/DEPLOYMENT. One that exists is changed in what is named and in nothing else."""
    endpoint, deployment = _names(wanted)
    auth = _auth(wanted)
    now = await _look(place, workspace, wanted, endpoint, deployment)
    _need_same(wanted, now, auth)
    step = partial(Step, deadline_s=OPERATION_S if wanted.ready_s is None else wanted.ready_s)
    work = Work(place, workspace, wanted, endpoint, deployment, now, watch)
    steps, warnings = [], []
    if now.endpoint is None:
        told = f"--auth-mode {wanted.auth or 'key'}" + (f" --compute {wanted.compute}" if wanted.compute else "")
        call = f"az ml online-endpoint create -n {endpoint} {told} {workspace.az}"
        steps.append(step(call, work.make_endpoint(auth), endpoint))
    elif now.endpoint.under_way or (now.deployment is not None and now.deployment.under_way):
        raise OperationFailed(f"deploy {service}", f"{endpoint} is being changed: Azure takes one change at a time")
    if wanted.code is not None:
        files = await asyncio.to_thread(upload.files_of, wanted.code)
        sending = Sending(place.arm, workspace, files)
        steps.append(
            Step(
                call=f"upload {wanted.code} ({files.told}) and register it as code",
                run=work.send_code(sending),
                replica=deployment,
                deadline_s=_UPLOAD_S if wanted.ready_s is None else wanted.ready_s,
                ours=True,
                so_far=sending.so_far,
            )
        )
    verb = "create" if now.deployment is None else "update"
    call = f"az ml online-deployment {verb} -n {deployment} -e {endpoint} {_told(wanted, now)} {workspace.az}"
    steps.append(step(call, work.put_deployment, deployment))
    # Before its traffic: the header reaches it without any, and requests go to what is known to answer.
    if now.speaks is Protocol.TRITON:
        ready_s = _READY_S if wanted.ready_s is None else wanted.ready_s
        header = f"{CHOOSE}: {deployment}"
        call = f"wait until GET /v2/health/ready answers 200 with the key and {header} (at most {ready_s:g} s)"
        steps.append(Step(call, work.wait_ready(ready_s), deployment, deadline_s=ready_s + CALL_S))
    first = now.endpoint is None or not any(now.endpoint.traffic.values())
    moves = wanted.traffic or first
    if moves:
        call = f'az ml online-endpoint update -n {endpoint} --traffic "{deployment}=100" {workspace.az}'
        steps.append(step(call, work.take_traffic, endpoint))
    warnings += _warnings(wanted, now, endpoint, first)
    typed = ""
    if wanted.traffic and not first:
        typed = endpoint
    elif now.share:
        typed = service.partition("/")[2]
    return Plan(
        action="deploy",
        service=service,
        title=f"Deploy {wanted.model} as {service}",
        steps=tuple(steps),
        now=_state(now),
        warnings=tuple(warnings),
        undo=_undo(workspace, wanted, now, service, moves=moves),
        typed=typed,
        read_only=read_only,
    )


def _names(wanted: Serving) -> tuple[str, str]:
    endpoint, _, deployment = wanted.name.rpartition("/")
    endpoint = endpoint.rpartition("/")[2]
    for what, name in (("endpoint", endpoint), ("deployment", deployment)):
        # 3 to 32 letters, digits and dashes, beginning with a letter (Azure ML's limits of online endpoints).
        plain = name.replace("-", "")
        if not (3 <= len(name) <= 32 and plain.isascii() and plain.isalnum() and name[:1].isalpha()):
            raise UsageError(
                f"deploy to {wanted.name!r}",
                f"{name!r} cannot name an {what}" if what == "endpoint" else f"{name!r} cannot name a {what}",
                "write ENDPOINT/DEPLOYMENT: 3 to 32 letters, digits and -, beginning with a letter",
            )
    return endpoint, deployment


def _auth(wanted: Serving) -> str:
    if wanted.auth is not None and wanted.auth not in _AUTH:
        raise UsageError("deploy --auth", f"{wanted.auth!r} is none", f"there is {', '.join(_AUTH)}")
    return _AUTH[wanted.auth or "key"]


async def _look(place: Place, workspace: Workspace, wanted: Serving, endpoint: str, deployment: str) -> Now:
    name, _, version = wanted.model.partition(":")
    if not name or not version:
        raise UsageError(f"deploy {wanted.model!r}", "a model is NAME:VERSION", "tritonctl describe BACKEND lists them")
    if wanted.code is not None and not (wanted.script and wanted.environment):
        raise UsageError(
            "deploy --code",
            "a scoring script needs its name and an environment",
            "--script score.py --environment NAME:VERSION",
        )
    if wanted.script is not None and wanted.code is None:
        raise UsageError("deploy --script", "the folder it is in was not named", "--code DIR")
    document, model = await asyncio.gather(
        place.arm.get(workspace.path, API), place.arm.get(version_path(workspace, "models", name, version), API)
    )
    environment: EnvironmentVersion | None = None
    if wanted.environment is not None:
        what, _, number = wanted.environment.partition(":")
        if not what or not number:
            raise UsageError(f"deploy --environment {wanted.environment}", "an environment is NAME:VERSION")
        environment = environment_of(await place.arm.get(version_path(workspace, "environments", what, number), API))
        if environment is None:
            raise NotFound(f"environment {wanted.environment}", "Azure sent a document that is no environment")
    found = model_of(model)
    if found is None:
        raise NotFound(f"model {wanted.model}", "Azure sent a document that is no model")
    there: Endpoint | None = None
    siblings: list[Deployment] = []
    try:
        there = await place.endpoint(workspace, endpoint)
        siblings = await place.deployments(workspace, endpoint)
    except NotFound:
        pass
    mine = next((each for each in siblings if each.name == deployment), None)
    return Now(
        text(document, "location"),
        found,
        there,
        mine,
        tuple(each.name for each in siblings if each.name != deployment),
        environment.id if environment is not None else "",
        await _speaks(place, workspace, wanted, found, mine, environment),
    )


async def _speaks(
    place: Place,
    workspace: Workspace,
    wanted: Serving,
    model: ModelVersion,
    mine: Deployment | None,
    environment: EnvironmentVersion | None,
) -> Protocol:
    """Of what will serve, with what a deployment that is there keeps: its script, its environment."""
    if wanted.script or (mine is not None and mine.script):
        return Protocol.SCORING
    kept = mine.environment if mine is not None else ""
    if environment is None and not kept:
        return Protocol.TRITON if model.triton else Protocol.SCORING
    in_force = environment or await place.environment(workspace, kept)
    if in_force is None:
        return Protocol.ASKED
    return Protocol.TRITON if in_force.triton else Protocol.OTHER


def _need_same(wanted: Serving, now: Now, auth: str) -> None:
    """How callers are let in and where it runs is settled when an endpoint is made."""
    there = now.endpoint
    if there is None:
        return
    if wanted.auth is not None and auth.lower() != there.auth.lower():
        words = f"the endpoint {there.name} is there, and lets callers in by {there.auth or 'other means'}"
        raise UsageError(f"deploy --auth {wanted.auth}", words, "leave --auth out, or name a new endpoint")
    if wanted.compute is not None and wanted.compute.lower() != there.compute.lower():
        words = (
            f"the endpoint {there.name} is there, and {f'runs on {there.compute}' if there.compute else 'is managed'}"
        )
        raise UsageError(f"deploy --compute {wanted.compute}", words, "leave --compute out, or name a new endpoint")


def _warnings(wanted: Serving, now: Now, endpoint: str, first: bool) -> list[str]:
    found = []
    if now.speaks is Protocol.SCORING and wanted.script is None and (now.deployment is None or now.deployment.no_code):
        found.append(f"{wanted.model} is of type {now.model.type or 'unknown'}, not {TRITON}: no Triton will serve it")
    if now.model.archived:
        found.append(f"{wanted.model} is archived")
    if now.speaks is Protocol.ASKED:
        kept = now.deployment.environment_name if now.deployment is not None else ""
        found.append(f"its environment {kept} cannot be read: whether its server gets ready is not waited for")
    if not now.on_kubernetes(wanted):
        found.append("billed from the first minute until it is deleted; its quota needs 20 % more for upgrades")
    if now.deployment is None:
        found.append("a deployment takes some minutes; who stops waiting finds it again in the table, as Creating")
    else:
        found.append("every instance is replaced by a new one; the old ones serve until then")
    if wanted.traffic and not first:
        others = ", ".join(
            f"{name} {share} %" for name, share in (now.endpoint.traffic if now.endpoint else {}).items() if share
        )
        found.append(f"all requests to {endpoint} go to it from then on; now: {others}")
    return found


def _told(wanted: Serving, now: Now) -> str:
    """The settings as `az` would be told."""
    new = now.deployment is None
    words = [f"--set model=azureml:{wanted.model}"]
    if new and not now.on_kubernetes(wanted):
        words.append(f"instance_type={wanted.instance_type or INSTANCE}")
    elif wanted.instance_type:
        words.append(f"instance_type={wanted.instance_type}")
    if new or wanted.count is not None:
        words.append(f"instance_count={wanted.count or 1}")
    if new or wanted.concurrent is not None:
        words.append(f"{_CONCURRENT_WORD}={wanted.concurrent or CONCURRENT}")
    if wanted.code is not None:
        words.append(f"code_configuration.code={wanted.code} code_configuration.scoring_script={wanted.script}")
    if wanted.environment is not None:
        words.append(f"environment=azureml:{wanted.environment}")
    return " ".join(words)


def _undo(workspace: Workspace, wanted: Serving, now: Now, service: str, *, moves: bool) -> str:
    """The lines that lead back, the traffic first: while the others have none, nobody would answer."""
    endpoint, _, deployment = service.rpartition("/")
    if now.endpoint is None:
        return f"tritonctl delete {service} --with endpoint"
    shares = {name: share for name, share in now.endpoint.traffic.items() if share}
    lines = []
    if moves and (shares or now.deployment is not None):
        told = " ".join(f"{name}={share}" for name, share in (shares | {deployment: now.share}).items())
        copied = now.endpoint.mirror.get(deployment)
        lines.append(f"tritonctl traffic {endpoint} {told}" + (f" --mirror {deployment}={copied}" if copied else ""))
    if now.deployment is None:
        return " && ".join([*lines, f"tritonctl delete {service}"])
    line, lost = _as_before(workspace, wanted, now.deployment, service)
    words = " && ".join([*lines, *([line] if line else [])])
    return f"{words}   (not taken back: {', '.join(lost)})" if lost else words


def _as_before(workspace: Workspace, wanted: Serving, before: Deployment, service: str) -> tuple[str, list[str]]:
    """The line that makes the deployment as it was, and what it does not bring back. What a workspace has registered is
    named to `tritonctl deploy`; anything else only `az` can name."""
    flags, words, lost = [], [], []
    for given, was, flag, word in (
        (wanted.count, before.instances, "--count", "instance_count"),
        (wanted.concurrent, before.concurrent, "--concurrent", _CONCURRENT_WORD),
        (wanted.instance_type, before.instance_type, "--instance-type", "instance_type"),
    ):
        if given is not None and was:
            flags.append(f"{flag} {was}")
            words.append(f"{word}={was}")
        elif given is not None:
            lost.append(f"{word}, which was not set")
    ours = True
    if wanted.environment is not None and before.environment:
        ours = _is_ours(before.environment, "environments")
        flags.append(f"--environment {before.environment_name}")
        words.append(f"environment={f'azureml:{before.environment_name}' if ours else before.environment}")
    elif wanted.environment is not None:
        lost.append("its environment: it had none")
    if wanted.code is not None:
        lost.append(f"its scoring script {before.script}" if before.script else "its scoring script: it had none")
    if not before.model:
        lost.append("its model: it had none of its own")
    elif ours and _is_ours(before.model, "models"):
        return " ".join([f"tritonctl deploy {before.model_name} {service}", *flags]), lost
    else:
        ours = _is_ours(before.model, "models")
        words.insert(0, f"model={f'azureml:{before.model_name}' if ours else before.model}")
    if not words:
        return "", lost
    line = (
        f"az ml online-deployment update -n {before.name} -e {before.endpoint} --set {' '.join(words)} {workspace.az}"
    )
    return line, lost


def _is_ours(reference: str, kind: str) -> bool:
    return asset_in(reference, kind) is not None and "/registries/" not in reference


def _state(now: Now) -> str:
    if now.endpoint is None:
        return "no such endpoint yet"
    others = f"; beside it {', '.join(now.siblings)}" if now.siblings else ""
    if now.deployment is None:
        return f"endpoint {now.endpoint.state}, no such deployment{others}"
    return f"{now.deployment.state}, model {now.deployment.model_name}{others}"
