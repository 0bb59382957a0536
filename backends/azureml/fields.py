"""Fields of Azure ML's documents: maps, durations and the ids of what they refer to."""

from __future__ import annotations

import re

from backends.azure.fields import mapping, number

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


def texts(document: object, key: str) -> dict[str, str]:
    """A map of names to texts; what is null in it becomes ""."""
    return {str(name): "" if value is None else str(value) for name, value in mapping(document, key).items()}


def numbers(document: object, key: str) -> dict[str, int]:
    """A map of names to numbers, as of traffic; what is none is left out."""
    found = mapping(document, key)
    return {str(name): value for name in found if (value := number(found, name)) is not None}


def seconds_of(duration: object) -> float | None:
    """Of an ISO 8601 duration. Azure writes one as it likes: PT90S comes back as PT1M30S."""
    found = _DURATION.fullmatch(duration) if isinstance(duration, str) and duration not in ("P", "PT", "") else None
    if found is None:
        return None
    days, hours, minutes, seconds = (float(each or 0) for each in found.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + seconds


def duration_of(seconds: float) -> str:
    """The ISO 8601 duration of so many seconds."""
    return f"PT{seconds:g}S" if seconds < 1e6 else f"PT{round(seconds)}S"


def name_in(resource_id: str, kind: str) -> str:
    """The name that follows `kind` in a resource id, in any case; "" where there is none.

    /subscriptions/S/…/computes/k8s → k8s for computes; also of azureml:NAME:VERSION references, which have none.
    """
    segments = resource_id.split("/")
    lower = [each.lower() for each in segments]
    place = lower.index(kind.lower()) if kind.lower() in lower else -1
    return segments[place + 1] if 0 <= place < len(segments) - 1 else ""


def asset_in(resource_id: str, kind: str) -> tuple[str, str] | None:
    """Name and version of a model or an environment, of its resource id or of azureml:NAME:VERSION or NAME:VERSION."""
    name, version = name_in(resource_id, kind), name_in(resource_id, "versions")
    if name and version:
        return name, version
    plain = resource_id.removeprefix("azureml:")
    if plain and "/" not in plain and plain.count(":") == 1:
        name, _, version = plain.partition(":")
        return (name, version) if name and version else None
    return None
