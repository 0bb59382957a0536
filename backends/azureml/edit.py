"""Changes of a deployment's document that lose no field of it, also none that this version knows nothing of.

Microsoft's own client reads a deployment into a class of its own and sends that back: modelMountPath, identity and
whatever is new in Azure are gone then (measured with azure-ai-ml 1.35.2). Here the JSON itself is edited.
"""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as kept_as
from typing import Any

from backends.azure.fields import mapping
from backends.azureml.fields import duration_of, seconds_of
from backends.secrets import MASK, is_secret, mask
from tritonctl.errors import UsageError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PROBE = {
    "initial_delay": ("initialDelay", True),
    "period": ("period", True),
    "timeout": ("timeout", True),
    "success": ("successThreshold", False),
    "failure": ("failureThreshold", False),
}
_REQUESTS = {"timeout": ("requestTimeout", True), "concurrent": ("maxConcurrentRequestsPerInstance", False)}
_PARTS = {"requests": "requestSettings", "liveness": "livenessProbe", "readiness": "readinessProbe"}
# Azure's own limits (managed and Kubernetes online deployment YAML references).
_MOST_TIMEOUT_S = {"Managed": 180.0, "Kubernetes": 300.0}
KEYS = (
    "env.NAME=VALUE, env.NAME- (take it away), requests.timeout=SECONDS, requests.concurrent=N, "
    "liveness.KEY=… and readiness.KEY=… with initial_delay, period, timeout (seconds), failure, success"
)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change: `part` and `field` of the document, the value as Azure writes it; None takes it away."""

    key: str
    part: str
    field: str
    value: str | int | None = kept_as(repr=False)

    @property
    def shown(self) -> str:
        """As it is typed, with a secret's value hidden."""
        name = self.key.partition(".")[2]
        if self.value is None:
            return f"{self.key}-"
        if self.part == "environmentVariables":
            return f"{self.key}={mask(name, str(self.value))}"
        seconds = seconds_of(self.value)
        return f"{self.key}={self.value if seconds is None else f'{seconds:g}'}"

    @property
    def hidden(self) -> bool:
        """Whether `shown` does not tell the value, all of it or a part."""
        return (
            self.part == "environmentVariables"
            and self.value is not None
            and is_secret(self.key.partition(".")[2], str(self.value))
        )

    @property
    def az(self) -> str:
        """What `az ml online-deployment update` takes after --set, or after --remove, as a shell does."""
        if self.value is None:
            return self._az_name
        if self.part == "environmentVariables":
            return shlex.quote(f"environment_variables.{self.shown.removeprefix('env.')}")
        seconds = seconds_of(self.value)
        if seconds is not None and self.key == "requests.timeout":
            return f"{self._az_name}={round(seconds * 1000)}"
        return f"{self._az_name}={self.value if seconds is None else f'{seconds:g}'}"

    @property
    def _az_name(self) -> str:
        part, _, field = self.key.partition(".")
        if part == "env":
            return f"environment_variables.{self.field}"
        if part == "requests":
            words = "request_timeout_ms" if field == "timeout" else "max_concurrent_requests_per_instance"
            return f"request_settings.{words}"
        return f"{part}_probe.{field}{'_threshold' if field in ('success', 'failure') else ''}"


def parse(words: Sequence[str], compute_type: str) -> list[Edit]:
    """The edits that were typed. Raises UsageError for what there is no setting of, or what Azure would refuse."""
    if not words:
        raise UsageError("set", "nothing to change was named", f"there is {KEYS}")
    edits = [_edit(word, compute_type) for word in words]
    twice = next((each.key for place, each in enumerate(edits) if each.key in [one.key for one in edits[:place]]), None)
    if twice:
        raise UsageError("set", f"{twice} is named twice")
    return edits


