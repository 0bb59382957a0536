"""A long-running operation of Azure Resource Manager: where it is asked for, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backends.azure.errors import ErrorTree, tree_of

_ENDED = ("succeeded", "failed", "canceled", "cancelled")


def ended_badly(state: str) -> bool:
    """Of an operation, or of what it was about: it failed or was cancelled."""
    return state.lower() in _ENDED[1:]


@dataclass(frozen=True, slots=True)
class Operation:
    """`uri` alone is enough to take it up again, also after a restart (`Arm.progress`).

    `way` says what a GET on it brings: the operation's own document ("status"), 202 until it is done ("location"), or
    the resource with its provisioningState ("resource").
    """

    uri: str
    way: str = "status"


@dataclass(frozen=True, slots=True)
class Progress:
    """`state` is Azure's word. `error` is there where it failed. Times are seconds since the epoch."""

    state: str
    percent: float | None = None  # 0..100
    error: ErrorTree | None = None
    started_at: float | None = None
    ended_at: float | None = None
    retry_after_s: float | None = None
    body: Any = None

    @property
    def done(self) -> bool:
        return self.state.lower() in _ENDED

    @property
    def succeeded(self) -> bool:
        return self.state.lower() == "succeeded"


def operation_of(status: int, headers: Mapping[str, str], body: Any, resource: str) -> Operation | None:
    """Of the answer to a PUT, PATCH, POST or DELETE; None: it is done. `headers` are looked up in lower case.

    ARM's order: Azure-AsyncOperation, then Location of a 202, then the resource's own provisioningState (ARM RPC,
    "Asynchronous operations").
    """
    if uri := headers.get("azure-asyncoperation"):
        return Operation(uri)
    if status == 202 and (uri := headers.get("location")):
        return Operation(uri, "location")
    state = provisioning_state(body)
    if status in (200, 201, 202) and state and state.lower() not in _ENDED:
        return Operation(resource, "resource")
    return None


def progress_of(way: str, status: int, body: Any, retry_after_s: float | None) -> Progress:
    """`status` is of a 2xx answer to the GET."""
    if way == "location":
        return Progress("InProgress" if status == 202 else "Succeeded", retry_after_s=retry_after_s, body=body)
    if way == "resource":
        state = provisioning_state(body) or "Succeeded"  # ARM RPC: no provisioningState means that it is there
        return Progress(state, error=_failure(state, body), retry_after_s=retry_after_s, body=body)
    document = body if isinstance(body, Mapping) else {}
    told = document.get("status")
    state = told if isinstance(told, str) and told else ("InProgress" if status == 202 else "Unknown")
    return Progress(
        state,
        _number(document.get("percentComplete")),
        _failure(state, body),
        seconds(document.get("startTime")),
        seconds(document.get("endTime")),
        retry_after_s,
        body,
    )


def provisioning_state(body: Any) -> str | None:
    properties = body.get("properties") if isinstance(body, Mapping) else None
    state = properties.get("provisioningState") if isinstance(properties, Mapping) else None
    return state if isinstance(state, str) and state else None


def seconds(value: Any) -> float | None:
    """Of ARM's ISO 8601 times, which may have seven digits after the point; None where it is none."""
    if not isinstance(value, str) or not value or value.startswith("0001-"):  # .NET's "never"
        return None
    text, _, fraction = value.removesuffix("Z").partition(".")
    zone = "+00:00"
    for sign in ("+", "-"):
        head, found, tail = fraction.partition(sign)
        if found:
            fraction, zone = head, sign + tail
    try:
        parsed = datetime.fromisoformat(f"{text}.{fraction[:6].ljust(6, '0')}" if fraction else text)
        if parsed.tzinfo is None:
            parsed = datetime.fromisoformat(parsed.isoformat() + zone)
        return parsed.timestamp()
    except (ValueError, OverflowError):
        return None


def _failure(state: str, body: Any) -> ErrorTree | None:
    if not ended_badly(state):
        return None
    return tree_of(body) or ErrorTree("", f"the operation ended as {state}, and Azure gave no reason")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
