"""The commands over what a service serves: models, model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError
from tritonctl.fleet import Fleet
from tritonctl.inventory import ServiceStatus
from tritonctl.server.control import need_triton
from tritonctl.status import short_reason
from tui import figures
from tui.commands import documents, text
from tui.commands.session import Session, client_of, first_reachable, reachable_or_raise
from tui.commands.streams import say, tell

_PARALLEL = 8


async def models(session: Session) -> int:
    async with session.fleet() as fleet:
        found = await _look(session, fleet)
        platforms = await _platforms(session, found)
    if session.json:
        tell(documents.dump([documents.model(each, platforms.get(each.name)) for each in found.models]))
    else:
        tell(models_table(found, platforms, session.style))
    return 0


async def _look(session: Session, fleet: Fleet) -> ServiceStatus:
    """The service with its models. Raises what keeps them from being known."""
    found = await session.find(fleet)
    need_triton(found, f"{session.arguments.command} {found.id}")
    reachable_or_raise(found)
    if not any(each.models_known for each in found.replicas):
        async with client_of(first_reachable(found), session.read_timeout_s) as client:
            await client.index()  # raises the server's own words: the index is restricted, or there is none
    return await with_statistics(session, fleet, found)


async def with_statistics(session: Session, fleet: Fleet, status: ServiceStatus) -> ServiceStatus:
    """The same service after a look that also read the statistics and, where the index is silent, the log."""
    before = status
    fleet.look_at([status.id], detailed=status.id)
    snapshot = fleet.snapshot
    try:
        async with asyncio.timeout(session.read_timeout_s):
            while snapshot.by_id.get(status.id, before).seen_at == before.seen_at:
                if any(each.error is not None for each in snapshot.by_id.get(status.id, before).replicas):
                    break
                snapshot = await fleet.changed(snapshot)
            await fleet.log_read(status.id)
    except TimeoutError:
        say(f"{status.id}: the statistics did not come within {session.read_timeout_s:g} s")
    return fleet.resolve(status.id)


def models_table(status: ServiceStatus, platforms: Mapping[str, str], style: text.Style) -> str:
    rows = []
    for each in sorted(status.models, key=lambda model: (model.level, model.name)):
        worst = each.worst
        stats = documents.model(each, None)["stats"]
        rows.append(
            (
                style.symbol(each.level),
                each.name,
                each.version or "–",
                str(worst.state) + (" (overridden)" if worst.overridden else ""),
                platforms.get(each.name, "–"),
                f"{each.ready_on}/{each.replicas}",
                figures.number(stats["success"]),
                figures.number(stats["failure"]),
                figures.duration_us(stats["avg_request_us"]),
                figures.duration_us(stats["avg_queue_us"]),
                short_reason(worst.reason) if worst.reason else "",
            )
        )
    headings = ("", "MODEL", "VER", "STATE", "BACKEND", "ON", "SUCCESS", "FAIL", "LATENCY", "QUEUE", "REASON")
    return text.table(headings, rows, right=(6, 7, 8, 9))


async def _platforms(session: Session, status: ServiceStatus) -> dict[str, str]:
    """What each loaded model runs on, as its own metadata says."""
    names = sorted({each.name for each in status.models if each.ready_on})
    limit = asyncio.Semaphore(_PARALLEL)
    found: dict[str, str] = {}
    async with client_of(first_reachable(status), session.read_timeout_s) as client:

        async def ask(name: str) -> None:
            async with limit:
                try:
                    platform = (await client.model_metadata(name)).get("platform")
                except TritonctlError:
                    return  # it went away between two calls, or only another replica serves it
                if platform:
                    found[name] = str(platform)

        await asyncio.gather(*(ask(name) for name in names))
    return found


async def model(session: Session) -> int:
    name: str = session.arguments.model
    async with session.fleet() as fleet:
        found = await _look(session, fleet)
        versions = [each for each in found.models if each.name == name]
        if not versions:
            known = ", ".join(sorted({each.name for each in found.models})) or "none"
            raise NotFound(f"model {name!r} of {found.id}", "there is no such model", f"models: {known}")
        metadata = config = None
        if any(each.ready_on for each in versions):
            async with client_of(first_reachable(found, name), session.read_timeout_s) as client:
                try:
                    metadata, config = await asyncio.gather(client.model_metadata(name), client.config(name))
                except (NotFound, Forbidden, OperationFailed) as error:
                    say(f"schema and configuration: {error.answer}")
    platform = str((metadata or {}).get("platform") or "") or None
    if session.json:
        document = {
            "name": name,
            "versions": [documents.model(each, platform) for each in versions],
            "metadata": metadata,
            "config": config,
        }
        tell(documents.dump(document))
        return 0
    only = replace(found, models=tuple(versions))
    tell(models_table(only, {name: platform} if platform else {}, session.style))
    for each in versions:
        if each.worst.reason:
            tell(f"\nversion {text.clean(each.version or '–')}: {text.block(each.worst.reason)}")
    if metadata is None or config is None:
        if not any(each.ready_on for each in versions):
            say("it is not loaded: schema and configuration are known only of loaded models")
        return 0
    from tritonctl.server.modelconfig import as_text, schema

    shape = schema(metadata, config)
    rows = [("input", each.name, each.datatype, str(list(each.shape))) for each in shape.inputs]
    rows += [("output", each.name, each.datatype, str(list(each.shape))) for each in shape.outputs]
    tell("\n" + text.table(("WAY", "TENSOR", "TYPE", "SHAPE"), rows))
    tell("\n" + text.block(as_text(config)))
    return 0
