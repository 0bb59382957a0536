"""ssh to an engine on another machine: one connection that carries the engine's socket and its servers' ports."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

from backends.docker.endpoint import Endpoint
from tritonctl.errors import Unreachable

OPEN_S = 15.0
_POLL_S = 0.05
_SAID_BYTES = 4000


class Tunnel:
    """An ssh child process with a control socket; ports are added to it while it runs. Never asks anything."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._folder: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._saying: asyncio.Task[bytes] | None = None
        self._ports: dict[tuple[str, int], int] = {}
        self._opening = asyncio.Lock()
        self._adding = asyncio.Lock()

    async def open(self) -> str:
        """The path of the local end of the engine's socket. Raises Unreachable with ssh's own words."""
        async with self._opening:  # of many who find it gone, one makes it anew, and the others wait for that
            return await self._open()

    async def _open(self) -> str:
        if self._process is not None and self._process.returncode is None and self._folder is not None:
            return str(self._folder / "engine")
        await self.close()
        if shutil.which("ssh") is None:
            raise Unreachable(self._tried, "there is no ssh command on this machine", "install an OpenSSH client")
        self._folder = Path(tempfile.mkdtemp(prefix="tritonctl-"))  # its mode is 0700
        local = self._folder / "engine"
        self._process = await asyncio.create_subprocess_exec(
            *self._command("-nNT", "-M", "-L", f"{local}:{self._endpoint.remote_socket}"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._saying = asyncio.create_task(_last_of(self._process.stderr), name="what ssh says")
        try:
            async with asyncio.timeout(OPEN_S):
                while not local.exists():
                    if self._process.returncode is not None:
                        raise Unreachable(self._tried, await self._words(), _ADVICE)
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            await self.close()
            raise Unreachable(self._tried, f"no connection within {OPEN_S:g} s", _ADVICE, kind="timeout") from None
        except BaseException:
            await self.close()
            raise
        return str(local)

    async def port(self, host: str, port: int) -> int:
        """The port of 127.0.0.1 that leads to `host`:`port` as the engine's machine sees it."""
        async with self._adding:
            known = self._ports.get((host, port))
            if known is not None:
                return known
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                free = int(probe.getsockname()[1])
            target = f"[{host}]" if ":" in host else host
            adding = await asyncio.create_subprocess_exec(
                *self._command("-O", "forward", "-L", f"127.0.0.1:{free}:{target}:{port}"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(OPEN_S):
                    _, said = await adding.communicate()
            except TimeoutError:
                adding.kill()
                await adding.wait()
                raise Unreachable(
                    self._tried, f"no tunnel to port {port} within {OPEN_S:g} s", kind="timeout"
                ) from None
            if adding.returncode:
                raise Unreachable(self._tried, said[:_SAID_BYTES].decode("utf-8", "replace").strip(), _ADVICE)
            self._ports[host, port] = free
            return free

    async def close(self) -> None:
        process, self._process = self._process, None
        saying, self._saying = self._saying, None
        self._ports.clear()
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(3.0):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if saying is not None:
            saying.cancel()
            await asyncio.gather(saying, return_exceptions=True)
        folder, self._folder = self._folder, None
        if folder is not None:
            with suppress(OSError):
                shutil.rmtree(folder)

    @property
    def _tried(self) -> str:
        return f"ssh to {self._endpoint.ssh}, where the Docker Engine is"

    def _command(self, *what: str) -> list[str]:
        assert self._folder is not None
        command = ["ssh", "-S", str(self._folder / "control"), *what]
        # BatchMode: a question for a password would wait for ever behind the screen.
        for option in (
            "BatchMode=yes",
            f"ConnectTimeout={OPEN_S:g}",
            "ExitOnForwardFailure=yes",
            "ServerAliveInterval=15",
            "StreamLocalBindUnlink=yes",
        ):
            command += ["-o", option]
        if self._endpoint.ssh_port is not None:
            command += ["-p", str(self._endpoint.ssh_port)]
        return [*command, "--", str(self._endpoint.ssh)]

    async def _words(self) -> str:
        if self._process is None or self._saying is None:
            return "ssh ended"
        said = (await self._saying).decode("utf-8", "replace").strip()
        return said or f"ssh ended with {self._process.returncode}"


async def _last_of(stream: asyncio.StreamReader | None) -> bytes:
    """The end of what ssh says. All of it is taken: it says a line for each port that refuses, and stops carrying
    anything once nobody does."""
    said = b""
    while stream is not None and (piece := await stream.read(_SAID_BYTES)):
        said = (said + piece)[-_SAID_BYTES:]
    return said


_ADVICE = "try the same by hand: it must connect without asking anything (a key or an agent, a known host)"
