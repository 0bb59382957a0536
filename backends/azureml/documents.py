"""Azure's documents of endpoints, deployments, models, environments and computes as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from backends.azure.fields import mapping, number, text
from backends.azure.operations import seconds
from backends.azureml.fields import asset_in, name_in, numbers, seconds_of, texts

UNDER_WAY = frozenset(("creating", "updating", "scaling", "deleting"))
OPERATION_KEY = (
    "AzureAsyncOperationUri"  # in properties.properties: the operation's status URL, as the service keeps it
)
TRITON = "triton_model"
MANAGED, KUBERNETES = "Managed", "Kubernetes"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`traffic` and `mirror` are percent by deployment. `document` is as it came, for a change that loses nothing."""

    name: str
    id: str
    state: str
    auth: str  # Key, AMLToken, AADToken, or what Azure may add
    traffic: Mapping[str, int]
    mirror: Mapping[str, int]
    scoring_uri: str
    compute: str  # its name; "" where it is managed
    public: str
    operation: str
    created_at: float | None
    document: Mapping[str, Any] = field(repr=False)

    @property
    def kubernetes(self) -> bool:
        return bool(self.compute) or text(self.document, "kind").lower() in ("k8s", "kubernetes")

    @property
    def under_way(self) -> bool:
        return self.state.lower() in UNDER_WAY

    @property
    def base(self) -> str:
        """Where Triton's own paths begin; "" while it has no address.

        On managed endpoints the scoring URI's path (/score) belongs to the scoring script; Microsoft's own Triton
        examples take its host alone (azureml-examples, triton/single-model). A Kubernetes endpoint's router needs the
        path that names the endpoint: https://HOST/api/v1/endpoint/NAME/score.
        """
        try:
            parts = urlsplit(self.scoring_uri)
            if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
                return ""
        except ValueError:
            return ""
        origin = f"{parts.scheme}://{parts.netloc}"
        mark = f"/endpoint/{self.name}"
        before, found, after = parts.path.partition(mark)
        if found and (not after or after.startswith("/")):
            return f"{origin}{before}{mark}"
        return origin


@dataclass(frozen=True, slots=True)
class Probe:
    """Seconds, and counts; None: Azure's default is in force."""

    initial_delay_s: float | None
    period_s: float | None
    timeout_s: float | None
    success: int | None
    failure: int | None


@dataclass(frozen=True, slots=True)
class Deployment:
    """`model` and `environment` are resource ids, "" where there is none; `script` that of a scoring script."""

    name: str
    endpoint: str
    id: str
    state: str
    compute_type: str
    model: str
    environment: str
    script: str
    mount: str
    instance_type: str
    instances: int | None
    sku: str
    scale_type: str
    variables: Mapping[str, str] = field(repr=False)
    request_timeout_s: float | None
    concurrent: int | None
    liveness: Probe | None
    readiness: Probe | None
    egress: str
    operation: str
    created_at: float | None
    document: Mapping[str, Any] = field(repr=False)

    @property
    def under_way(self) -> bool:
        return self.state.lower() in UNDER_WAY

    @property
    def kubernetes(self) -> bool:
        return self.compute_type.lower() == "kubernetes"

    @property
    def model_name(self) -> str:
        """NAME:VERSION, or what is there instead."""
        found = asset_in(self.model, "models")
        return ":".join(found) if found else self.model

    @property
    def environment_name(self) -> str:
        found = asset_in(self.environment, "environments")
        return ":".join(found) if found else self.environment

    @property
    def no_code(self) -> bool:
        """Azure chooses the server by the model's type: neither a script nor an environment is given."""
        return not self.script and not self.environment


@dataclass(frozen=True, slots=True)
class ModelVersion:
    name: str
    version: str
    id: str
    type: str
    archived: bool
    created_at: float | None

    @property
    def triton(self) -> bool:
        return self.type.lower() == TRITON


@dataclass(frozen=True, slots=True)
class EnvironmentVersion:
    """`liveness` is the path that Azure asks whether the container lives, `scoring` path and port of requests."""

    name: str
    version: str
    id: str
    image: str
    build: str
    liveness: str
    scoring: str
    scoring_port: int | None
    archived: bool

    @property
    def triton(self) -> bool:
        """The container is a tritonserver: it is asked as one, or its image is named so."""
        return self.liveness.startswith("/v2/health") or "triton" in self.image.lower()


@dataclass(frozen=True, slots=True)
class Compute:
    name: str
    id: str
    kind: str
    state: str
    resource: str  # the cluster behind it
    namespace: str
    size: str
    errors: tuple[str, ...]


