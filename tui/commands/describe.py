"""The command `describe`: all that a place tells of a service, or of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tritonctl.backend import Section
from tritonctl.errors import OperationFailed, Unreachable
from tui.commands import documents, text
from tui.commands.session import Session
from tui.commands.streams import tell


async def describe(session: Session) -> int:
    name = session.arguments.service
    async with session.fleet() as fleet:
        deadline_s = session.look_timeout_s
        try:
            if (backend := fleet.backends.get(name)) is not None:
                async with asyncio.timeout(deadline_s):
                    await session.listed(fleet, name)
                    sections = await backend.describe_place()
                if not sections:
                    raise OperationFailed(
                        f"describe {name}", f"a backend of kind {backend.kind} has nothing to tell beside its services"
                    )
            else:
                found = await session.within(fleet)
                name = found.id
                async with asyncio.timeout(deadline_s):
                    sections = await fleet.backend_of(found.service).describe(found.service)
        except TimeoutError:
            raise Unreachable(
                f"describe {name}", f"it did not come within {deadline_s:g} s", "try --timeout", kind="timeout"
            ) from None
    if session.json:
        tell(documents.dump({"name": name, "sections": [_document(each) for each in sections]}))
    else:
        _print(sections)
    return 0


def _document(section: Section) -> dict[str, object]:
    return {"heading": section.heading, "rows": [{"name": name, "value": value} for name, value in section.rows]}


def _print(sections: Sequence[Section]) -> None:
    for place, section in enumerate(sections):
        tell(("\n" if place else "") + text.clean(section.heading))
        width = min(28, max((len(name) for name, _ in section.rows), default=0))
        for name, value in section.rows:
            tell(f"  {text.clean(name):{width}}  {text.clean(value)}".rstrip())