def _edit(word: str, compute_type: str) -> Edit:
    key, equals, value = word.partition("=")
    part, _, field = key.partition(".")
    gone = not equals and key.endswith("-")
    if gone:
        key, field = key[:-1], field[:-1]
    if part == "env":
        if not _NAME.fullmatch(field):
            raise UsageError(f"set {key}", f"{field!r} is no name of a variable", "letters, digits and _")
        if not equals and not gone:
            raise UsageError(f"set {key}", "it has no value", f"{key}=VALUE, or {key}- to take it away")
        if value == MASK:
            advice = f"{MASK} stands for a value that is not shown: give the value itself"
            raise UsageError(f"set {key}", f"{MASK} is no value", advice)
        return Edit(key, "environmentVariables", field, None if gone else value)
    fields = _REQUESTS if part == "requests" else _PROBE if part in _PARTS else {}
    if field not in fields:
        raise UsageError(f"set {key}", "there is no such setting", f"there is {KEYS}")
    name, timed = fields[field]
    if gone or not equals:
        raise UsageError(f"set {key}", "it needs a value", f"{key}={'SECONDS' if timed else 'N'}")
    number = _number(key, value, whole=not timed)
    most = _MOST_TIMEOUT_S.get(compute_type, 300.0)
    if key == "requests.timeout" and number > most:
        advice = "a longer answer needs a batch endpoint, or a model that answers at once and computes after"
        raise UsageError(f"set {key}", f"Azure lets no request take more than {most:g} s here", advice)
    return Edit(key, _PARTS[part], name, duration_of(number) if timed else int(number))


def _number(key: str, value: str, *, whole: bool) -> float:
    try:
        number = float(value.removesuffix("s"))
    except ValueError:
        raise UsageError(f"set {key}", f"{value!r} is no number", "seconds, such as 90" if not whole else "") from None
    if not 1 <= number <= 1_000_000 or (whole and number != int(number)):
        raise UsageError(f"set {key}", f"{value!r} is out of range: a number of at least 1")
    return number


def applied(document: Mapping[str, Any], edits: Sequence[Edit]) -> dict[str, Any]:
    """The whole document to send, with these changes and nothing else that the caller could have changed: only what the
    service itself writes (`systemData`, `provisioningState`) is left out."""
    changed: dict[str, Any] = copy.deepcopy(dict(document))
    changed.pop("systemData", None)
    properties = dict(mapping(changed, "properties"))
    properties.pop("provisioningState", None)
    changed["properties"] = properties
    for edit in edits:
        part = dict(mapping(properties, edit.part))
        if edit.value is None:
            part.pop(edit.field, None)
        else:
            part[edit.field] = edit.value
        properties[edit.part] = part
    return changed


def az_words(edits: Sequence[Edit]) -> str:
    """What `az ml online-deployment update` takes for them."""
    kept, gone = ([each.az for each in edits if (each.value is None) is away] for away in (False, True))
    return " ".join([*(["--set", *kept] if kept else []), *(["--remove", *gone] if gone else [])])


def undo_words(service: str, back: Sequence[Edit]) -> str:
    """The command that takes edits back, with `back` as `backwards` tells it. A hidden value is in no command: with
    its mask in the value's place the command would put the mask where the secret was."""
    told = shlex.join(each.shown for each in back if not each.hidden)
    hidden = ", ".join(each.key for each in back if each.hidden)
    command = f"tritonctl set {service} {told}" if told else ""
    if not hidden:
        return command
    lost = f"what {hidden} was is hidden and not kept here: it must be set again by who knows it"
    return f"{command}   ({lost})" if command else lost


def backwards(document: Mapping[str, Any], edits: Sequence[Edit]) -> list[Edit]:
    """What takes the edits back. Of a setting that was not there before nothing does: Azure's default is in force when
    it is not there, and `set` takes none away."""
    found = []
    for edit in edits:
        before = mapping(mapping(document, "properties"), edit.part).get(edit.field)
        if before is None and edit.part != "environmentVariables":
            continue
        found.append(Edit(edit.key, edit.part, edit.field, before if isinstance(before, str | int) else None))
    return found


def differs(document: Mapping[str, Any], edit: Edit) -> bool:
    """Whether the edit changes anything: durations are compared as such, since Azure rewrites them."""
    before = mapping(mapping(document, "properties"), edit.part).get(edit.field)
    timed = seconds_of(edit.value) if edit.part != "environmentVariables" else None
    if timed is not None:
        return seconds_of(before) != timed
    return bool(before != edit.value)


def with_traffic(
    document: Mapping[str, Any], traffic: Mapping[str, int], mirror: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """An endpoint's document with these shares; `mirror` None leaves what is copied as it is."""
    changed = applied(document, ())
    changed["properties"]["traffic"] = dict(traffic)
    if mirror is not None:
        changed["properties"]["mirrorTraffic"] = dict(mirror)
    return changed