def endpoint_of(document: Mapping[str, Any]) -> Endpoint | None:
    """None for what has no name."""
    name = text(document, "name")
    if not name:
        return None
    properties = mapping(document, "properties")
    return Endpoint(
        name=name,
        id=text(document, "id"),
        state=text(properties, "provisioningState") or "unknown",
        auth=text(properties, "authMode"),
        traffic=numbers(properties, "traffic"),
        mirror=numbers(properties, "mirrorTraffic"),
        scoring_uri=text(properties, "scoringUri"),
        compute=name_in(text(properties, "compute"), "computes") or text(properties, "compute"),
        public=text(properties, "publicNetworkAccess"),
        operation=text(mapping(properties, "properties"), OPERATION_KEY),
        created_at=seconds(text(mapping(document, "systemData"), "createdAt")),
        document=document,
    )


def deployment_of(endpoint: str, document: Mapping[str, Any]) -> Deployment | None:
    name = text(document, "name")
    if not name:
        return None
    properties, sku = mapping(document, "properties"), mapping(document, "sku")
    requests, scale = mapping(properties, "requestSettings"), mapping(properties, "scaleSettings")
    code = mapping(properties, "codeConfiguration")
    capacity = number(sku, "capacity")
    return Deployment(
        name=name.rpartition("/")[2],
        endpoint=endpoint,
        id=text(document, "id"),
        state=text(properties, "provisioningState") or "unknown",
        compute_type=text(properties, "endpointComputeType"),
        model=_asset(properties.get("model")),
        environment=text(properties, "environmentId"),
        script=text(code, "scoringScript"),
        mount=text(properties, "modelMountPath"),
        instance_type=text(properties, "instanceType"),
        instances=capacity if capacity is not None else number(scale, "instanceCount"),
        sku=text(sku, "name"),
        scale_type=text(scale, "scaleType"),
        variables=texts(properties, "environmentVariables"),
        request_timeout_s=seconds_of(requests.get("requestTimeout")),
        concurrent=number(requests, "maxConcurrentRequestsPerInstance"),
        liveness=_probe(mapping(properties, "livenessProbe")),
        readiness=_probe(mapping(properties, "readinessProbe")),
        egress=text(properties, "egressPublicNetworkAccess"),
        operation=text(mapping(properties, "properties"), OPERATION_KEY),
        created_at=seconds(text(mapping(document, "systemData"), "createdAt")),
        document=document,
    )


def model_of(document: Mapping[str, Any]) -> ModelVersion | None:
    """Of a model version's document, named by its id: its `name` is the version alone."""
    identity = text(document, "id")
    found = asset_in(identity, "models")
    if found is None:
        return None
    properties = mapping(document, "properties")
    return ModelVersion(
        *found,
        id=identity,
        type=text(properties, "modelType"),
        archived=properties.get("isArchived") is True,
        created_at=seconds(text(mapping(document, "systemData"), "createdAt")),
    )


def environment_of(document: Mapping[str, Any]) -> EnvironmentVersion | None:
    identity = text(document, "id")
    found = asset_in(identity, "environments")
    if found is None:
        return None
    properties = mapping(document, "properties")
    inference = mapping(properties, "inferenceConfig")
    scoring = mapping(inference, "scoringRoute")
    return EnvironmentVersion(
        *found,
        id=identity,
        image=text(properties, "image"),
        build=text(mapping(properties, "build"), "contextUri"),
        liveness=text(mapping(inference, "livenessRoute"), "path"),
        scoring=text(scoring, "path"),
        scoring_port=number(scoring, "port"),
        archived=properties.get("isArchived") is True,
    )


def compute_of(document: Mapping[str, Any]) -> Compute | None:
    name = text(document, "name")
    if not name:
        return None
    properties = mapping(document, "properties")
    inner = mapping(properties, "properties")
    errors = properties.get("provisioningErrors")
    return Compute(
        name=name.rpartition("/")[2],
        id=text(document, "id"),
        kind=text(properties, "computeType") or "unknown",
        state=text(properties, "provisioningState") or "unknown",
        resource=text(properties, "resourceId").rpartition("/")[2],
        namespace=text(inner, "namespace"),
        size=text(inner, "vmSize") or text(inner, "agentVmSize"),
        errors=tuple(_error(each) for each in errors if isinstance(each, Mapping)) if isinstance(errors, list) else (),
    )


def _asset(value: object) -> str:
    """A model is a resource id; a reference object {"assetId": …} has been seen in newer API versions."""
    if isinstance(value, str):
        return value
    return text(value, "assetId") or text(value, "id") if isinstance(value, Mapping) else ""


def _probe(document: Mapping[str, Any]) -> Probe | None:
    if not document:
        return None
    return Probe(
        seconds_of(document.get("initialDelay")),
        seconds_of(document.get("period")),
        seconds_of(document.get("timeout")),
        number(document, "successThreshold"),
        number(document, "failureThreshold"),
    )


def _error(entry: Mapping[str, Any]) -> str:
    inner = mapping(entry, "error") or entry
    return ": ".join(part for part in (text(inner, "code"), text(inner, "message")) if part)
