"""What Azure is asked of one or more workspaces: lists, single documents, operations; each answer as a value."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from backends.azure.arm import Arm, path_of
from backends.azure.operations import Operation, Progress
from backends.azureml.access import endpoint_path
from backends.azureml.documents import (
    TRITON,
    Compute,
    Deployment,
    Endpoint,
    EnvironmentVersion,
    ModelVersion,
    compute_of,
    deployment_of,
    endpoint_of,
    environment_of,
    model_of,
)
from backends.azureml.fields import asset_in
from backends.azureml.registered import Registered
from backends.azureml.services import Protocol
from backends.azureml.workspaces import API, Workspace
from tritonctl.errors import Forbidden, NotFound, TritonctlError

# After a refusal, or where it is not there: somebody may have granted the right, and Azure errs for a while after a
# change. Each costs a request of ARM's few.
AGAIN_S = 300.0


def deployment_path(workspace: Workspace, endpoint: str, deployment: str) -> str:
    return endpoint_path(workspace, endpoint) + path_of("deployments", deployment)


def version_path(workspace: Workspace, kind: str, name: str, version: str) -> str:
    """`kind` is models or environments."""
    return workspace.path + path_of(kind, name, "versions", version)


class Place:
    """Keeps what never changes: the versions of models and environments. That one is not there or may not be read is
    kept for some minutes only."""

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        self.models = Registered(arm, "models", model_of)
        self.environments = Registered(arm, "environments", environment_of)
        self._models: dict[tuple[Workspace, str], ModelVersion] = {}
        self._environments: dict[tuple[Workspace, str], EnvironmentVersion] = {}
        self._refused: dict[tuple[Workspace, str], float] = {}  # monotonic

    async def endpoint_pages(self, workspace: Workspace) -> AsyncIterator[list[Endpoint]]:
        async for page in self.arm.pages(f"{workspace.path}/onlineEndpoints", API):
            yield [each for document in page if (each := endpoint_of(document)) is not None]

    async def endpoints(self, workspace: Workspace) -> list[Endpoint]:
        return [each async for page in self.endpoint_pages(workspace) for each in page]

    async def endpoint(self, workspace: Workspace, name: str) -> Endpoint:
        found = endpoint_of(_object(await self.arm.get(endpoint_path(workspace, name), API)))
        if found is None:
            raise NotFound(f"endpoint {name}", "Azure sent a document without a name")
        return found

    async def deployments(self, workspace: Workspace, endpoint: str) -> list[Deployment]:
        listed = await self.arm.collect(f"{endpoint_path(workspace, endpoint)}/deployments", API)
        return [each for document in listed if (each := deployment_of(endpoint, document)) is not None]

    async def deployment(self, workspace: Workspace, endpoint: str, name: str) -> Deployment:
        document = _object(await self.arm.get(deployment_path(workspace, endpoint, name), API))
        found = deployment_of(endpoint, document)
        if found is None:
            raise NotFound(f"deployment {name}", "Azure sent a document without a name")
        return found

    async def progress(self, uri: str) -> Progress | None:
        """Of an operation that a resource names; None where Azure has forgotten it, or nothing is to be had."""
        if not uri:
            return None
        try:
            return await self.arm.progress(Operation(uri))
        except TritonctlError:
            return None

    async def protocol(self, workspace: Workspace, deployment: Deployment) -> Protocol:
        """What its container speaks. What cannot be read is tried as Triton: the server itself then tells."""
        if deployment.script:
            return Protocol.SCORING
        if deployment.no_code:
            model = await self.model(workspace, deployment.model)
            return Protocol.TRITON if model is None or model.type.lower() in ("", TRITON) else Protocol.SCORING
        environment = await self.environment(workspace, deployment.environment)
        return Protocol.TRITON if environment is None or environment.triton else Protocol.OTHER

    async def model(self, workspace: Workspace, reference: str) -> ModelVersion | None:
        key = (workspace, reference)
        if key not in self._models:
            found = model_of(await self._asset(workspace, "models", reference) or {})
            if found is None:
                return None
            self._models[key] = found
        return self._models[key]

    async def environment(self, workspace: Workspace, reference: str) -> EnvironmentVersion | None:
        key = (workspace, reference)
        if key not in self._environments:
            found = environment_of(await self._asset(workspace, "environments", reference) or {})
            if found is None:
                return None
            self._environments[key] = found
        return self._environments[key]

    def was_refused(self, workspace: Workspace, deployment: Deployment) -> bool:
        """Whether what tells its protocol could not be read, and may be by now: the protocol is a guess."""
        references = (deployment.model, deployment.environment)
        return any((workspace, reference) in self._refused for reference in references)

    async def _asset(self, workspace: Workspace, kind: str, reference: str) -> Mapping[str, Any] | None:
        """None for one of a registry (azureml://registries/…), which this workspace does not tell about, and for what
        is gone or may not be read."""
        found = asset_in(reference, kind)
        key = (workspace, reference)
        if found is None or "/registries/" in reference:
            return None
        if key in self._refused and time.monotonic() < self._refused[key] + AGAIN_S:
            return None
        try:
            document = await self.arm.get(version_path(workspace, kind, *found), API)
        except (NotFound, Forbidden):
            self._refused[key] = time.monotonic()
            return None
        self._refused.pop(key, None)
        return document if isinstance(document, Mapping) else None

    async def computes(self, workspace: Workspace) -> list[Compute]:
        listed = await self.arm.collect(f"{workspace.path}/computes", API)
        return [each for document in listed if (each := compute_of(document)) is not None]


def _object(document: object) -> Mapping[str, Any]:
    return document if isinstance(document, Mapping) else {}
