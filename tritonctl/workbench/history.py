"""What was sent to each model: forms as they were filled in, in $XDG_STATE_HOME/tritonctl/requests, newest last."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from tritonctl.errors import TritonctlError
from tritonctl.workbench.form import Form, from_document, to_document

KEPT = 50
STOPPED = "stopped"
"""The outcome of what a person ended."""
MAX_LINE = 64 * 1024
"""Longer forms are not kept: a value of that size came from a program, not from a person."""

_ALONE_S = 1.0


@dataclass(frozen=True, slots=True)
class Sent:
    """`outcome` is the error in one line, or nothing."""

    at: float
    service: str
    form: Form
    latency_us: float | None
    outcome: str


class History:
    """One file per model, readable by its owner only: values that were typed may be anything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def usual(cls, environ: Mapping[str, str], home: Path) -> History:
        base = environ.get("XDG_STATE_HOME", "")
        root = Path(base) if base.startswith("/") else home / ".local" / "state"
        return cls(root / "tritonctl" / "requests")

    def _file(self, model: str) -> Path:
        return self.folder / f"{quote(model, safe='')[:200].replace('.', '%2E')}.jsonl"

    def add(self, model: str, sent: Sent) -> None:
        """Never raises: a full disk is no reason for a request to fail."""
        line = json.dumps(
            {
                "at": round(sent.at, 3),
                "service": sent.service,
                "form": to_document(sent.form),
                "latency_us": sent.latency_us,
                "outcome": sent.outcome[:500],
            }
        )
        if len(line) > MAX_LINE:
            return
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _alone(self.folder):
                kept = [*self._lines(model)[-(KEPT - 1) :], line]
                file = self._file(model)
                new = file.with_name(f"{file.name}.{os.getpid()}")
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                with os.fdopen(os.open(new, flags, 0o600), "w", encoding="utf-8") as out:
                    out.write("\n".join(kept) + "\n")
                new.replace(file)

    @contextmanager
    def keeping(self, model: str, sent: Sent | None) -> Iterator[list[float]]:
        """Add `sent` with how the block ended: the error, or that it was stopped, and the median of the latencies in
        µs that it put into the list. None keeps nothing."""
        took: list[float] = []
        outcome = STOPPED
        try:
            yield took
            outcome = ""
        except TritonctlError as error:
            outcome = error.headline
            raise
        finally:
            if sent is not None:
                p50 = sorted(took)[(len(took) - 1) // 2] if took else None
                self.add(model, replace(sent, latency_us=p50, outcome=outcome))

    def of(self, model: str) -> list[Sent]:
        """Oldest first; lines that cannot be read are left out."""
        found: list[Sent] = []
        for line in self._lines(model):
            with suppress(ValueError, KeyError, TypeError, AttributeError, IndexError):
                entry = json.loads(line)
                latency = entry["latency_us"]
                found.append(
                    Sent(
                        float(entry["at"]),
                        str(entry["service"]),
                        from_document(entry["form"]),
                        float(latency) if latency is not None else None,
                        str(entry["outcome"]),
                    )
                )
        return found

    def last(self, model: str) -> Form | None:
        sent = self.of(model)
        return sent[-1].form if sent else None

    def _lines(self, model: str) -> list[str]:
        try:
            with self._file(model).open(encoding="utf-8", errors="replace") as file:
                text = file.read(KEPT * (MAX_LINE + 1) + 1)
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-KEPT:]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other tritonctl reads and writes the folder meanwhile: one of two entries would be lost. One that holds it for
    longer than writing takes, being stopped, say, is not waited for; nor is a file system that knows no locks."""
    ends = time.monotonic() + _ALONE_S
    held = os.open(folder, os.O_RDONLY)
    try:
        while time.monotonic() < ends:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.005)
            except OSError:
                break
            else:
                break
        yield
    finally:
        os.close(held)
