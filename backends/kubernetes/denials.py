"""What cannot be done to a service: a right lacks, named by verb and resource, or its kind has no such thing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from backends.kubernetes.client.kinds import DAEMON_SETS, DEPLOYMENTS, JOBS, PODS, STATEFUL_SETS
from backends.kubernetes.client.rights import Right, Rights
from backends.kubernetes.services import Group
from tritonctl.backend import Capability

_SCALED = (DEPLOYMENTS, STATEFUL_SETS)
_ROLLED = (DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS)


async def denials(rights: Rights, group: Group) -> tuple[tuple[str, str], ...]:
    """Capability and reason of each that is denied."""
    wanted = needed(group)
    lacking = await asyncio.gather(*(rights.lacking(each) for each in wanted.values()))
    found = {capability: _words(each) for capability, each in zip(wanted, lacking, strict=True) if each}
    return tuple(sorted((str(capability), why) for capability, why in {**found, **unable(group)}.items()))


def needed(group: Group) -> dict[Capability, tuple[Right, ...]]:
    """The rights that each action takes, as far as they are known before its plan is made."""
    namespace, kind = group.key.namespace, group.kind
    found: dict[Capability, tuple[Right, ...]] = {
        Capability.LOGS: (Right("get", "pods", subresource="log", namespace=namespace),),
        Capability.PREVIOUS_LOGS: (Right("get", "pods", subresource="log", namespace=namespace),),
        Capability.EVENTS: (Right("list", "events", namespace=namespace),),
    }
    if kind is None:
        return found
    patch = Right("patch", kind.plural, kind.group, namespace=namespace)
    if kind in _ROLLED:
        found |= {Capability.MODE: (patch,), Capability.RESTART: (patch,)}
    if kind in _SCALED:
        scale = Right("patch", kind.plural, kind.group, "scale", namespace)
        found[Capability.SCALE] = (scale,)
    found[Capability.DELETE] = (Right("delete", kind.plural, kind.group, namespace=namespace),)
    return found


def unable(group: Group) -> dict[Capability, str]:
    """What the kind of thing does not have."""
    kind = group.kind
    if kind is None:
        words = f"a {group.key.kind} made its pods, and tritonctl does not know how to change one"
        return dict.fromkeys((Capability.MODE, Capability.RESTART, Capability.SCALE, Capability.DELETE), words)
    found: dict[Capability, str] = {}
    if not group.found.servers:
        found[Capability.MODE] = "it speaks another protocol than Triton's, which has no control mode"
    if kind is PODS:
        alone = "the pod stands alone: no controller makes another one in its place"
        found |= dict.fromkeys((Capability.MODE, Capability.RESTART, Capability.SCALE), alone)
    elif kind is JOBS:
        fixed = "a Job's pods cannot be changed once it is made: delete it and create it anew"
        found |= dict.fromkeys((Capability.MODE, Capability.RESTART, Capability.SCALE), fixed)
    elif kind is DAEMON_SETS:
        found[Capability.SCALE] = "a DaemonSet runs one pod on each node: its node selector decides"
    return found


def _words(lacking: Iterable[Right]) -> str:
    rights = tuple(lacking)
    return f"you may not {' nor '.join(map(str, rights))}: {rights[0].advice}"
