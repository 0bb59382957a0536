"""An endpoint as the watch keeps it, with all that was asked about it, and whether somebody looks at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from backends.azure.operations import Progress
from backends.azureml.access import Access
from backends.azureml.documents import Deployment, Endpoint
from backends.azureml.services import Known, Protocol
from backends.azureml.workspaces import Workspace
from tritonctl.inventory import Service

_DOUBTED_S = 30.0

Key = tuple[Workspace, str]
"""A workspace and the name of an endpoint in it."""


@dataclass(slots=True)
class Entry:
    """An endpoint with its deployments and all that was asked about them."""

    workspace: Workspace
    endpoint: Endpoint
    deployments: tuple[Deployment, ...] = ()
    trouble: str = ""  # why its deployments could not be listed
    unlisted: str = ""  # why its workspace did not tell its endpoints
    failures: int = 0  # of reading its deployments, in a row
    known_at: float = 0.0  # seconds since the epoch; when all of it was told last, 0: never
    read_at: float = -1e9  # monotonic
    due_early: bool = False
    access: Access | None = None
    forgotten: int = 0  # how often its access was
    doubted_at: float = -1e9  # monotonic
    progress: dict[str, Progress | None] = field(default_factory=dict)  # by operation
    built: list[tuple[Known, Service]] | None = None  # None: something of it is new
    protocols: dict[tuple[str, str, str], Protocol] = field(default_factory=dict)
    guessed: dict[tuple[str, str, str], float] = field(default_factory=dict)  # monotonic: when they are asked again

    @property
    def under_way(self) -> bool:
        return self.endpoint.under_way or any(each.under_way for each in self.deployments)

    def update(self, endpoint: Endpoint) -> None:
        """What a list tells of it now; where that differs, its deployments are read again at once."""
        if self.endpoint == endpoint:
            return
        if (self.endpoint.auth, self.endpoint.scoring_uri) != (endpoint.auth, endpoint.scoring_uri):
            self.forget_access()
        self.endpoint, self.due_early, self.built = endpoint, True, None

    def forget_access(self) -> None:
        """Its key is another one now; one that is being asked for may be the old one still."""
        self.access = self.built = None
        self.forgotten += 1

    def doubt_access(self) -> bool:
        """It was refused: asked for again, but not for each refusal; whether it is."""
        now = time.monotonic()
        if self.access is None or self.access.header is None or now < self.doubted_at + _DOUBTED_S:
            return False
        self.doubted_at = now
        self.access = replace(self.access, until=0.0)
        return True

    def protocol(self, deployment: Deployment) -> Protocol:
        return self.protocols.get(nature_of(deployment), Protocol.ASKED)

    def wants_protocol(self, deployment: Deployment) -> bool:
        """It was not asked for, or could not be told, a while ago."""
        nature = nature_of(deployment)
        return nature not in self.protocols or time.monotonic() >= self.guessed.get(nature, float("inf"))

    def known(self) -> list[Known]:
        alone = Known(
            self.workspace,
            self.endpoint,
            None,
            endpoint_progress=self.progress.get(self.endpoint.operation),
            trouble=self.trouble or self.unlisted,
            known_at=self.known_at,
        )
        if not self.deployments:
            return [alone]
        return [
            replace(
                alone,
                deployment=each,
                protocol=self.protocol(each),
                access=self.access,
                progress=self.progress.get(each.operation),
            )
            for each in self.deployments
        ]


class View:
    """What is on screen. `prefix` is what stands before an endpoint's name in a service's."""

    def __init__(self, backend: str, prefix: Callable[[Workspace], str]) -> None:
        self._backend = backend
        self._prefix = prefix
        self.ids: frozenset[str] | None = None  # None: all

    def shows(self, entry: Entry) -> bool:
        if self.ids is None:
            return True
        start = f"{self._backend}/{self._prefix(entry.workspace)}{entry.endpoint.name}"
        if not entry.deployments:
            return start in self.ids
        return any(f"{start}/{each.name}" in self.ids for each in entry.deployments)


def nature_of(deployment: Deployment) -> tuple[str, str, str]:
    return (deployment.model, deployment.environment, deployment.script)
