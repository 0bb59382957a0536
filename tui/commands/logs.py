"""The commands over what was said: logs, events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from tritonctl.backend import LogLine
from tritonctl.errors import NotFound, OperationFailed, Unreachable, UsageError
from tritonctl.inventory import Level, ServiceStatus
from tui.commands import documents, text
from tui.commands.session import Session
from tui.commands.streams import say, tell

_TAIL, _TAIL_SINCE = 1000, 1_000_000


async def logs(session: Session) -> int:
    arguments = session.arguments
    if arguments.follow and session.json:
        raise UsageError("logs -f -o json", "a log that is followed never becomes one document", "leave out -f")
    lines: list[LogLine] = []
    came = False
    async with session.fleet() as fleet:
        found = await session.named(fleet)
        names = [each.replica.name for each in found.replicas]
        # REPLICA/CONTAINER, of a pod with several, is the backend's to find.
        if arguments.replica is not None and "/" not in arguments.replica and arguments.replica not in names:
            raise NotFound(
                f"replica {arguments.replica!r} of {found.id}",
                "there is no such replica",
                f"replicas: {', '.join(names) or 'none'}",
            )
        oldest = time.time() - arguments.since if arguments.since is not None else None
        batches = fleet.backend_of(found.service).logs(
            found.service,
            replica=arguments.replica,
            tail=arguments.tail or (_TAIL if oldest is None else _TAIL_SINCE),
            follow=arguments.follow,
            previous=arguments.previous,
        )
        deadline_s = None if arguments.follow else session.read_timeout_s
        try:
            async with asyncio.timeout(deadline_s):
                async for each in batches:
                    came = came or bool(each)
                    batch = [line for line in each if oldest is None or line.at is None or line.at >= oldest]
                    if session.json:
                        lines += batch
                    else:
                        _print(batch, several=len(names) > 1)
        except TimeoutError:
            raise Unreachable(
                f"log of {found.id}", f"it did not come within {deadline_s:g} s", "try --timeout", kind="timeout"
            ) from None
    why = "" if came else _why_none(found)
    if session.json:
        tell(
            documents.dump(
                [
                    {"replica": each.replica, "text": each.text, "at_s": each.at, "dropped": each.dropped}
                    for each in lines
                ]
            )
        )
    if why:
        raise OperationFailed(f"log of {found.id}", why, f"tritonctl triage {found.id}")
    return 0


def _why_none(found: ServiceStatus) -> str:
    """Why there is no line at all; "" where a container runs, or ran, and may well have written nothing."""
    if any(each.replica.started_at is not None or each.replica.platform.level is Level.OK for each in found.replicas):
        return ""
    platform = found.service.platform
    said = f"{platform.state}: {platform.reason}" if platform.reason else platform.state
    return f"there is no container whose log could be read: {said}"


def _print(batch: Sequence[LogLine], *, several: bool) -> None:
    shown = []
    for line in batch:
        if line.dropped:
            say(f"… {line.dropped} lines were lost here")
        shown.append(f"{text.clean(line.replica)}  {text.clean(line.text)}" if several else text.clean(line.text))
    if shown:
        tell("\n".join(shown))


async def events(session: Session) -> int:
    async with session.fleet() as fleet:
        found = await session.named(fleet)
        try:
            async with asyncio.timeout(session.read_timeout_s):
                rows = await fleet.backend_of(found.service).events(found.service)
        except TimeoutError:
            raise Unreachable(
                f"events of {found.id}", f"they did not come within {session.read_timeout_s:g} s", "try --timeout"
            ) from None
    if session.json:
        tell(
            documents.dump(
                [{"at_s": row.at, "kind": row.kind, "text": row.text, "warning": row.warning} for row in rows]
            )
        )
    else:
        tell(
            text.table(
                ("TIME", "KIND", "TEXT"),
                [(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.at)), row.kind, row.text) for row in rows],
            )
        )
    return 0
