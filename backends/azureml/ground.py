"""What a plan stands on: endpoint and deployment as Azure has them now, and how its operations are waited for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.azure.arm import Changed
from backends.azureml.access import endpoint_path
from backends.azureml.documents import Deployment, Endpoint
from backends.azureml.place import Place, deployment_path
from backends.azureml.services import Known
from backends.azureml.watch import Watch
from backends.azureml.workspaces import API, Workspace
from tritonctl.backend import Intent
from tritonctl.errors import OperationFailed
from tritonctl.ground import PlanGround

# Azure itself gives a deployment's operation up after 30 minutes (its header x-ms-async-operation-timeout: PT30M).
OPERATION_S = 2700.0
CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Calls:
    """Changes of an endpoint and its deployments, each waited for until its operation has ended."""

    place: Place
    workspace: Workspace
    endpoint: str
    watch: Watch | None

    @property
    def path(self) -> str:
        return endpoint_path(self.workspace, self.endpoint)

    def path_of(self, deployment: str) -> str:
        return deployment_path(self.workspace, self.endpoint, deployment)

    async def put(self, path: str, document: Mapping[str, Any], tried: str) -> str:
        return await self.ended(await self.place.arm.change("PUT", path, API, document, deadline_s=CALL_S), tried)

    async def patch(self, path: str, document: Mapping[str, Any], tried: str) -> str:
        return await self.ended(await self.place.arm.change("PATCH", path, API, document, deadline_s=CALL_S), tried)

    async def remove(self, path: str, tried: str, query: Mapping[str, str] | None = None) -> str:
        arm = self.place.arm
        return await self.ended(await arm.change("DELETE", path, API, query=query, deadline_s=CALL_S), tried)

    async def ended(self, changed: Changed, tried: str) -> str:
        """Wait until the operation has ended. Who stops waiting leaves it going on: its URI is on the resource, and the
        watch takes it up again. Raises ArmFailed with the operation's error in full."""
        self._hurry()
        try:
            if changed.operation is None:
                return "done"
            await self.place.arm.finish(changed.operation, tried)
            return "succeeded"
        finally:
            self._hurry()

    def _hurry(self) -> None:
        if self.watch is not None:
            self.watch.hurry(self.workspace, self.endpoint)


@dataclass(frozen=True, slots=True)
class Ground(PlanGround):
    """`deployment` is None for an endpoint without one."""

    place: Place
    known: Known
    endpoint: Endpoint
    deployment: Deployment | None
    watch: Watch | None

    @classmethod
    async def of(cls, place: Place, intent: Intent, known: Known, read_only: bool, watch: Watch | None) -> Ground:
        """Of what Azure says now, not of what was on the screen. Raises NotFound where it is gone."""
        endpoint = await place.endpoint(known.workspace, known.endpoint.name)
        deployment = None
        if known.deployment is not None:
            deployment = await place.deployment(known.workspace, endpoint.name, known.deployment.name)
        return cls(place, known, endpoint, deployment, watch, intent=intent, read_only=read_only)

    @property
    def workspace(self) -> Workspace:
        return self.known.workspace

    @property
    def endpoint_id(self) -> str:
        """As the endpoint is written in a command."""
        if self.deployment is None:
            return self.service_id
        return self.service_id.rpartition("/")[0]

    @property
    def calls(self) -> Calls:
        return Calls(self.place, self.workspace, self.endpoint.name, self.watch)

    @property
    def operation_s(self) -> float:
        """How long a step that Azure takes long for may take."""
        return OPERATION_S if self.intent.ready_s is None else self.intent.ready_s

    @property
    def typed(self) -> str:
        """What must be typed to take from the deployment, or to replace it: its name while requests go to it."""
        deployment = self.deployment.name if self.deployment is not None else ""
        return self.intent.service.name if self.endpoint.traffic.get(deployment) else ""

    def need_deployment(self) -> Deployment:
        if self.deployment is None:
            raise OperationFailed(
                f"{self.intent.action} of {self.service_id}",
                "this endpoint has no deployment",
                f"tritonctl deploy MODEL:VERSION {self.service_id}/NAME",
            )
        return self.deployment

    def need_quiet(self, *others: Deployment) -> None:
        """Azure refuses a change while another is under way; that is told before anything is asked. `others` are those
        that are changed with it."""
        mine = [self.deployment] if self.deployment is not None else []
        concerned: list[tuple[str, Deployment | Endpoint]] = [("deployment", each) for each in (*mine, *others)]
        concerned.append(("endpoint", self.endpoint))
        for what, each in concerned:
            if each.under_way:
                raise OperationFailed(
                    f"{self.intent.action} of {self.service_id}",
                    f"the {what} {each.name} is {each.state} already: Azure takes one change at a time",
                    f"wait until it is done: tritonctl wait {self.service_id} --for settled",
                )
