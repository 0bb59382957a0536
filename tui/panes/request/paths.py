"""Completing the path of a file in what is typed: after @, or a whole path."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_MOST = 50


def complete_path(typed: str) -> Sequence[str]:
    """Whole values that begin as what is typed; nothing where that is no path."""
    sign = "@" if typed.startswith("@") else ""
    text = typed.removeprefix("@")
    if not sign and "/" not in text:
        return ()
    folder, _, begun = text.rpartition("/")
    base = f"{folder}/" if "/" in text else ""
    found: list[str] = []
    with suppress(OSError):
        for entry in sorted(Path(base or ".").expanduser().iterdir()):
            if entry.name.startswith(begun) and (begun or not entry.name.startswith(".")):
                found.append(f"{sign}{base}{entry.name}{'/' if entry.is_dir() else ''}")
            if len(found) == _MOST:
                break
    return found
