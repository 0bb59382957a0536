"""A deployment, its endpoint and its workspace in Azure's terms, and what failed there, in full."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from backends.azure.fields import mapping, text
from backends.azure.operations import Progress, ended_badly, seconds
from backends.azureml import monitor
from backends.azureml.documents import Deployment, Endpoint, Probe
from backends.azureml.place import Place
from backends.azureml.services import CHOOSE, Known, Protocol, so_far
from backends.azureml.workspaces import API, Workspace
from backends.secrets import mask
from tritonctl.backend import Event, Section
from tritonctl.errors import TritonctlError

Rows = list[tuple[str, str]]
# What Azure takes where a deployment says nothing (its YAML reference, "managed online deployment").
_TIMEOUT_S, _CONCURRENT = 5.0, 1
_PROTOCOLS = {
    Protocol.TRITON: "Triton's own: /v2/…",
    Protocol.SCORING: "Azure ML's scoring protocol: POST /score",
    Protocol.OTHER: "its container's own",
    Protocol.ASKED: "being asked for",
}


async def sections(place: Place, known: Known, service_id: str) -> tuple[Section, ...]:
    """Raises NotFound where it is gone by now."""
    endpoint = await place.endpoint(known.workspace, known.endpoint.name)
    found: list[tuple[str, Rows]] = []
    of_endpoint = await place.progress(endpoint.operation)
    if known.deployment is not None:
        deployment = await place.deployment(known.workspace, endpoint.name, known.deployment.name)
        protocol, progress, assets, measured = await asyncio.gather(
            place.protocol(known.workspace, deployment),
            place.progress(deployment.operation),
            _assets(place, known.workspace, deployment),
            monitor.rows(place.arm, endpoint, deployment),
        )
        found += [
            (f"deployment {deployment.name}", _deployment(deployment, protocol)),
            ("operation", operation_rows(progress, deployment.state, deployment.operation)),
            ("model and environment", assets),
            ("requests", _requests(deployment)),
            ("probes", _probes(deployment)),
            ("resources", _resources(deployment)),
            (
                "environment variables",
                [(name, mask(name, each)) for name, each in sorted(deployment.variables.items())],
            ),
            (monitor.HEADING, measured),
        ]
    found += [
        (f"endpoint {endpoint.name}", _endpoint(endpoint, service_id, place.arm.cloud.portal)),
        ("operation of the endpoint", operation_rows(of_endpoint, endpoint.state, endpoint.operation)),
        ("workspace", _workspace(known.workspace)),
    ]
    return tuple(Section(heading, tuple(rows)) for heading, rows in found if rows)


async def evidence(place: Place, known: Known) -> tuple[Section, ...]:
    """What triage looks through: states, the errors of operations in full, and settings that bring errors about."""
    rows: Rows = []
    deployment, endpoint = known.deployment, known.endpoint
    for what, each in (("deployment", deployment), ("endpoint", endpoint)):
        if each is None:
            continue
        rows.append((f"{what} {each.name}", each.state))
        # That of a change before is history: what is wrong now is told by what ended badly.
        progress = await place.progress(each.operation) if ended_badly(each.state) else None
        if progress is not None and progress.error is not None:
            rows.append((f"{what} error", progress.error.text()))  # whole: what lies deep says why
    if deployment is not None:
        rows.append(("maxConcurrentRequestsPerInstance", str(deployment.concurrent or _CONCURRENT)))
        rows.append(("traffic", f"{endpoint.traffic.get(deployment.name, 0)} %"))
        if known.access is not None and known.access.why:
            rows.append(("access", known.access.why))
    return (Section("", tuple(rows)),)


async def events(place: Place, known: Known) -> tuple[Event, ...]:
    """What the documents and operations remember; Azure keeps the containers' events in Log Analytics alone."""
    found: list[Event] = []
    for what, each in (("deployment", known.deployment), ("endpoint", known.endpoint)):
        if each is None:
            continue
        system = mapping(each.document, "systemData")
        for key, by, kind in (("createdAt", "createdBy", "created"), ("lastModifiedAt", "lastModifiedBy", "changed")):
            at = seconds(text(system, key))
            if at is not None and (kind == "created" or at != seconds(text(system, "createdAt"))):
                found.append(Event(at, kind, f"{what} {each.name} by {text(system, by) or 'somebody'}"))
        progress = await place.progress(each.operation)
        if progress is None:
            continue
        if progress.started_at is not None:
            found.append(Event(progress.started_at, "operation", f"{what} {each.name}: begun"))
        if progress.ended_at is not None or progress.error is not None:
            at = progress.ended_at or progress.started_at or 0.0
            why = f": {progress.error.text()}" if progress.error is not None else ""
            bad = progress.error is not None and ended_badly(each.state)
            found.append(Event(at, progress.state.lower(), f"{what} {each.name}{why}", bad))
    return tuple(sorted(found, key=lambda event: event.at))


