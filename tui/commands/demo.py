"""The demo: the dashboard over an embedded real Triton, or, without a terminal, its tables."""

from __future__ import annotations

import sys

from tritonctl.fleet import Fleet
from tui.commands import dashboard, documents, text
from tui.commands.read import models_table, services_table
from tui.commands.session import Session, say

_START_S = 60.0


async def demo(session: Session) -> int:
    backend = session.places.demo(session.settings.read_only)
    if sys.stdin.isatty() and sys.stdout.isatty():
        return await dashboard.run(session, [backend])
    return await _print_tables(session, Fleet([backend], read_only=session.settings.read_only, interval_s=1.0))


async def _print_tables(session: Session, fleet: Fleet) -> int:
    import asyncio

    async with fleet:
        snapshot = fleet.snapshot
        async with asyncio.timeout(_START_S):
            while not any(each.counts.ready for each in snapshot.services):
                for backend in snapshot.backends:
                    if backend.detail:
                        say(f"{backend.detail}\n  → {backend.advice}")
                        return 1
                snapshot = await fleet.changed(snapshot)
        service = snapshot.services[0]
        fleet.look_at([service.id], detailed=service.id)
        async with asyncio.timeout(session.read_timeout_s):
            while not any(model.on[0].model.success for model in fleet.resolve(service.id).models):
                snapshot = await fleet.changed(snapshot)
            await fleet.log_read(service.id)
        service = fleet.resolve(service.id)
        if session.json:
            print(documents.dump([documents.service(service)]))
            return 0
        colour = text.use_colour(session.arguments.no_color)
        print(services_table([service], colour=colour))
        print()
        print(models_table(service, {}, colour=colour))
    return 0
