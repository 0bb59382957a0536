"""A test request to an endpoint as its callers send it: no deployment is named, the traffic's shares choose one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tritonctl.errors import NotFound, OperationFailed, TritonctlError
from tritonctl.fleet import Fleet
from tritonctl.inventory import ReplicaStatus, ServiceStatus
from tritonctl.server.address import DEPLOYMENT
from tui.commands.session import Session


async def deployments(session: Session, fleet: Fleet) -> tuple[ServiceStatus, ...]:
    """Those of the endpoint that the command names; none where it names a service.

    Raises as `Session.named` does.
    """
    try:
        await session.named(fleet)
    except NotFound:
        below = fleet.below(session.arguments.service)
        if not below:
            raise
        return below
    return ()


async def one_of(session: Session, fleet: Fleet, below: Sequence[ServiceStatus]) -> ServiceStatus:
    """One that has the model, to learn from what it takes: requests go to all of them."""
    found = []
    for each in below:
        looked = await session.find(fleet, each.id)
        answers = any(on.looked and on.error is None and on.replica.address is not None for on in looked.replicas)
        named = session.arguments.model
        if answers and (not named or any(model.name == named and model.ready_on for model in looked.models)):
            return looked
        found.append((not answers, looked))
    return min(found, key=lambda pair: pair[0])[1]


def through_its_shares(target: ReplicaStatus) -> ReplicaStatus:
    """Without the header that chooses a deployment."""
    address = target.replica.address
    assert address is not None
    headers = {name: value for name, value in address.headers.items() if name.lower() != DEPLOYMENT}
    return replace(target, replica=replace(target.replica, address=replace(address, headers=headers)))


def nobody_answered(endpoint: str, below: Sequence[ServiceStatus], error: TritonctlError) -> TritonctlError:
    """Azure's front answers 404 where no deployment gets requests; that it is no Triton's port is then beside the
    point. Any other error is itself."""
    if not error.answer.startswith("404"):
        return error
    shares = ", ".join(f"{each.id.rpartition('/')[2]} gets {each.service.platform.reason}" for each in below)
    return OperationFailed(
        f"infer {endpoint}",
        f"404: no deployment answered for the endpoint: {shares}",
        "tritonctl traffic shares it, --deployment D asks one past its shares",
    )
