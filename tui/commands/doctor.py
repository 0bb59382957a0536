"""The command `doctor`: the settings with where each came from, the backends, and what this machine can do."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tritonctl import __version__
from tritonctl.apart import apart
from tritonctl.inventory import BackendStatus, HostGpu, Snapshot
from tui import figures
from tui.commands import documents, text
from tui.commands.session import Ability, Session, trouble
from tui.commands.streams import tell

_PROGRAM_S = 2.0


@dataclass(frozen=True)
class _Reached:
    """A backend with how many of its services have a server that answers, and the first thing that is wrong."""

    status: BackendStatus
    answering: int
    total: int
    trouble: str

    @classmethod
    def of(cls, status: BackendStatus, snapshot: Snapshot) -> _Reached:
        services = [each for each in snapshot.services if each.service.backend == status.name]
        silent = [each for each in services if each.live is None]
        first = f"{silent[0].id}: {silent[0].error or 'did not answer in time'}" if silent else ""
        return cls(status, len(services) - len(silent), len(services), trouble(status) or first)


async def doctor(session: Session) -> int:
    """Exit code 0 also where something optional is missing. Raises UsageError for what is wrong in the settings."""
    settings = session.settings
    async with session.fleet() as fleet:
        snapshot = await fleet.first_look(session.look_timeout_s)
    backends = [_Reached.of(each, snapshot) for each in snapshot.backends]
    machine = (*await _machine(), *session.places.abilities())
    gpus = await _gpus(session)
    if session.json:
        document = {
            "settings": [{"key": key, "value": shown, "source": source} for key, shown, source in settings.origins],
            "warnings": list(settings.warnings),
            "backends": [
                {**documents.backend(each.status), "services": {"answering": each.answering, "total": each.total}}
                for each in backends
            ],
            "machine": [each._asdict() for each in machine],
            "gpus": [asdict(each) for each in gpus],
        }
        tell(documents.dump(document))
        return 0
    tell(text.table(("SETTING", "VALUE", "FROM"), settings.origins))
    for warning in settings.warnings:
        tell(f"▲ {text.clean(warning)}")
    tell("\n" + text.table(("BACKEND", "KIND", "STATE", "ANSWERING", "DETAIL"), [_backend(each) for each in backends]))
    tell("\n" + text.table(("THIS MACHINE", "", "", ""), [_ability(each) for each in machine]))
    tell("\n" + (text.table(("GPU", "NAME", "UUID", "MEMORY"), [_gpu(each) for each in gpus]) if gpus else _NO_GPU))
    return 0


_NO_GPU = "no GPU on this machine: NVIDIA's driver is not there, or tells of none"


def _backend(reached: _Reached) -> tuple[str, ...]:
    status, detail = reached.status, reached.trouble
    counts = f"{reached.answering} of {reached.total}"
    return (status.name, status.kind, status.state, counts, f"{detail}  → {status.advice}" if status.advice else detail)


def _ability(ability: Ability) -> tuple[str, ...]:
    advice = f"→ {ability.advice}" if ability.advice else ""
    return (ability.name, "yes" if ability.there else "no", ability.detail, advice)


def _gpu(gpu: HostGpu) -> tuple[str, ...]:
    memory = f"{figures.size_bytes(gpu.memory_used_bytes)}/{figures.size_bytes(gpu.memory_total_bytes)}"
    return (str(gpu.index), gpu.name, gpu.uuid, memory)


async def _gpus(session: Session) -> tuple[HostGpu, ...]:
    try:
        async with asyncio.timeout(session.read_timeout_s):
            return await apart(session.places.host_gpus())
    except TimeoutError:
        return ()


async def _machine() -> Sequence[Ability]:
    environ = os.environ
    encoding = (sys.stdout.encoding or "ascii").lower()
    unicode = encoding.startswith("utf")
    colours = _colours()
    return (
        Ability("tritonctl", True, __version__, ""),
        Ability("python", True, f"{platform.python_version()} at {sys.executable}", ""),
        Ability("terminal", sys.stdout.isatty(), environ.get("TERM") or "TERM is not set", ""),
        Ability("colours", bool(colours), colours or "none", "" if colours else "NO_COLOR, TERM or a pipe says none"),
        Ability(
            "unicode", unicode, f"the encoding is {encoding}", "" if unicode else "set LANG to a locale with UTF-8"
        ),
        await _tmux(),
    )


def _colours() -> str:
    term = os.environ.get("TERM", "dumb")
    if os.environ.get("NO_COLOR") or term == "dumb":
        return ""
    if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return "16 million"
    return "256" if "256color" in term else "16"


async def _tmux() -> Ability:
    """Only whether it is there and whether we are in it; nothing needs it."""
    program = shutil.which("tmux")
    if program is None:
        return Ability("tmux", False, "not on PATH", "with it a dashboard outlives a lost connection")
    inside = "this runs in it" if os.environ.get("TMUX") else "this does not run in it"
    process = await asyncio.create_subprocess_exec(
        program,
        "-V",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_PROGRAM_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return Ability("tmux", False, f"{program} does not answer", "")
    return Ability("tmux", True, f"{said.decode('utf-8', 'replace').strip()}; {inside}", "")
