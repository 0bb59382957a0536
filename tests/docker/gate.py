"""A door before the engine's socket that holds one answer back, so that who asked can be killed at just that step."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.docker.place import ROOT, Place


class Gate:
    """The engine has done the `count`-th request for a change whose path has `part` in it, and nobody is told."""

    def __init__(self, socket: Path, part: str, count: int) -> None:
        self.host = f"unix://{socket}"
        self.reached = asyncio.Event()
        self.asked: list[str] = []
        self._part, self._left = part, count

    def holds(self, sent: bytes) -> bool:
        if not sent.startswith((b"POST ", b"DELETE ")):
            return False
        line = sent.split(b"\r\n", 1)[0].decode()
        self.asked.append(line)
        self._left -= self._part in line
        return self._part in line and self._left == 0


@asynccontextmanager
async def gate(place: Place, part: str, count: int = 1) -> AsyncIterator[Gate]:
    socket = place.folder / "gate.sock"
    opened = Gate(socket, part, count)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(place.host.removeprefix("unix://"))
        held = False

        async def ask() -> None:
            nonlocal held
            while data := await reader.read(1 << 16):
                held = held or opened.holds(data)
                back.write(data)

        async def answer() -> None:
            while data := await there.read(1 << 16):
                if held:
                    opened.reached.set()
                    await asyncio.Event().wait()
                writer.write(data)

        ways = [asyncio.create_task(ask()), asyncio.create_task(answer())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            back.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_unix_server(begin, socket)
    try:
        yield opened
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        socket.unlink(missing_ok=True)


async def killed_after(place: Place, part: str, count: int, *words: str) -> list[str]:
    """`tritonctl WORDS --yes`, killed once the engine has done that request; the changes that were asked for."""
    async with gate(place, part, count) as door:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("TRITONCTL_", "DOCKER_"))}
        environ |= {"DOCKER_HOST": door.host, "XDG_CONFIG_HOME": f"{place.folder}/killed-config"}
        environ |= {"XDG_STATE_HOME": f"{place.folder}/killed-state"}
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tui.cli", "--backend", "docker", *words, "--yes"),
            cwd=ROOT,
            env=environ,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert child.stderr is not None
        reached = asyncio.create_task(door.reached.wait())
        ended = asyncio.create_task(child.wait())
        try:
            await asyncio.wait((reached, ended), return_when=asyncio.FIRST_COMPLETED, timeout=90)
            assert reached.done(), f"it was not held: {door.asked} {(await child.stderr.read()).decode()}"
        finally:
            if child.returncode is None:
                child.kill()
            assert await ended == -signal.SIGKILL
            reached.cancel()
        return door.asked
