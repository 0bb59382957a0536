"""Five real tritonservers with light traffic, and the settings file that lists them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backends.embedded.server import SAMPLES, EmbeddedServer, Options

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("alpha", "bravo", "charlie", "delta", "echo-5")
MODELS = ("add_sub", "language", "echo")
# What would make the measured program another one than a person starts.
_NOT_PASSED_ON = ("PYTHONDONTWRITEBYTECODE", "NO_COLOR", "SSH_CONNECTION", "TMUX", "COLUMNS", "LINES")


@dataclass(frozen=True)
class Stage:
    """What is measured: the command, the environment it runs in, the servers it looks at."""

    folder: Path
    servers: tuple[EmbeddedServer, ...]
    interval_s: float

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(f"local/{name}" for name, _ in zip(NAMES, self.servers, strict=False))

    @property
    def settings(self) -> Path:
        """The file that lists the servers, where it is found without being named."""
        return self.folder / "config" / "tritonctl" / "config.toml"

    def environ(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in _NOT_PASSED_ON and not name.startswith(("TRITONCTL_", "TEXTUAL_"))
        }
        return {
            **kept,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }

    def change(self, server: EmbeddedServer, action: str, model: str) -> None:
        """`action` is load or unload; returns when the server has answered."""
        url = f"http://127.0.0.1:{server.ports.http}/v2/repository/models/{model}/{action}"
        self._ask(url, b"{}")

    def state(self, server: EmbeddedServer, model: str) -> str:
        """The state of a model's version as the server's index tells it; empty where it tells none."""
        rows = json.loads(self._ask(f"http://127.0.0.1:{server.ports.http}/v2/repository/index", b"{}"))
        return next((str(row.get("state", "")) for row in rows if row["name"] == model and row.get("state")), "")

    @staticmethod
    def _ask(url: str, body: bytes) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(url, body), timeout=20) as answer:
            return bytes(answer.read())


def command(*arguments: str) -> list[str]:
    """The console script, or where this environment has none, what it does."""
    script = Path(sys.executable).with_name("tritonctl")
    if script.exists():
        return [str(script), *arguments]
    return [sys.executable, "-c", "import sys; from tui.cli import main; sys.exit(main())", *arguments]


@contextmanager
def stage(count: int = len(NAMES), interval_s: float = 2.0) -> Iterator[Stage]:
    """`count` servers with three models each, about five requests a second on each, all gone when left."""
    folder = Path(tempfile.mkdtemp(prefix="tritonctl-bench-"))
    servers = tuple(EmbeddedServer(_options()) for _ in range(count))
    try:
        with asyncio.Runner() as runner:
            try:
                runner.run(_start(servers))
                made = Stage(folder, servers, interval_s)
                _write_settings(made)
                yield made
            finally:
                runner.run(_stop(servers))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _options() -> Options:
    flags = ("--exit-on-error=false", "--strict-readiness=false", "--disable-auto-complete-config")
    return Options(repository=SAMPLES, load=MODELS, flags=flags, copy=True, traffic=True)


async def _start(servers: Sequence[EmbeddedServer]) -> None:
    for server in servers:  # one after the other: five that start together take each other's CPU
        await server.start()
        await server.wait_live(60.0)


async def _stop(servers: Sequence[EmbeddedServer]) -> None:
    await asyncio.gather(*(server.stop() for server in servers), return_exceptions=True)


def _write_settings(made: Stage) -> None:
    lines = [f"interval_s = {made.interval_s}", "[backends.local]", 'kind = "urls"', "servers = ["]
    for name, server in zip(NAMES, made.servers, strict=False):
        ports = server.ports
        lines.append(
            f'  {{ name = "{name}", http = "http://127.0.0.1:{ports.http}", grpc = "127.0.0.1:{ports.grpc}", '
            f'metrics = "http://127.0.0.1:{ports.metrics}/metrics" }},'
        )
    made.settings.parent.mkdir(parents=True)
    made.settings.write_text("\n".join([*lines, "]"]) + "\n", encoding="utf-8")
