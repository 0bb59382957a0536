"""Azure ML workspaces as a backend: their deployments as services, with logs, descriptions, plans and keys."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from backends.azure import header
from backends.azure.arm import POLL_S, Arm
from backends.azure.clouds import bundle, cloud_of
from backends.azure.credentials import Logins
from backends.azure.fields import text
from backends.azureml import changes, delete, deploy, describe, logs, monitor, register, traffic
from backends.azureml.access import keys_of
from backends.azureml.fields import asset_in
from backends.azureml.ground import Ground
from backends.azureml.place import Place
from backends.azureml.services import Known
from backends.azureml.watch import Pace, Watch
from backends.azureml.workspaces import Scope, Workspace, find, scope_of
from tritonctl.backend import (
    Backend,
    Capability,
    Event,
    Intent,
    LogLine,
    Measured,
    Registration,
    Section,
    Serving,
    Told,
    Update,
)
from tritonctl.errors import NotFound, OperationFailed, UsageError
from tritonctl.inventory import Service
from tritonctl.plan import Plan
from tritonctl.server.address import Secret
from tritonctl.settings_backends import AzureMlSettings


class AzureMlBackend(Backend):
    """Opened on first use; nothing of Azure is asked before it is watched."""

    kind = "azureml"
    place_every_s = 30.0  # a dozen requests and more of the few that ARM gives everybody together
    capabilities = frozenset(
        {
            Capability.LOGS,
            Capability.EVENTS,
            Capability.RESTART,
            Capability.SCALE,
            Capability.DELETE,
            Capability.TRAFFIC,
            Capability.SETTINGS,
            Capability.KEYS,
            Capability.DEPLOY,
        }
    )

    def __init__(
        self,
        settings: AzureMlSettings,
        logins: Logins | None = None,
        *,
        pace: Pace | None = None,
        poll_s: float = POLL_S,
        log_every_s: float = logs.EVERY_S,
    ) -> None:
        """`poll_s` is between two questions about an operation, where Azure names no time."""
        super().__init__(settings.name, read_only=settings.read_only, optional=settings.optional)
        self._settings = settings
        self._logins = logins or Logins()
        self._pace = pace or Pace()
        self._poll_s = poll_s
        self._log_every_s = log_every_s
        self._place: Place | None = None
        self._watch: Watch | None = None
        self._in_view: frozenset[str] | None = None
        self._workspaces: tuple[Workspace, ...] = ()
        self._scope: Scope | None = None

    async def watch(self) -> AsyncIterator[Update]:
        place = self._opened()
        async for told in self.sign_in():
            yield told
        await self._find()
        watch = self._watch
        if watch is None or watch.workspaces != self._workspaces:
            watch = Watch(place, self.name, self._workspaces, self._prefix, place.arm.cloud.ca, self._pace)
        self._watch = watch  # the same after an outage: meanwhile what it knows is all that actions and logs go by
        watch.look_at(self._in_view)
        async for update in watch.updates():
            yield update

    async def sign_in(self) -> AsyncIterator[Told]:
        arm = self._opened().arm
        # A person is slower than any deadline: who must type a code is told so, and waited for.
        async for prompt in arm.login.sign_in(arm.cloud.arm_scope, arm.tenant):
            yield Told(f"sign in with {prompt.code} at {prompt.place}", str(prompt), warning=True)

    def waits_for(self) -> Told | None:
        return header.of_waiting(self._place.arm) if self._place is not None else None

    def look_at(self, service_ids: frozenset[str] | None) -> None:
        self._in_view = service_ids
        if self._watch is not None:
            self._watch.look_at(service_ids)

    def turned_away(self, service_id: str) -> None:
        if self._watch is not None:
            self._watch.turned_away(service_id)

    async def logs(
        self,
        service: Service,
        *,
        replica: str | None = None,
        tail: int = 1000,
        follow: bool = False,
        previous: bool = False,
    ) -> AsyncIterator[Sequence[LogLine]]:
        known = self._known(service)
        if known.deployment is None:
            raise OperationFailed(f"log of {service.id}", "the endpoint has no deployment", "deploy a model to it")
        if previous:
            raise OperationFailed(f"previous log of {service.id}", self.reason_against(Capability.PREVIOUS_LOGS))
        arm = self._opened().arm
        if follow:
            reader = logs.read(arm, known, logs.SERVER, tail=tail, follow=True, every_s=self._log_every_s)
        else:
            reader = logs.both(arm, known, tail=tail)
        async for batch in reader:
            yield batch

    async def events(self, service: Service) -> tuple[Event, ...]:
        return await describe.events(self._opened(), self._known(service))

    async def describe(self, service: Service) -> tuple[Section, ...]:
        return await describe.sections(self._opened(), self._known(service), service.id)

    async def measured(self, service: Service) -> Measured | None:
        known = self._known(service)
        if known.deployment is None:
            return None
        return await monitor.measured(self._opened().arm, known.endpoint, known.deployment)

    async def describe_place(self) -> tuple[Section, ...]:
        place = self._opened()
        await self._find()
        source = Section(self.name, (("named by", self._scope.source),)) if self._scope is not None else None
        found = [section for each in self._workspaces for section in await describe.of_place(place, each)]
        return (*((source,) if source is not None else ()), *found)

    async def evidence(self, service: Service) -> tuple[Section, ...]:
        return await describe.evidence(self._opened(), self._known(service))

    def names(self, service: Service) -> Mapping[str, str]:
        known = self._watch.known.get(service.id) if self._watch is not None else None
        if known is None:
            return {}
        workspace, deployment = known.workspace, known.deployment
        name, version = asset_in(deployment.model, "models") or ("", "") if deployment is not None else ("", "")
        return {
            "workspace": workspace.name,
            "group": workspace.resource_group,
            "subscription": workspace.subscription,
            "region": workspace.location or text(known.endpoint.document, "location"),
            "endpoint": known.endpoint.name,
            "deployment": deployment.name if deployment is not None else "",
            "asset": name,
            "asset_version": version,
        }

    async def plan(self, intent: Intent) -> Plan:
        known = self._known(intent.service)
        ground = await Ground.of(self._opened(), intent, known, self.read_only, self._watch)
        match intent.action:
            case Capability.TRAFFIC:
                return await traffic.plan(ground)
            case Capability.SCALE:
                return await changes.scale(ground)
            case Capability.RESTART:
                return await changes.restart(ground)
            case Capability.SETTINGS:
                return await changes.settings(ground)
            case Capability.KEYS:
                return await changes.regenerate(ground)
            case Capability.DELETE:
                return await delete.plan(ground)
        raise self._cannot(intent.action, intent.service)

    async def keys(self, service: Service) -> Mapping[str, Secret]:
        known = self._known(service)
        if known.endpoint.auth.lower() != "key":
            tokens = known.endpoint.auth.lower() in ("amltoken", "aadtoken")
            at = f"--name {known.endpoint.name} {known.workspace.az}"
            raise OperationFailed(
                f"keys of {service.id}",
                f"its endpoint has no keys: it authenticates by {known.endpoint.auth or 'other means'}",
                "a token is made for each login; tritonctl uses its own"
                if tokens
                else f"this version knows Key, AMLToken and AADToken; az ml online-endpoint show {at} tells more",
            )
        found = await keys_of(self._opened().arm, known.workspace, known.endpoint.name)
        return {"primary": found.primary, "secondary": found.secondary}

    async def plan_register(self, wanted: Registration) -> Plan:
        workspace = await self._workspace(wanted.within)
        service = f"{self.name}/{self._prefix(workspace)}".rstrip("/")
        return await register.plan(self._opened(), workspace, wanted, service, read_only=self.read_only)

    async def plan_deploy(self, wanted: Serving) -> Plan:
        within, _, name = wanted.name.rpartition("/")
        endpoint = within.rpartition("/")[2]
        workspace = await self._workspace(within.rpartition("/")[0])
        service = f"{self.name}/{self._prefix(workspace)}{endpoint}/{name}"
        return await deploy.plan(self._opened(), workspace, wanted, service, self._watch, read_only=self.read_only)

    async def _workspace(self, name: str) -> Workspace:
        """The one that is meant; without a name the only one. Raises UsageError with those that there are."""
        await self._find()
        found = [each for each in self._workspaces if name in ("", each.name, self._prefix(each).rstrip("/"))]
        if len(found) != 1:
            names = ", ".join(self._prefix(each).rstrip("/") or each.name for each in self._workspaces)
            raise UsageError(f"workspace {name!r} of {self.name}", "which one is not clear", f"there is {names}")
        return found[0]

    async def aclose(self) -> None:
        if self._place is not None:
            await self._place.arm.aclose()

    def reason_against(self, capability: Capability) -> str:
        match capability:
            case Capability.MODE:
                return (
                    "Azure starts the server of a no-code deployment, with options of its own; a custom container's "
                    "are in its environment: put --model-control-mode there and deploy that version"
                )
            case Capability.PREVIOUS_LOGS:
                return (
                    "Azure keeps the log of the running container only; Log Analytics has older ones where it is set up"
                )
            case Capability.STOP | Capability.START:
                return "a deployment cannot be stopped, only deleted: it is billed while it exists"
        return super().reason_against(capability)

    def instead_of(self, capability: Capability, service: Service) -> str:
        match capability:
            case Capability.MODE:
                return f"tritonctl deploy MODEL:VERSION {service.id} --environment NAME:VERSION, whose image starts so"
            case Capability.STOP:
                return f"tritonctl delete {service.id}; tritonctl deploy brings it back from its registered model"
        return super().instead_of(capability, service)

    def _opened(self) -> Place:
        if self._place is None:
            cloud = cloud_of(self._settings.cloud, self._settings.ca or bundle(os.environ))
            self._scope = scope_of(self._settings, os.environ, Path.cwd(), Path.home())
            login = self._logins.of(self._settings.credential, cloud, self._settings.tenant or self._scope.tenant)
            self._place = Place(Arm(cloud, login, poll_s=self._poll_s))
        return self._place

    async def _find(self) -> None:
        place = self._opened()
        assert self._scope is not None
        if not self._workspaces or self._scope.workspace is None:
            self._workspaces = await find(place.arm, self._scope)

    def _prefix(self, workspace: Workspace) -> str:
        """Nothing where the settings mean one workspace; else its name, so that names stay apart."""
        if self._scope is not None and self._scope.workspace is not None and len(self._workspaces) == 1:
            return ""
        alike = [each for each in self._workspaces if each.name == workspace.name]
        return f"{workspace.name}/" if len(alike) == 1 else f"{workspace.resource_group}.{workspace.name}/"

    def _known(self, service: Service) -> Known:
        known = self._watch.known.get(service.id) if self._watch is not None else None
        if known is None:
            raise NotFound(service.id, "the deployment is gone")
        return known
