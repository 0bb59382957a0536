"""What is registered in a workspace with all its versions, asked only for what is another than before."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from backends.azure.arm import Arm, path_of
from backends.azureml.workspaces import API, Workspace
from tritonctl.errors import NotFound, TritonctlError

# A container tells of a new version, and not of one that was archived. Each costs a request of ARM's few.
_KEEP_S = 120.0
_ACTIVE = {"listViewType": "ActiveOnly"}
Version = TypeVar("Version")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Version]):
    container: Mapping[str, Any]
    until: float  # monotonic
    versions: tuple[Version, ...]


class Registered(Generic[Version]):
    """`kind` is models or environments, `read` makes a version of Azure's document, or None of what is none."""

    def __init__(self, arm: Arm, kind: str, read: Callable[[Mapping[str, Any]], Version | None]) -> None:
        self._arm = arm
        self._kind = kind
        self._read = read
        self._kept: dict[tuple[Workspace, str], _Kept[Version]] = {}

    async def of(self, workspace: Workspace) -> dict[str, tuple[Version, ...]]:
        """By name. Who gives up half-way finds what was asked for by then the next time."""
        listed = await self._arm.collect(f"{workspace.path}{path_of(self._kind)}", API, _ACTIVE)
        containers = {str(each["name"]): each for each in listed if isinstance(each.get("name"), str)}
        gone = [key for key in self._kept if key[0] == workspace and key[1] not in containers]
        for key in gone:
            del self._kept[key]
        async with asyncio.TaskGroup() as asking:
            asked = {name: asking.create_task(self._one(workspace, name, containers[name])) for name in containers}
        found: dict[str, tuple[Version, ...]] = {}
        for name, each in sorted(asked.items()):
            versions = each.result()
            if isinstance(versions, TritonctlError):
                raise versions
            found[name] = versions
        return found

    async def _one(
        self, workspace: Workspace, name: str, container: Mapping[str, Any]
    ) -> tuple[Version, ...] | TritonctlError:
        kept = self._kept.get((workspace, name))
        if kept is not None and kept.container == container and time.monotonic() < kept.until:
            return kept.versions
        path = f"{workspace.path}{path_of(self._kind, name, 'versions')}"
        try:
            listed = await self._arm.collect(path, API, _ACTIVE)
        except NotFound:  # gone meanwhile
            return ()
        except TritonctlError as error:
            return error
        versions = tuple(found for each in listed if (found := self._read(each)) is not None)
        until = time.monotonic() + _KEEP_S * random.uniform(0.5, 1.0)  # not all at one time again
        self._kept[workspace, name] = _Kept(container, until, versions)
        return versions
