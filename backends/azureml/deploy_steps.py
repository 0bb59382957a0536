"""The calls of a deployment's steps, from the endpoint to its traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from backends.azure.fields import text
from backends.azureml import upload
from backends.azureml.access import access_to
from backends.azureml.documents import Deployment, Endpoint, ModelVersion
from backends.azureml.edit import applied, with_traffic
from backends.azureml.ground import CALL_S, Calls
from backends.azureml.place import Place, version_path
from backends.azureml.services import CHOOSE, Protocol
from backends.azureml.traffic import all_of, need_unchanged
from backends.azureml.upload import Sending
from backends.azureml.watch import Watch
from backends.azureml.workspaces import API, Workspace
from tritonctl.backend import Serving
from tritonctl.errors import NotFound, OperationFailed, TritonctlError, Unreachable
from tritonctl.server.address import Secret, ServerAddress

INSTANCE = "Standard_NC4as_T4_v3"  # the smallest with a T4; what Microsoft's own Triton examples take
CONCURRENT = 8  # with Azure's default of 1 its front door answers 429 before Triton sees two requests at once


@dataclass(frozen=True, slots=True)
class Now:
    """What there is already. `environment` is the one that is to be set, "" where none was named; `speaks` what the
    container will speak: ASKED where that could not be read."""

    location: str
    model: ModelVersion
    endpoint: Endpoint | None
    deployment: Deployment | None
    siblings: tuple[str, ...]
    environment: str
    speaks: Protocol

    def on_kubernetes(self, wanted: Serving) -> bool:
        return self.endpoint.kubernetes if self.endpoint is not None else wanted.compute is not None

    @property
    def share(self) -> int:
        """Of the endpoint's traffic that the deployment has."""
        if self.endpoint is None or self.deployment is None:
            return 0
        return self.endpoint.traffic.get(self.deployment.name, 0)


class Work:
    """What one made, the next needs."""

    def __init__(
        self,
        place: Place,
        workspace: Workspace,
        wanted: Serving,
        endpoint: str,
        deployment: str,
        now: Now,
        watch: Watch | None,
    ) -> None:
        self._place = place
        self._workspace = workspace
        self._wanted = wanted
        self._endpoint = endpoint
        self._deployment = deployment
        self._now = now
        self._calls = Calls(place, workspace, endpoint, watch)
        self._code = ""

    def make_endpoint(self, auth: str) -> Callable[[], Awaitable[str]]:
        async def run() -> str:
            await _need_absent(self._endpoint, self._place.endpoint(self._workspace, self._endpoint))
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
            return await self._calls.put(self._calls.path, body, "create the endpoint")

        return run

    def send_code(self, sending: Sending) -> Callable[[], Awaitable[str]]:
        async def run() -> str:
            store, folder = await sending.run()
            # Named after its contents: the same code is registered once.
            path = version_path(self._workspace, "codes", folder.split("/")[1], "1")
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
        """On what is there by then; one that is to be made must not be there."""
        found = self._place.deployment(self._workspace, self._endpoint, self._deployment)
        if self._now.deployment is None:
            await _need_absent(f"{self._endpoint}/{self._deployment}", found)
            body = self._new()
        else:
            body = self._changed((await found).document)
        return await self._calls.put(self._calls.path_of(self._deployment), body, f"deploy {self._deployment}")

    def _new(self) -> dict[str, Any]:
        wanted, kubernetes = self._wanted, self._now.on_kubernetes(self._wanted)
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
        # Azure gives a deployment requests or copies of them, not both.
        mirror = {name: share for name, share in fresh.mirror.items() if name != self._deployment}
        document = with_traffic(fresh.document, shares, mirror)
        return await self._calls.put(self._calls.path, document, "traffic")

    def wait_ready(self, within_s: float) -> Callable[[], Awaitable[str]]:
        async def run() -> str:
            return await self._wait_ready(within_s)

        return run

    async def _wait_ready(self, within_s: float) -> str:
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
            end = asyncio.get_running_loop().time() + within_s
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


async def _need_absent(what: str, found: Awaitable[object]) -> None:
    """A PUT would overwrite what somebody else has made since the plan."""
    with suppress(NotFound):
        await found
        raise OperationFailed(f"create {what}", "somebody has made it since the plan was made", "make the plan again")
