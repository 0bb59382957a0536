"""What the API server says when it says no: its Status object as an error, with the right that lacks and the fix."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from backends.kubernetes.client.objects import mapping, rows, text
from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, Unreachable

_WORDS = 1000
_CANNOT = re.compile(r'cannot (\w+) resource "([\w./-]+)" in API group "([\w.-]*)"(?: in the namespace "([\w.-]+)")?')
# The API server asks the kubelet for logs, and goes through it for exec and port-forward.
_KUBELET = re.compile(r"/containerLogs/|error dialing backend")
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Gone(OperationFailed):
    """The resource version is older than what the API server remembers: list again."""


class NoRight(Forbidden):
    """One is known, and may not do this: 403."""


def status_of(content: bytes) -> Mapping[str, Any] | None:
    """The Status object in an answer's body, None where it is something else: then it is not the API server's own."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.get("kind") == "Status" else None


def refusal(tried: str, method: str, path: str, status: int, content: bytes) -> TritonctlError:
    """Of an answer of 400 and above."""
    found = status_of(content) or {}
    said = text(found, "message")[:_WORDS] or " ".join(content[:300].decode("utf-8", "replace").split())
    return _of_status(tried, method, path, status, said or f"HTTP {status}", found)


def event_refusal(tried: str, path: str, status: Mapping[str, Any]) -> TritonctlError:
    """Of an ERROR event in a watch, which carries a Status as its object."""
    code = status.get("code")
    said = text(status, "message")[:_WORDS] or text(status, "reason") or "the watch ended with an error"
    return _of_status(tried, "GET", path, code if isinstance(code, int) else 500, said, status)


def _of_status(tried: str, method: str, path: str, status: int, said: str, found: Mapping[str, Any]) -> TritonctlError:
    if status == 401:
        return Forbidden(tried, f"401: the API server does not know who you are ({said})", "log in again")
    if status == 403:
        verb, right, namespace = missing_right(method, path, said)
        where = f" -n {namespace}" if namespace else ""
        kind = "role" if namespace else "clusterrole"
        advice = f"it takes the right to {verb} {right}: kubectl create {kind} NAME --verb={verb} --resource={right}"
        return NoRight(tried, said, f"{advice}{where}, and a binding to you")
    if status == 404:
        return NotFound(tried, said)
    # The latter: a version of another cluster in the same place, as after a restore (NewTooLargeResourceVersionError).
    if status == 410 or (status == 504 and "Too large resource version" in said):
        return Gone(tried, said, status=status)
    if status == 409:
        return OperationFailed(tried, said, "somebody changed it in the same moment: try again", status)
    if status == 422:
        causes = [
            f"{text(each, 'field')}: {text(each, 'message')}" for each in rows(mapping(found, "details"), "causes")
        ]
        fuller = "; ".join(causes[:3]) if causes and causes[0] not in said else ""
        return OperationFailed(tried, f"{said} ({fuller})" if fuller else said, status=status)
    if status == 429:
        return OperationFailed(tried, f"429: the API server is too busy ({said})", "try again in a moment", status)
    if status in (500, 502, 503, 504) and _KUBELET.search(said):
        why = said.rpartition("dial tcp ")[2] or said
        return Unreachable(
            tried,
            f"the kubelet of the pod's node does not answer ({why})",
            "kubectl get nodes tells whether it is up",
            "lost",
        )
    if status in (500, 502, 503, 504):
        return Unreachable(tried, f"{status}: {said}", "the API server, or what it asks in turn, is in trouble", "lost")
    return OperationFailed(tried, said, status=status)


def missing_right(method: str, path: str, said: str = "") -> tuple[str, str, str]:
    """Verb, resource (as RESOURCE.GROUP/SUBRESOURCE) and namespace, "" for the whole cluster.

    As the API server names them in its message (authorization.k8s.io writes one form since 1.8), else by the path.
    """
    named = _CANNOT.search(said)
    if named:
        verb, resource, group, namespace = named.groups()
        plain, slash, sub = resource.partition("/")
        return verb, f"{plain}{f'.{group}' if group else ''}{slash}{sub}", namespace or ""
    parts = path.partition("?")[0].strip("/").split("/")
    group = parts[1] if parts[:1] == ["apis"] and len(parts) > 1 else ""
    rest = parts[3:] if parts[:1] == ["apis"] else parts[2:]
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource = rest[0] if rest else path
    sub = f"/{rest[2]}" if len(rest) > 2 else ""
    verb = _VERBS.get(method, method.lower())
    if verb == "get" and len(rest) == 1:
        verb = "list"
    return verb, f"{resource}{f'.{group}' if group else ''}{sub}", namespace
