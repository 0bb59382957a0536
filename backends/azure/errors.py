"""What Azure Resource Manager answers when something fails: the whole tree of its error, as text, and what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.secrets import MASK, mask_text
from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError

_MAX_DEPTH = 12
_MAX_NODES = 200
_MAX_MESSAGE = 8000
_TOKEN = re.compile(r"eyJ[\w-]{8,}(\.[\w-]*)*|(?i:(?<=bearer ))[\w.~+/-]{16,}=*")


def hygienic(words: str) -> str:
    """Azure's own words without a token in them: it quotes what it does not like, and links with signatures."""
    return mask_text(_TOKEN.sub(MASK, words))


@dataclass(frozen=True, slots=True)
class ErrorTree:
    """`code` as CamelCase, "" where there is none; `inner` are `details` and `innererror` together, in their order."""

    code: str
    message: str
    target: str = ""
    inner: tuple[ErrorTree, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """All of the tree, from the root, each once."""
        return tuple(dict.fromkeys(code for each in self.walk() if (code := each.code)))

    def walk(self) -> tuple[ErrorTree, ...]:
        return (self, *(below for each in self.inner for below in each.walk()))

    def text(self) -> str:
        """Every code and message, one level of indent for each level of the tree; what is said twice is said once."""
        lines: list[str] = []
        self._lines(lines, 0, set())
        return "\n".join(lines)

    def _lines(self, lines: list[str], depth: int, said: set[tuple[str, str]]) -> None:
        deeper = depth
        if (self.code, self.message) not in said and (self.code or self.message):
            said.add((self.code, self.message))
            of = f" ({self.target})" if self.target else ""
            head = f"{self.code}{of}: {self.message}" if self.code and self.message else self.code + of or self.message
            if not self.code and self.message:
                head = self.message
            lines += [f"{'  ' * depth}{line}" for line in head.splitlines()]
            deeper = depth + 1
        for each in self.inner:
            each._lines(lines, deeper, said)


class ArmFailed(OperationFailed):
    """ARM, or an operation there, failed; `tree` is the error in full. Judge by its codes, never by the status alone:
    a failed operation is told with HTTP 200."""

    def __init__(self, tried: str, answer: str, advice: str = "", status: int | None = None) -> None:
        super().__init__(tried, answer, advice, status)
        self.tree = ErrorTree("", answer)

    @classmethod
    def of(cls, tried: str, tree: ErrorTree, *, status: int | None = None, note: str = "") -> ArmFailed:
        failed = cls(tried, "\n".join(part for part in (tree.text(), note) if part), _advice(tree), status)
        failed.tree = tree
        return failed


def tree_of(document: Any) -> ErrorTree | None:
    """Of {"error": {…}} or of the error itself; None where there is no error in it. `details` may be a list or one
    object, `innererror` may be text, and both may be null (ARM's common error format, RPC v1)."""
    if not isinstance(document, Mapping):
        return None
    left = [_MAX_NODES]
    if isinstance(document.get("error"), Mapping):
        return _tree(document["error"], 0, left)
    if isinstance(document.get("error"), str):  # a gateway's own: {"error": "…", "error_description": "…"}
        return ErrorTree(_text(document["error"]), _text(document.get("error_description")))
    if isinstance(document.get("odata.error"), Mapping):
        return _tree(document["odata.error"], 0, left)
    if document.get("code") or document.get("message"):
        return _tree(document, 0, left)
    return None


def refusal(tried: str, status: int, body: bytes, request_id: str = "") -> TritonctlError:
    """The exception for an answer of 400 or more."""
    tree = _of_body(body)
    if tree is None or not tree.text():
        tree = ErrorTree("", f"HTTP {status}" + _plain(body))
    if status == 404:
        return NotFound(tried, tree.text(), _advice(tree))
    if status in (401, 403):
        return Forbidden(tried, tree.text(), _advice(tree))
    note = f"request id for Microsoft's support: {request_id}" if status >= 500 and request_id else ""
    return ArmFailed.of(tried, tree, status=status, note=note)


def _of_body(body: bytes) -> ErrorTree | None:
    try:
        return tree_of(json.loads(body)) if body else None
    except (ValueError, RecursionError):
        return None


def _plain(body: bytes) -> str:
    text = hygienic(" ".join(body[:2000].decode("utf-8", "replace").split()))
    return f": {text[:300]}" if text else ""


def _tree(node: Mapping[str, Any], depth: int, left: list[int]) -> ErrorTree:
    left[0] -= 1
    inner: list[ErrorTree] = []
    for key in ("details", "innererror", "innerError", "errors"):
        below = node.get(key)
        for each in below if isinstance(below, list) else [below]:
            if left[0] <= 0 or depth >= _MAX_DEPTH:
                break
            if isinstance(each, Mapping):
                inner.append(_tree(each, depth + 1, left))
            elif isinstance(each, str) and each.strip():
                left[0] -= 1
                inner.append(ErrorTree("", _text(each)))
    inner += _additional(node.get("additionalInfo"), depth, left)
    return ErrorTree(_text(node.get("code")), _message(node.get("message")), _text(node.get("target")), tuple(inner))


# What Azure ML sends along with every error, and what tells nobody what to do.
_NOISE = ("ComponentName", "Correlation", "Environment", "Location", "Time", "MessageFormat", "MessageParameters")


def _additional(entries: Any, depth: int, left: list[int]) -> list[ErrorTree]:
    """Policies and quota tell the useful part here: [{"type": "PolicyViolation", "info": {…}}], and Azure ML its
    chain of codes: [{"type": "InnerError", "info": {"value": {"code", "innerError"}}}]."""
    found = []
    for each in entries[:20] if isinstance(entries, list) else []:
        if not isinstance(each, Mapping) or not each.get("info") or each.get("type") in _NOISE:
            continue
        if left[0] <= 0 or depth >= _MAX_DEPTH:
            break
        info = each["info"]
        if each.get("type") == "InnerError" and isinstance(info, Mapping) and isinstance(info.get("value"), Mapping):
            found.append(_tree(info["value"], depth + 1, left))
            continue
        left[0] -= 1
        said = info if isinstance(info, str) else json.dumps(info, ensure_ascii=False, default=str)
        found.append(ErrorTree(_text(each.get("type")), _text(said)))
    return found


def _message(value: Any) -> str:
    return _text(value.get("value")) if isinstance(value, Mapping) else _text(value)  # odata: {"lang", "value"}


def _text(value: Any) -> str:
    return hygienic(str(value)[:_MAX_MESSAGE].strip()) if isinstance(value, str | int | float) else ""


_ADVICE = {
    "AuthorizationFailed": "ask the subscription's owner for a role that has this action at this scope; after a grant "
    "sign in again",
    "LinkedAuthorizationFailed": "the resource that it refers to needs a role as well: see the action in the message",
    "SubscriptionNotFound": "check the subscription id and the tenant you are signed in to: az account list -o table",
    "ResourceGroupNotFound": "check the resource group's name: az group list -o table",
    "ResourceNotFound": "check its name; it may have been deleted",
    "ParentResourceNotFound": "what it belongs to is gone: check the name of the workspace and of the endpoint",
    "MissingSubscriptionRegistration": "az provider register --namespace PROVIDER, as the message names it",
    "ResourceGroupBeingDeleted": "wait until the resource group is gone, or use another one",
    "ScopeLocked": "a lock forbids it: az lock list tells which, and who may remove it",
    "RequestDisallowedByPolicy": "an Azure Policy forbids it: the message names the assignment",
    "Conflict": "another operation is under way on it: wait until it is done",
    "OperationNotAllowed": "it is in a state that does not allow this: look at its provisioning state",
    "AnotherOperationInProgress": "another operation is under way on it: wait until it is done",
    "TooManyRequests": "Azure throttles: wait, and list less often",
    "SubscriptionRequestsThrottled": "Azure throttles this subscription: wait, and list less often",
    "InvalidAuthenticationTokenTenant": 'sign in to the tenant of the subscription, or name it with tenant = "…"',
}


def _advice(tree: ErrorTree) -> str:
    return next((_ADVICE[code] for code in tree.codes if code in _ADVICE), "")