def operation_rows(progress: Progress | None, state: str, uri: str) -> Rows:
    """How far it is, or what it failed with: code, message, details and inner errors."""
    rows: Rows = []
    if progress is None:
        if uri and ended_badly(state):
            rows.append(("error", "Azure no longer keeps the operation's error; the log may tell"))
        return rows
    rows.append(("state", so_far(progress.state, progress)))
    if progress.started_at is not None:
        rows.append(("began", _when(progress.started_at)))
    if progress.ended_at is not None:
        rows.append(("ended", _when(progress.ended_at)))
    if progress.error is not None:
        rows += [("error" if not place else "", line) for place, line in enumerate(progress.error.text().splitlines())]
    if not progress.done:
        rows.append(("taken up by", uri))
    return rows


def _deployment(deployment: Deployment, protocol: Protocol) -> Rows:
    rows = [
        ("state", deployment.state),
        ("speaks", _PROTOCOLS[protocol]),
        ("compute", "Kubernetes" if deployment.kubernetes else deployment.compute_type or "unknown"),
        ("instance type", deployment.instance_type or "the cluster's default"),
        ("instances", str(deployment.instances) if deployment.instances is not None else "unknown"),
        ("scaling", deployment.scale_type or "unknown"),
        ("created", _when(deployment.created_at)),
        ("id", deployment.id),
    ]
    scale = mapping(mapping(deployment.document, "properties"), "scaleSettings")
    if deployment.scale_type == "TargetUtilization":
        bounds = f"{scale.get('minInstances')} to {scale.get('maxInstances')} instances"
        rows.append(("scales itself", f"{bounds} at {scale.get('targetUtilizationPercentage')} % utilisation"))
    if deployment.egress:
        rows.append(("may reach outside", deployment.egress))
    if protocol is Protocol.TRITON and deployment.no_code:
        rows.append(
            ("server options", "Azure's own: they can be set only in a custom container, such as --model-control-mode")
        )
    return rows


async def _assets(place: Place, workspace: Workspace, deployment: Deployment) -> Rows:
    rows: Rows = []
    if deployment.model:
        model = await _or_none(place.model(workspace, deployment.model))
        kind = f"  ({model.type})" if model is not None else ""
        rows.append(("model", f"{deployment.model_name}{kind}"))
    if deployment.mount:
        rows.append(("mounted at", deployment.mount))
    if deployment.environment:
        rows.append(("environment", deployment.environment_name))
        environment = await _or_none(place.environment(workspace, deployment.environment))
        if environment is not None:
            rows.append(("image", environment.image or f"built from {environment.build or 'a context'}"))
            if environment.liveness:
                port = f" on port {environment.scoring_port}" if environment.scoring_port else ""
                rows.append(("routes", f"live {environment.liveness}, scoring {environment.scoring}{port}"))
    if deployment.script:
        rows.append(("scoring script", deployment.script))
    elif deployment.no_code:
        rows.append(("environment", "none: Azure takes the server that the model's type asks for"))
    return rows


async def _or_none(asked: Any) -> Any:
    try:
        return await asked
    except TritonctlError:
        return None


def _requests(deployment: Deployment) -> Rows:
    timeout = deployment.request_timeout_s
    concurrent = deployment.concurrent
    rows = [
        ("timeout", f"{timeout:g} s" if timeout is not None else f"{_TIMEOUT_S:g} s (Azure's default)"),
        ("at once in an instance", str(concurrent) if concurrent is not None else f"{_CONCURRENT} (Azure's default)"),
    ]
    if (concurrent or _CONCURRENT) == 1:
        rows.append(("", "Azure answers 429 before Triton can batch: `tritonctl set … requests.concurrent=8`"))
    return rows


def _probes(deployment: Deployment) -> Rows:
    rows = []
    for name, probe in (("liveness", deployment.liveness), ("readiness", deployment.readiness)):
        rows.append((name, _probe(probe) if probe is not None else "Azure's default"))
    return rows


def _probe(probe: Probe) -> str:
    def told(value: float | None) -> str:
        return f"{value:g} s" if value is not None else "the default"

    budget = ""
    if None not in (probe.initial_delay_s, probe.period_s, probe.failure):
        whole = (probe.initial_delay_s or 0) + (probe.period_s or 0) * (probe.failure or 0)
        budget = f"; gives up after {whole:g} s"
    return (
        f"after {told(probe.initial_delay_s)} every {told(probe.period_s)}, timeout {told(probe.timeout_s)}, "
        f"{probe.failure if probe.failure is not None else 'the default of'} failures{budget}"
    )


