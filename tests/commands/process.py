"""`tritonctl` as a process: a home, settings and environment of its own; what it answers, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import Running

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True)
class Tritonctl:
    """Call it with the arguments. It fails the test where a traceback shows or the process does not end."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        passed_on = ("PATH", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH", "TMPDIR")
        return {
            **{name: os.environ[name] for name in passed_on if name in os.environ},
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            **{
                f"XDG_{name}": str(self.home / name.lower())
                for name in ("CONFIG_HOME", "STATE_HOME", "CACHE_HOME", "RUNTIME_DIR")
            },
            **self.environment,
        }

    @property
    def audit(self) -> list[dict[str, Any]]:
        """The audit log's records."""
        path = self.home / "state_home" / "tritonctl" / "audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def settings(self, text: str) -> Path:
        path = self.home / "config_home" / "tritonctl" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def knows(self, **servers: Running | str) -> None:
        """Settings with one backend `s` of kind urls: each server with all its addresses, or a dead URL."""
        entries = [
            f'{{ name = "{name}", http = "{it}" }}'
            if isinstance(it, str)
            else f'{{ name = "{name}", http = "{it.http}", grpc = "{it.grpc}", metrics = "{it.metrics}" }}'
            for name, it in servers.items()
        ]
        self.settings(f'[backends.s]\nkind = "urls"\nservers = [{", ".join(entries)}]\n')

    def __call__(self, *arguments: str, env: Mapping[str, str] | None = None, code: int | None = 0) -> Done:
        """`code` is the exit code that must come of it, None for any."""
        done = subprocess.run(
            command(arguments),
            cwd=ROOT,
            env={**self.env, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
        out, err = done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode("utf-8", "surrogateescape")
        assert "Traceback" not in err.split("At:")[0], err  # a model's own traceback stands behind "At:"
        if code is not None:
            assert done.returncode == code, f"{done.returncode}\n{out}\n{err}"
        return Done(done.returncode, out, err)

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """For tests that act while it runs."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command(arguments), cwd=ROOT, env=self.env, **{**pipes, **options})

    def asked(self, *arguments: str, prompt: str, answer: bytes) -> Done:
        """With a terminal as stdin and stderr: `answer` is typed at `prompt`; `err` is what the terminal got."""
        master, slave = pty.openpty()
        process = self.start(*arguments, stdin=slave, stderr=slave, start_new_session=True, preexec_fn=_take_terminal)
        os.close(slave)
        try:
            shown = b""
            end = time.monotonic() + DEADLINE_S
            typed = False
            while time.monotonic() < end and select.select([master], [], [], end - time.monotonic())[0]:
                try:
                    chunk = os.read(master, 65536)
                except OSError:  # Linux's word for: the other end is closed
                    break
                if not chunk:
                    break
                shown += chunk
                if not typed and prompt.encode() in shown:
                    os.write(master, answer)
                    typed = True
            assert typed, f"{prompt!r} was not asked: {shown!r}"
            out, _ = process.communicate(timeout=DEADLINE_S)
            return Done(process.returncode, out.decode(), shown.decode())
        finally:
            process.kill()
            process.wait()
            os.close(master)


def command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "tui.cli", *arguments]


def _take_terminal() -> None:
    """Makes stdin the controlling terminal, so that Ctrl-C typed into it becomes SIGINT."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
