"""A pod template's command and arguments: which servers they start, and the same with another control mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.kubernetes.client.objects import labels, mapping, rows, text, texts
from tritonctl.inventory import ControlMode
from tritonctl.server import options
from tritonctl.server.options import ServerOptions

_PROGRAM = "tritonserver"
_FLAGS = ("--model-repository", "--model-store", "--model-control-mode", "--load-model")


@dataclass(frozen=True, slots=True)
class Launch:
    """How one container starts. `command` and `args` as they stand there; None: the image's own."""

    container: str
    command: tuple[str, ...] | None
    args: tuple[str, ...] | None
    environ: Mapping[str, str]

    @property
    def _flags_only(self) -> bool:
        """The arguments are tritonserver's own: it is the image's entry point."""
        given = self.command is None and self.args is not None
        return given and any(each.partition("=")[0] in _FLAGS for each in self.args or ())

    @property
    def argv(self) -> tuple[str, ...]:
        """With the program's name where only the image says it."""
        return (*((_PROGRAM,) if self._flags_only else ()), *(self.command or ()), *(self.args or ()))

    @property
    def servers(self) -> tuple[ServerOptions, ...]:
        return options.servers_of(self.argv, self.environ)

    def with_mode(self, mode: ControlMode, load: Sequence[Sequence[str]]) -> Launch:
        """Raises ValueError, with the reason, where the flags are out of reach."""
        command = self.command or ()
        # Marked, so that what comes out can be told apart again.
        marked = [*((_Word(_PROGRAM),) if self._flags_only else ()), *map(_Word, command), *(self.args or ())]
        changed = options.with_mode(marked, mode, load, self.environ)
        if self._flags_only:
            return Launch(self.container, None, tuple(map(str, changed[1:])), self.environ)
        if self.command is None or self.args is None:
            same = tuple(map(str, changed))
            if self.command is None:
                return Launch(self.container, None, same, self.environ)
            return Launch(self.container, same, None, self.environ)
        if len(changed) == len(marked):  # a shell string was changed where it stands
            end = len(command)
        else:
            end = max((place + 1 for place, each in enumerate(changed) if isinstance(each, _Word)), default=0)
        return Launch(self.container, tuple(map(str, changed[:end])), tuple(map(str, changed[end:])), self.environ)

    def patch(self, before: Launch) -> dict[str, Any]:
        """What of the container differs from `before`, for a strategic merge patch."""
        entry: dict[str, Any] = {"name": self.container}
        if self.command != before.command:
            entry["command"] = list(self.command) if self.command is not None else None
        if self.args != before.args:
            entry["args"] = list(self.args) if self.args is not None else None
        return entry


class _Word(str):
    """A word of the command, not of the arguments."""


def read_launch(container: Mapping[str, Any]) -> Launch:
    environ = {text(each, "name"): text(each, "value") for each in rows(container, "env") if "valueFrom" not in each}
    return Launch(
        text(container, "name"),
        texts(container, "command") if container.get("command") else None,
        texts(container, "args") if container.get("args") else None,
        environ,
    )


def launches(pod_spec: Mapping[str, Any]) -> tuple[Launch, ...]:
    """Of every container, init containers left out."""
    return tuple(read_launch(each) for each in rows(pod_spec, "containers"))


def triton_launches(pod_spec: Mapping[str, Any]) -> tuple[Launch, ...]:
    return tuple(each for each in launches(pod_spec) if each.servers)


def template_of(document: Mapping[str, Any]) -> dict[str, Any]:
    return mapping(mapping(document, "spec"), "template")


def selector_of(document: Mapping[str, Any]) -> str:
    """A workload's own label selector, as a query has it."""
    selector = mapping(mapping(document, "spec"), "selector")
    parts = [f"{name}={value}" for name, value in labels(selector, "matchLabels").items()]
    for each in rows(selector, "matchExpressions"):
        key, operator, values = text(each, "key"), text(each, "operator"), ",".join(texts(each, "values"))
        parts += {
            "In": [f"{key} in ({values})"],
            "NotIn": [f"{key} notin ({values})"],
            "Exists": [key],
            "DoesNotExist": [f"!{key}"],
        }.get(operator, [])
    return ",".join(parts)


def matches(selector: Mapping[str, Any], marks: Mapping[str, str]) -> bool:
    """Whether a label selector (matchLabels, matchExpressions) takes an object with these labels. An empty one takes
    all."""
    if any(marks.get(name) != value for name, value in labels(selector, "matchLabels").items()):
        return False
    for each in rows(selector, "matchExpressions"):
        key, values = text(each, "key"), texts(each, "values")
        fits = {
            "In": marks.get(key) in values,
            "NotIn": marks.get(key) not in values,
            "Exists": key in marks,
            "DoesNotExist": key not in marks,
        }.get(text(each, "operator"), False)
        if not fits:
            return False
    return True
