"""A registered model behind an endpoint: the endpoint if there is none, the deployment, its readiness, its traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backends.azureml import upload
from backends.azureml.access import access_to, endpoint_path
from backends.azureml.documents import TRITON, Deployment, Endpoint, ModelVersion, model_of
from backends.azureml.edit import applied, with_traffic
from backends.azureml.fields import text
from backends.azureml.ground import CALL_S, OPERATION_S
from backends.azureml.place import Place, deployment_path, version_path
from backends.azureml.services import CHOOSE
from backends.azureml.traffic import all_of, need_unchanged
from backends.azureml.upload import Files
from backends.azureml.watch import Watch
from backends.azureml.workspaces import API, Workspace
from tritonctl.backend import Serving
from tritonctl.errors import NotFound, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.plan import Plan, Step
from tritonctl.server.address import Secret, ServerAddress

INSTANCE = "Standard_NC4as_T4_v3"  # the smallest with a T4; what Microsoft's own Triton examples take
CONCURRENT = 8  # with Azure's default of 1 its front door answers 429 before Triton sees two requests at once
_AUTH = {"key": "Key", "aml_token": "AMLToken", "aad_token": "AADToken"}
_READY_S = 300.0
_UPLOAD_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Now:
    """What there is already."""

    location: str
    model: ModelVersion
    endpoint: Endpoint | None
    deployment: Deployment | None
    siblings: tuple[str, ...]
    environment: str


async def plan(
    place: Place, workspace: Workspace, wanted: Serving, service: str, watch: Watch | None, *, read_only: bool
) -> Plan:
    """`wanted.name` is ENDPOINT/DEPLOYMENT. One that exists is changed in what is named and in nothing else."""
    endpoint, deployment = _names(wanted)
    auth = _auth(wanted)
    now = await _look(place, workspace, wanted, endpoint, deployment)
    work = _Work(place, workspace, wanted, endpoint, deployment, now, watch)
    steps, warnings = [], []
    if now.endpoint is None:
        told = f"--auth-mode {wanted.auth or 'key'}" + (f" --compute {wanted.compute}" if wanted.compute else "")
        steps.append(
            _step(
                f"az ml online-endpoint create -n {endpoint} {told} {workspace.az}", work.make_endpoint(auth), endpoint
            )
        )
    elif now.endpoint.under_way or (now.deployment is not None and now.deployment.under_way):
        raise OperationFailed(f"deploy {service}", f"{endpoint} is being changed: Azure takes one change at a time")
    if wanted.code is not None:
        files = await asyncio.to_thread(upload.files_of, wanted.code)
        call = f"upload {wanted.code} ({len(files.paths)} files) and register it as code"
        steps.append(Step(call=call, run=work.send_code(files), replica=deployment, deadline_s=_UPLOAD_S, ours=True))
    verb = "create" if now.deployment is None else "update"
    steps.append(
        _step(
            f"az ml online-deployment {verb} -n {deployment} -e {endpoint} {_told(wanted, now)} {workspace.az}",
            work.put_deployment,
            deployment,
        )
    )
    # Before its traffic: the header reaches it without any, and requests go to what is known to answer.
    if wanted.script is None and now.model.triton:
        header = f"{CHOOSE}: {deployment}"
        call = f"wait until GET /v2/health/ready answers 200 with the key and {header} (at most {_READY_S:g} s)"
        steps.append(Step(call=call, run=work.wait_ready, replica=deployment, deadline_s=_READY_S + CALL_S))
    first = now.endpoint is None or not any(now.endpoint.traffic.values())
    if wanted.traffic or first:
        steps.append(
            _step(
                f'az ml online-endpoint update -n {endpoint} --traffic "{deployment}=100" {workspace.az}',
                work.take_traffic,
                endpoint,
            )
        )
    warnings += _warnings(wanted, now, endpoint, first)
    undo = f"tritonctl delete {service}" + (" --with endpoint" if now.endpoint is None else "")
    if now.deployment is not None:
        undo = f"tritonctl deploy {now.deployment.model_name} {service}"
    return Plan(
        action="deploy",
        service=service,
        title=f"Deploy {wanted.model} as {service}",
        steps=tuple(steps),
        now=_state(now),
        warnings=tuple(warnings),
        undo=undo,
        typed=endpoint if wanted.traffic and not first else "",
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


async def _look(place: Place, workspace: Workspace, wanted: Serving, endpoint: str, deployment: str) -> _Now:
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
    environment = ""
    if wanted.environment is not None:
        what, _, number = wanted.environment.partition(":")
        if not what or not number:
            raise UsageError(f"deploy --environment {wanted.environment}", "an environment is NAME:VERSION")
        environment = text(await place.arm.get(version_path(workspace, "environments", what, number), API), "id")
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
    return _Now(
        text(document, "location"),
        found,
        there,
        mine,
        tuple(each.name for each in siblings if each.name != deployment),
        environment,
    )


def _warnings(wanted: Serving, now: _Now, endpoint: str, first: bool) -> list[str]:
    found = []
    if not now.model.triton and wanted.script is None and now.environment == "":
        found.append(f"{wanted.model} is of type {now.model.type or 'unknown'}, not {TRITON}: no Triton will serve it")
    if now.model.archived:
        found.append(f"{wanted.model} is archived")
    kubernetes = wanted.compute is not None or (now.endpoint is not None and now.endpoint.kubernetes)
    if not kubernetes:
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


def _told(wanted: Serving, now: _Now) -> str:
    """The settings as `az` would be told."""
    new = now.deployment is None
    words = [f"--set model=azureml:{wanted.model}"]
    if new and not _on_kubernetes(wanted, now):
        words.append(f"instance_type={wanted.instance_type or INSTANCE}")
    elif wanted.instance_type:
        words.append(f"instance_type={wanted.instance_type}")
    if new or wanted.count is not None:
        words.append(f"instance_count={wanted.count or 1}")
    if new or wanted.concurrent is not None:
        words.append(f"request_settings.max_concurrent_requests_per_instance={wanted.concurrent or CONCURRENT}")
    if wanted.code is not None:
        words.append(f"code_configuration.code={wanted.code} code_configuration.scoring_script={wanted.script}")
    if wanted.environment is not None:
        words.append(f"environment=azureml:{wanted.environment}")
    return " ".join(words)


def _on_kubernetes(wanted: Serving, now: _Now) -> bool:
    return now.endpoint.kubernetes if now.endpoint is not None else wanted.compute is not None


def _state(now: _Now) -> str:
    if now.endpoint is None:
        return "no such endpoint yet"
    others = f"; beside it {', '.join(now.siblings)}" if now.siblings else ""
    if now.deployment is None:
        return f"endpoint {now.endpoint.state}, no such deployment{others}"
    return f"{now.deployment.state}, model {now.deployment.model_name}{others}"


def _step(call: str, run: Callable[[], Awaitable[str]], replica: str) -> Step:
    return Step(call=call, run=run, replica=replica, deadline_s=OPERATION_S)


class _Work:
    """The calls of the steps; what one made, the next needs."""

    def __init__(
        self,
        place: Place,
        workspace: Workspace,
        wanted: Serving,
        endpoint: str,
        deployment: str,
        now: _Now,
        watch: Watch | None,
    ) -> None:
        self._place = place
        self._workspace = workspace
        self._wanted = wanted
        self._endpoint = endpoint
        self._deployment = deployment
        self._now = now
        self._watch = watch
        self._code = ""

    def make_endpoint(self, auth: str) -> Callable[[], Awaitable[str]]:
        async def run() -> str:
            body: dict[str, Any] = {
                "location": self._now.location,
                "identity": {"type": "SystemAssigned"},
                "kind": "K8S" if self._wanted.compute else "Managed",
                "tags": {},
                "properties": {"authMode": auth, "properties": {}},
            }
            if self._wanted.compute:
                body["properties"]["compute"] = f"{self._workspace.path}/computes/{self._wanted.compute}"
            else:
                body["properties"]["publicNetworkAccess"] = "Enabled"
            return await self._put(endpoint_path(self._workspace, self._endpoint), body, "create the endpoint")

        return run

    def send_code(self, files: Files) -> Callable[[], Awaitable[str]]:
        async def run() -> str:
            store = await upload.default_store(self._place.arm, self._workspace)
            digest = await upload.digest(files)
            folder = f"LocalUpload/{digest}/{files.root.resolve().name}"
            await upload.put(self._place.arm, store, files, folder)
            # Named after its contents: the same code is registered once.
            path = version_path(self._workspace, "codes", digest, "1")
            body = {
                "properties": {
                    "codeUri": upload.blob_url(store, folder),
                    "isAnonymous": True,
                    "tags": {},
                    "properties": {},
                }
            }
            made = await self._place.arm.change("PUT", path, API, body, deadline_s=CALL_S)
            self._code = text(made.body, "id") or path
            return "uploaded"

        return run

    async def put_deployment(self) -> str:
        path = deployment_path(self._workspace, self._endpoint, self._deployment)
        if self._now.deployment is None:
            return await self._put(path, self._new(), f"deploy {self._deployment}")
        fresh = await self._place.deployment(self._workspace, self._endpoint, self._deployment)
        return await self._put(path, self._changed(fresh.document), f"deploy {self._deployment}")

    def _new(self) -> dict[str, Any]:
        wanted, kubernetes = self._wanted, _on_kubernetes(self._wanted, self._now)
        properties: dict[str, Any] = {
            "endpointComputeType": "Kubernetes" if kubernetes else "Managed",
            "model": self._now.model.id,
            "properties": {},
            "environmentVariables": {},
            "appInsightsEnabled": False,
            "requestSettings": {"maxConcurrentRequestsPerInstance": wanted.concurrent or CONCURRENT},
        }
        instance = wanted.instance_type or (None if kubernetes else INSTANCE)
        if instance is not None:
            properties["instanceType"] = instance
        self._serve(properties)
        return {
            "location": self._now.location,
            "tags": {},
            "properties": properties,
            "sku": {"name": "Default", "capacity": wanted.count or 1},
        }

    def _changed(self, document: Mapping[str, Any]) -> dict[str, Any]:
        wanted = self._wanted
        body = applied(document, ())
        properties = body["properties"]
        properties["model"] = self._now.model.id
        if wanted.instance_type is not None:
            properties["instanceType"] = wanted.instance_type
        if wanted.concurrent is not None:
            requests = dict(properties.get("requestSettings") or {})
            properties["requestSettings"] = {**requests, "maxConcurrentRequestsPerInstance": wanted.concurrent}
        if wanted.count is not None:
            body["sku"] = {**(body.get("sku") or {"name": "Default"}), "capacity": wanted.count}
        self._serve(properties)
        return body

    def _serve(self, properties: dict[str, Any]) -> None:
        """What answers: a script in its environment, a container of its own, or the server of the model's type."""
        if self._code:
            properties["codeConfiguration"] = {"codeId": self._code, "scoringScript": self._wanted.script}
        if self._now.environment:
            properties["environmentId"] = self._now.environment

    async def take_traffic(self) -> str:
        """Minutes after the plan was made: shares that somebody else set meanwhile stay."""
        fresh = await self._place.endpoint(self._workspace, self._endpoint)
        advice = (
            f"the deployment is there and has none: tritonctl traffic {self._endpoint} {self._deployment}=PERCENT …"
        )
        need_unchanged(f"traffic to {self._deployment}", fresh, all_of(self._now.endpoint), advice)
        here = await self._place.deployments(self._workspace, self._endpoint)
        shares = {each.name: 0 for each in here} | {self._deployment: 100}
        path = endpoint_path(self._workspace, self._endpoint)
        # Azure gives a deployment requests or copies of them, not both.
        mirror = {name: share for name, share in fresh.mirror.items() if name != self._deployment}
        return await self._put(path, with_traffic(fresh.document, shares, mirror), "traffic")

    async def wait_ready(self) -> str:
        """As whoever sends requests will meet it: through Azure's front door, with the endpoint's key."""
        from tritonctl.server.client import ServerClient

        endpoint = await self._place.endpoint(self._workspace, self._endpoint)
        access = await access_to(self._place.arm, self._workspace, endpoint)
        if access.header is None:
            raise OperationFailed(
                f"ask {self._deployment} whether it is ready", access.why, "grant the right to list keys"
            )
        headers = {"Authorization": access.header, CHOOSE: Secret(self._deployment)}
        ca = self._place.arm.cloud.ca
        address = ServerAddress(endpoint.base, headers=headers, ca=str(ca) if ca is not None else None)
        said = "it did not answer"
        async with ServerClient(address) as client:
            end = asyncio.get_running_loop().time() + _READY_S
            pause = 0.5
            while asyncio.get_running_loop().time() < end:
                try:
                    if await client.ready():
                        return "ready"
                    said = "it answers, and is not ready: a model may have failed to load, see its log"
                except TritonctlError as error:
                    said = error.headline
                await asyncio.sleep(pause)
                pause = min(2 * pause, 5.0)
        raise Unreachable(f"wait for {self._deployment}", said, "tritonctl triage tells why", kind="timeout")

    async def _put(self, path: str, body: Mapping[str, Any], tried: str) -> str:
        changed = await self._place.arm.change("PUT", path, API, body, deadline_s=CALL_S)
        self._hurry()
        try:
            if changed.operation is not None:
                await self._place.arm.finish(changed.operation, tried)
        finally:
            self._hurry()
        return "succeeded"

    def _hurry(self) -> None:
        if self._watch is not None:
            self._watch.hurry(self._workspace, self._endpoint)
