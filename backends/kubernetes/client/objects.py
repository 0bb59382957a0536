"""Reading Kubernetes' JSON: what is missing or of a strange type is as if it were empty."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_SUFFIXES = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)(n|u|m|k|M|G|T|P|E|[KMGTPE]i)?")


def mapping(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def rows(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects of a list."""
    found = document.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def texts(document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = document.get(key)
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()


def text(document: Mapping[str, Any], key: str) -> str:
    found = document.get(key)
    return found if isinstance(found, str) else ""


def number(document: Mapping[str, Any], key: str) -> int:
    found = document.get(key)
    return found if isinstance(found, int) else 0


def labels(document: Mapping[str, Any], key: str) -> dict[str, str]:
    return {name: value for name, value in mapping(document, key).items() if isinstance(value, str)}


def seconds(timestamp: str) -> float | None:
    """RFC 3339, as Go writes it, in seconds since the epoch."""
    if not timestamp:
        return None
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", timestamp)).timestamp()
    except ValueError:
        return None


def quantity(value: object) -> float | None:
    """Of a resource: 500m is 0.5, 1Gi is 1073741824 (apimachinery's resource.Quantity)."""
    if isinstance(value, int | float):
        return float(value)
    found = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        return float(found[1]) * _SUFFIXES[found[2] or ""] if found else None
    except ValueError:
        return None
