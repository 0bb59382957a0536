"""What a lint rule is handed, and what it tells: a model as it lies on disk, where it shall run, a problem."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

CONFIG = "config.pbtxt"


class Severity(StrEnum):
    ERROR = "error"  # Triton refuses the model, or it cannot work
    WARNING = "warning"  # it loads, and does not do what was meant
    NOTE = "note"  # worth knowing


@dataclass(frozen=True, slots=True)
class Problem:
    """`rule` is the id of a catalogue entry; `line` and `column` are 0 where the file as a whole is meant."""

    rule: str
    severity: Severity
    path: str
    text: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.severity} {self.rule} {self.text}"


@dataclass(frozen=True, slots=True)
class Target:
    """What is known of where it shall run; None is not known."""

    gpus: int | None = None
    gpu_memory_bytes: int | None = None
    cache: bool | None = None  # the server is started with --cache-config


@dataclass(frozen=True)
class ModelFolder:
    """A model as it lies on disk. `config` is the parsed message, None without a readable config.pbtxt."""

    folder: Path
    config: Any
    text: str
    versions: tuple[int, ...]
    ignored: tuple[str, ...]  # folders that look like versions and are none

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def path(self) -> str:
        return str(self.folder / CONFIG)

    @property
    def backend(self) -> str:
        """By name: of platforms the backend behind them, "" where none is named."""
        if self.config is None:
            return ""
        platform = str(self.config.platform)
        return str(self.config.backend) or _PLATFORMS.get(platform, platform)

    def line_of(self, words: str) -> int:
        """The line of config.pbtxt that holds these words first; 0 where none does."""
        place = re.search(rf"\b{re.escape(words)}\b", self.text)
        return self.text.count("\n", 0, place.start()) + 1 if place else 0

    def problem(self, rule: str, severity: Severity, text: str, words: str = "") -> Problem:
        return Problem(rule, severity, self.path, text, self.line_of(words) if words else 0, 1 if words else 0)


_PLATFORMS = {
    "tensorrt_plan": "tensorrt",
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
    "ensemble": "ensemble",
}