def _resources(deployment: Deployment) -> Rows:
    """What a Kubernetes deployment asks the cluster for."""
    asked = mapping(mapping(deployment.document, "properties"), "containerResourceRequirements")
    rows: Rows = []
    for key, name in (("containerResourceRequests", "asked for"), ("containerResourceLimits", "at most")):
        found = mapping(asked, key)
        if found:
            rows.append((name, ", ".join(f"{what} {value}" for what, value in found.items() if value)))
    return rows


def _endpoint(endpoint: Endpoint, service_id: str, portal: str) -> Rows:
    rows = [
        ("state", endpoint.state),
        ("traffic", _shares(endpoint.traffic) or "none: no deployment is reached but by its name"),
    ]
    if endpoint.mirror:
        rows.append(("mirror", f"a copy of the requests: {_shares(endpoint.mirror)}"))
    rows += [
        ("authentication", endpoint.auth or "unknown"),
        ("scoring address", endpoint.scoring_uri or "none yet"),
        ("one deployment alone", f"the header {CHOOSE}: NAME"),
        ("compute", f"Kubernetes: {endpoint.compute}" if endpoint.kubernetes else "managed by Azure"),
        ("reached from outside", endpoint.public or "unknown"),
        ("created", _when(endpoint.created_at)),
        ("id", endpoint.id),
        ("portal", f"{portal}/#resource{endpoint.id}"),
    ]
    if endpoint.auth.lower() == "key":
        rows.append(("keys", f"tritonctl keys {service_id} --show"))
    return rows


def _shares(shares: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {share} %" for name, share in shares.items() if share)


def _workspace(workspace: Workspace) -> Rows:
    return [
        ("name", workspace.name),
        ("resource group", workspace.resource_group),
        ("subscription", workspace.subscription),
    ]


async def of_place(place: Place, workspace: Workspace) -> tuple[Section, ...]:
    """The workspace itself, with what is registered and attached there. What may not be read is said so."""
    facts, models, environments, computes = await asyncio.gather(
        _part(_facts(place, workspace)),
        _part(_models(place, workspace)),
        _part(_environments(place, workspace)),
        _part(_computes(place, workspace)),
    )
    name = workspace.name
    return (
        Section(f"workspace {name}", tuple(facts)),
        Section(f"models of {name}", tuple(models) or (("none", ""),)),
        Section(f"environments of {name}", tuple(environments) or (("none of its own", ""),)),
        Section(f"computes of {name}", tuple(computes) or (("none", ""),)),
    )


async def _part(asked: Any) -> Rows:
    try:
        rows: Rows = await asked
        return rows
    except TritonctlError as error:
        return [("not known", error.headline)]


async def _facts(place: Place, workspace: Workspace) -> Rows:
    document = await place.arm.get(workspace.path, API)
    properties = mapping(document, "properties")
    rows = [
        ("state", text(properties, "provisioningState") or "unknown"),
        ("location", text(document, "location") or "unknown"),
        ("resource group", workspace.resource_group),
        ("subscription", workspace.subscription),
        ("registry", text(properties, "containerRegistry").rpartition("/")[2] or "none"),
        ("storage", text(properties, "storageAccount").rpartition("/")[2] or "none"),
        ("builds images on", text(properties, "imageBuildCompute") or "Azure's own machines"),
        ("reached from outside", text(properties, "publicNetworkAccess") or "unknown"),
    ]
    if properties.get("v1LegacyMode") is True:
        rows.append(("v1_legacy_mode", "on: the workspace refuses everything that is described here"))
    return rows


async def _models(place: Place, workspace: Workspace) -> Rows:
    rows: Rows = []
    for name, versions in (await place.models.of(workspace)).items():
        for each in sorted(versions, key=lambda one: _order(one.version)):
            mark = "Triton" if each.triton else each.type or "unknown type"
            rows.append((f"{name}:{each.version}", f"{mark}, {_when(each.created_at)}"))
    return rows


async def _environments(place: Place, workspace: Workspace) -> Rows:
    rows: Rows = []
    for name, versions in (await place.environments.of(workspace)).items():
        for each in sorted(versions, key=lambda one: _order(one.version)):
            rows.append((f"{name}:{each.version}", each.image or (f"built from {each.build}" if each.build else "")))
    return rows


def _order(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdigit() else (1 << 60, version)


async def _computes(place: Place, workspace: Workspace) -> Rows:
    rows: Rows = []
    for each in sorted(await place.computes(workspace), key=lambda one: one.name):
        facts = [each.kind, each.state, each.size, f"cluster {each.resource}" if each.resource else ""]
        facts.append(f"namespace {each.namespace}" if each.namespace else "")
        if each.kind == "AKS":
            facts.append("a v1 target: online endpoints need the AzureML extension and a compute of kind Kubernetes")
        rows.append((each.name, ", ".join(part for part in (*facts, *each.errors) if part)))
    return rows


def _when(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at is not None else "unknown"
