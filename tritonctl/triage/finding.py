"""What triage concludes: a cause with its evidence, how sure it is, and what to do next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from tritonctl.triage.stages import Stage


class Confidence(StrEnum):
    SURE = "sure"
    LIKELY = "likely"
    POSSIBLE = "possible"
    UNKNOWN = "unknown"  # nothing known matches: the evidence is shown, no cause is claimed


class Weight(IntEnum):
    """What a finding means for the service; the lower, the nearer to the headline."""

    FAILED = 0
    DEGRADED = 1
    CONSEQUENCE = 2  # it follows from another one
    NOTE = 3


@dataclass(frozen=True, slots=True)
class Quote:
    """The line or the value that proves it; `source` says where it stands."""

    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """`id` is that of its catalogue entry. Never without evidence."""

    id: str
    title: str
    cause: str
    confidence: Confidence
    evidence: tuple[Quote, ...]
    next_steps: tuple[str, ...]
    doc: str
    stage: Stage
    weight: Weight = Weight.FAILED
    model: str = ""
    replicas: tuple[str, ...] = ()
    stuck: bool = False
    rank: int = 50

    def __post_init__(self) -> None:
        if not self.evidence:
            raise ValueError(f"finding {self.id} without evidence")


_PROGRAMS = "tritonctl|kubectl|docker|az|pip|nvidia-smi|nvidia-ctk|ss|getent|curl|dmesg|systemctl"
_COMMAND = re.compile(rf"(?:^|: |\b(?:or|find it|see) )((?:{_PROGRAMS})\b.*)$")
_NAMES_AFTER = {"restart": 1, "load": 2, "unload": 2, "scale": 2, "logs": 1, "models": 1, "describe": 1, "events": 1}


def command_of(step: str) -> str:
    """What of a step can be pasted into a shell: without the words before, and those after tritonctl's own commands."""
    found = _COMMAND.search(step)
    if found is None:
        return ""
    command = found[1].partition("; then")[0].strip()
    words = command.split(" ")
    if words[0] == "tritonctl" and len(words) > 1 and words[1] in _NAMES_AFTER:
        count = 2 + _NAMES_AFTER[words[1]]
        while len(words) > count and words[count].startswith("-"):
            count += 1
        if not any("'" in word for word in words[:count]):  # a name in quotes may have blanks in it
            words = words[:count]
    return " ".join(words).rstrip(",;")


_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def filled(template: str, values: Mapping[str, str]) -> str:
    """`{name}` filled in; what is not known stays readable, as NAME. Never str.format: catalogues come from outside."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1]) or found[1].upper(), template)
