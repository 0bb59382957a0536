"""The demo: the dashboard over an embedded real Triton, or, without a terminal, its tables."""

from __future__ import annotations

import asyncio
import sys

from tritonctl.errors import OperationFailed, Unreachable
from tritonctl.fleet import Fleet
from tritonctl.inventory import Level, ServiceStatus
from tui.commands import dashboard, documents
from tui.commands.models import models_table
from tui.commands.services import services_table
from tui.commands.session import Session
from tui.commands.streams import tell

_START_S = 60.0


async def demo(session: Session) -> int:
    backend = session.places.demo(session.settings.read_only)
    if sys.stdin.isatty() and sys.stdout.isatty():
        return await dashboard.run(session, [backend])
    return await _print_tables(session, Fleet([backend], read_only=session.settings.read_only, interval_s=1.0))


async def _print_tables(session: Session, fleet: Fleet) -> int:
    async with fleet:
        service = await _serving(session, fleet)
    if session.json:
        tell(documents.dump([documents.service(service)]))
        return 0
    tell(services_table([service], session.style))
    tell("\n" + models_table(service, {}, session.style))
    return 0


async def _serving(session: Session, fleet: Fleet) -> ServiceStatus:
    """The demo once its traffic is counted and its log is read. Raises what keeps it from coming up."""
    start_s = session.settings.timeout_s or _START_S
    snapshot = fleet.snapshot
    try:
        async with asyncio.timeout(start_s):
            while not any(each.counts.ready for each in snapshot.services):
                for backend in snapshot.backends:
                    if backend.detail:
                        raise OperationFailed("start the demo", backend.detail, backend.advice)
                for each in snapshot.services:
                    if each.service.platform.level is Level.FAILED:
                        raise OperationFailed(f"start {each.id}", each.note)
                snapshot = await fleet.changed(snapshot)
            service_id = snapshot.services[0].id
            fleet.look_at([service_id], detailed=service_id)
            while not any(model.on[0].model.success for model in fleet.resolve(service_id).models):
                snapshot = await fleet.changed(snapshot)
            await fleet.log_read(service_id)
    except TimeoutError:
        raise Unreachable("start the demo", f"it does not serve after {start_s:g} s", kind="timeout") from None
    return fleet.resolve(service_id)
