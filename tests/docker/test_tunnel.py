"""The ssh child of a tunnel: one for all who want it, and what it says is taken off it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.docker.endpoint import Endpoint
from backends.docker.tunnel import Tunnel

# Makes the local end, notes that it began, and says more than a pipe holds.
SSH = """#!/bin/sh
for word; do case "$word" in *:/var/run/docker.sock) end=${word%%:*};; esac; done
echo begun >> "$NOTES"
sleep 0.2
head -c 400000 /dev/zero | tr '\\0' x >&2
: > "$end"
exec sleep 600
"""


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    notes = tmp_path / "begun"
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o700)
    monkeypatch.setenv("NOTES", str(notes))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return lambda: notes.read_text().count("begun")


async def test_many_who_want_it_make_one(begun: Callable[[], int]) -> None:
    tunnel = Tunnel(Endpoint("ssh://there", "test", ssh="there"))
    try:
        paths = await asyncio.gather(*(tunnel.open() for _ in range(5)))
    finally:
        await tunnel.close()
    assert len(set(paths)) == 1
    assert begun() == 1
