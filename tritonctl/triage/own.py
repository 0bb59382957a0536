"""What tritonctl itself did to a service lately, from its audit log: often what changed before it broke."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path

from tritonctl.triage.evidence import Piece, Source
from tritonctl.triage.logreading import cleaned

_TAIL_BYTES = 512 * 1024
_RECENT_S = 24 * 3600.0
_MOST = 20


def changes(path: Path, service: str) -> list[Piece]:
    """The changes of the last day to `service`, oldest first; none where there is no log. Blocks. Raises OSError."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read(_TAIL_BYTES).split(b"\n")
    except FileNotFoundError:
        return []
    written = json.dumps(service).encode()  # as it stands there, where it is not ASCII
    found = [piece for line in lines if written in line and (piece := _piece(line, service)) is not None]
    return found[-_MOST:]


def _piece(line: bytes, service: str) -> Piece | None:
    """None for what is no record of it: a line that was cut, another service, long ago."""
    try:
        record = json.loads(line)
        at = datetime.fromisoformat(record["at"]).timestamp()
        if record["service"] != service or time.time() - at > _RECENT_S:
            return None
        text = f"{record['who']}: {record['call']}: {record['result']}"
    except (ValueError, KeyError, TypeError):
        return None
    return Piece(Source.TRITONCTL, cleaned(text), at=at, warning=False)
