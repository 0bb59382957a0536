"""Which service a name means: its address, a unique end of one, or one of its replicas."""

from __future__ import annotations

from tritonctl.errors import NotFound, UsageError
from tritonctl.inventory import ServiceStatus, Snapshot


def resolve(snapshot: Snapshot, name: str) -> ServiceStatus:
    """The service that an address or a unique end of one means, else the one with a replica of that name.

    Raises NotFound, or UsageError with the candidates when several match.
    """
    if name in snapshot.by_id:
        return snapshot.by_id[name]
    found = [each for each in snapshot.services if each.id.endswith("/" + name)]
    found = found or [each for each in snapshot.services if _has_replica(each, name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"service {name!r}",
            "this name matches " + ", ".join(each.id for each in found),
            "write one of these in full",
        )
    known = ", ".join(each.id for each in snapshot.services[:10]) or "none is known"
    raise NotFound(f"service {name!r}", "there is no such service", f"services: {known}")


def below(snapshot: Snapshot, name: str) -> tuple[ServiceStatus, ...]:
    """The services that are parts of the one thing that `name` means, as an endpoint's deployments are.

    Raises UsageError where it could mean several.
    """
    found = [each for each in snapshot.services if _is_end_of(name, each.service.part_of)]
    parents = dict.fromkeys(each.service.part_of for each in found)
    if len(parents) > 1:
        raise UsageError(f"service {name!r}", "this name matches " + ", ".join(parents), "write one in full")
    return tuple(found)


def _has_replica(status: ServiceStatus, name: str) -> bool:
    """As the place calls it: a container of a compose service, a pod; `name:port` is one server of several."""
    wanted = name.removeprefix(status.service.backend + "/")
    return any(wanted in (each.name, each.name.partition(":")[0]) for each in status.service.replicas)


def _is_end_of(name: str, address: str) -> bool:
    return bool(address) and (address == name or address.endswith("/" + name))
