"""The commands over everything there is: services, backends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tritonctl.backend import Backend, Capability
from tritonctl.errors import Forbidden, Unreachable
from tritonctl.inventory import Level, ServiceStatus
from tritonctl.status import server_word
from tui.commands import documents, text
from tui.commands.session import Session, is_lost, service_error, trouble, warn_lost
from tui.commands.streams import say, tell
from tui.figures import platform_word


async def services(session: Session) -> int:
    """Exit code 0 also where some do not answer; that of the first where none does."""
    async with session.fleet() as fleet:
        await fleet.first_look(session.look_timeout_s)
        snapshot = await fleet.logs_read()
    rows = sorted(snapshot.services, key=lambda each: (each.level, each.id))
    if session.json:
        tell(documents.dump([documents.service(each) for each in rows]))
    elif rows:
        tell(services_table(rows, session.style))
    elif not any(map(is_lost, snapshot.backends)):  # else what keeps them from being seen is all that is known
        say("no service found in: " + (", ".join(each.name for each in snapshot.backends) or "no backend"))
        say(f"  → {_first_steps(fleet.backends.values())}")
    warn_lost(snapshot)
    asked = [each for each in rows if each.replicas and each.service.platform.level is not Level.OFF]
    if asked and all(each.live is None for each in asked):
        return service_error(asked[0]).exit_code
    lost = [each for each in snapshot.backends if is_lost(each)]
    if rows or not lost:
        return 0
    return Forbidden.exit_code if lost[0].forbidden else Unreachable.exit_code


def _first_steps(backends: Iterable[Backend]) -> str:
    registry = next((each.name for each in backends if Capability.DEPLOY in each.capabilities), "")
    if registry:
        return f"tritonctl register FOLDER, and tritonctl deploy MODEL:VERSION {registry}/ENDPOINT/NAME"
    return "tritonctl --url http://HOST:8000, tritonctl demo, or a backend in the settings (tritonctl doctor)"


def services_table(rows: Sequence[ServiceStatus], style: text.Style) -> str:
    return text.table(
        ("", "SERVICE", "PLATFORM", "SERVER", "MODELS", "REPLICAS", "MODE", "TRITON", "NOTE"),
        [
            (
                style.symbol(each.level),
                each.id,
                " ".join(filter(None, (platform_word(each.service.platform), each.service.share))),
                server_word(each),
                f"{each.counts.ready}/{each.counts.total}" if any(r.models_known for r in each.replicas) else "–",
                f"{each.replicas_ready}/{each.replicas_total}",
                each.mode_words or "?",
                each.version or "–",
                each.note,
            )
            for each in rows
        ],
    )


async def backends(session: Session) -> int:
    async with session.fleet() as fleet:
        snapshot = await fleet.first_look(session.read_timeout_s, only=())
    if session.json:
        tell(documents.dump([documents.backend(each) for each in snapshot.backends]))
        return 0
    tell(
        text.table(
            ("BACKEND", "KIND", "STATE", "SERVICES", "READ-ONLY", "DETAIL"),
            [
                (
                    each.name,
                    each.kind,
                    each.state,
                    str(sum(service.service.backend == each.name for service in snapshot.services)),
                    "yes" if each.read_only else "no",
                    f"{trouble(each)}  → {each.advice}" if each.advice else trouble(each),
                )
                for each in snapshot.backends
            ],
        )
    )
    return 0
