"""Fields of Azure's JSON, where any may be missing, null or of another type than documented."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def mapping(document: object, key: str) -> Mapping[str, Any]:
    found = document.get(key) if isinstance(document, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def text(document: object, key: str) -> str:
    found = document.get(key) if isinstance(document, Mapping) else None
    return found if isinstance(found, str) else ""


def number(document: object, key: str) -> int | None:
    found = document.get(key) if isinstance(document, Mapping) else None
    return int(found) if isinstance(found, int | float) and not isinstance(found, bool) else None
