"""The dashboard, over the backends of the settings or over the embedded demo server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from tritonctl.apart import apart
from tritonctl.backend import Backend
from tritonctl.errors import UsageError
from tritonctl.plan import AuditLog, audit_path
from tui.commands.session import Session
from tui.commands.streams import say_left


async def dashboard(session: Session) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "the dashboard", "this is not a terminal", "for a script: tritonctl services, or tritonctl --help"
        )
    return await run(session, session.places.backends(session.settings))


async def run(session: Session, backends: Sequence[Backend]) -> int:
    """The dashboard over these backends until it is left; every connection is closed after."""
    settings = session.settings
    _choose_look(session)
    from tritonctl.fleet import Fleet
    from tui import garbage, keys

    keymap = keys.keymap(settings.keys.preset, settings.keys.bindings)
    fleet = Fleet(
        backends,
        read_only=settings.read_only,
        interval_s=settings.interval_s,
        read_host_gpus=session.places.host_gpus(),
        probing=False,
    )
    async with fleet:
        await apart(_import_the_screens)  # the places are asked meanwhile what they have
        from tui.app import TritonctlApp

        app = TritonctlApp(fleet, AuditLog(audit_path()), keymap=keymap, theme=_theme(settings.theme))
        collecting = asyncio.create_task(garbage.rounds(app.idle_s), name="collect garbage")
        try:
            with garbage.kept_from_keys():
                await app.run_async(
                    mouse=settings.mouse if settings.mouse is not None else "SSH_CONNECTION" not in os.environ
                )
        finally:
            collecting.cancel()
            await asyncio.gather(collecting, return_exceptions=True)
            say_left(await app.end_changes())
    return app.return_code or 0


def _import_the_screens() -> None:
    """Half of the time to the first frame."""
    from tui import garbage

    with garbage.none_while_importing():
        import tui.app  # noqa: F401


def _choose_look(session: Session) -> None:
    """What Textual reads from the environment when it is imported."""
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    if session.arguments.no_color:
        os.environ["NO_COLOR"] = "1"
    if session.settings.ascii:
        os.environ["TRITONCTL_ASCII"] = "1"


def _theme(wanted: str | None) -> str:
    """The terminal's own 16 colours where nothing tells that it has more, and where none are wanted."""
    if wanted:
        return wanted
    truecolor = os.environ.get("COLORTERM", "") in ("truecolor", "24bit")
    return "textual-dark" if truecolor and not os.environ.get("NO_COLOR") else "ansi-dark"
