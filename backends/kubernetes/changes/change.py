"""Changing an object that others change too: read, compared with what the plan saw, patched; again after a 409."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from backends.kubernetes.changes.kubectl import Target
from backends.kubernetes.client.api import Api, Patch
from backends.kubernetes.client.objects import mapping, text
from backends.kubernetes.client.paths import resource
from tritonctl.errors import OperationFailed

_CONFLICT = 409
_PATCH_S = 30.0
_TRIES = 4  # its controllers write it, too

MakePatch = Callable[[Mapping[str, Any]], dict[str, Any] | None]
"""The patch for the object as it is now; None: there is nothing to do. Raises TritonctlError where it is not as it was
when the plan was made."""


def path_of(target: Target, subresource: str = "") -> str:
    return resource(target.kind.api, target.kind.plural, target.namespace, target.name, subresource)


async def read(api: Api, target: Target) -> dict[str, Any]:
    return await api.get(path_of(target))


async def change(api: Api, target: Target, make: MakePatch, kind: Patch = Patch.STRATEGIC) -> dict[str, Any]:
    """The object afterwards. Nothing that somebody else writes between the reading and the patch is lost: the patch
    names the version it is of, and the API server refuses it with 409 when there is a newer one."""
    for tries_left in reversed(range(_TRIES)):
        found = await read(api, target)
        patch = make(found)
        if patch is None:
            return found
        version = text(mapping(found, "metadata"), "resourceVersion")
        body = {**patch, "metadata": {**mapping(patch, "metadata"), "resourceVersion": version}}
        try:
            return await api.patch(path_of(target), body, kind, deadline_s=_PATCH_S)
        except OperationFailed as error:
            if error.status != _CONFLICT or not tries_left:
                raise
    raise AssertionError("unreachable")


def changed_meanwhile(target: Target, what: str) -> OperationFailed:
    return OperationFailed(
        f"change {target}", f"{what} was changed by somebody else since the plan was made", "make the plan anew"
    )
