"""Checks model repositories before they are deployed: reads them once, runs every rule, tells file and line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritonctl.errors import UsageError
from tritonctl.triage import lint_ensembles, lint_models
from tritonctl.triage.lint_ground import CONFIG, ModelFolder, Problem, Severity, Target

_CONFIG_BYTES = 4 * 1024 * 1024
_MODELS = 10_000


def lint(repositories: Sequence[Path], target: Target | None = None) -> tuple[Problem, ...]:
    """Everything wrong with these repositories, the worst first. Raises UsageError for what is no folder."""
    target = target or Target()
    problems: list[Problem] = []
    models: list[ModelFolder] = []
    closed: list[ModelFolder] = []  # that they are there is all that is known of them
    seen: dict[str, Path] = {}
    for root in repositories:
        for folder in _folders(root):
            try:
                model = _read(folder, problems)
            except OSError as error:
                problems.append(_unreadable(folder, error))
                closed.append(ModelFolder(folder, None, "", (), ()))
                continue
            if model is None:
                continue
            if folder.name in seen:
                text = f"{folder.name} is in {seen[folder.name]} too: neither is served"
                problems.append(Problem("L22", Severity.ERROR, str(folder), text))
            seen.setdefault(folder.name, root)
            models.append(model)
    for model in models:
        for rule in lint_models.RULES:
            try:
                problems += rule(model, target)
            except OSError as error:
                problems.append(_unreadable(model.folder, error))
    problems = list(dict.fromkeys(problems))  # several rules look into a folder that is closed to all of them
    problems += lint_ensembles.check([*models, *closed])
    problems += lint_models.shared_memory(models)
    order = list(Severity)
    return tuple(sorted(problems, key=lambda each: (order.index(each.severity), each.path, each.line, each.rule)))


def _unreadable(folder: Path, error: OSError) -> Problem:
    path = str(error.filename or folder)
    text = f"it cannot be read: {error.strerror or error}; a server of the same user cannot read it either"
    return Problem("L2", Severity.ERROR, path, text)


def _folders(root: Path) -> list[Path]:
    try:
        found = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError as error:
        raise UsageError(
            f"lint {root}", error.strerror or "it cannot be read", "give the folder above the models"
        ) from None
    if (root / CONFIG).exists() and found and all(path.name.isdigit() for path in found):
        raise UsageError(
            f"lint {root}", "this is a model, not a repository", f"give the folder above it: {root.parent}"
        )
    return found[:_MODELS]


def _read(folder: Path, problems: list[Problem]) -> ModelFolder | None:
    """None for a folder that is no model, and is said to be none."""
    path = folder / CONFIG
    inside = sorted(each.name for each in folder.iterdir() if each.is_dir())
    versions = tuple(int(name) for name in inside if name.isdigit() and not name.startswith("0"))
    looks_like_model = path.exists() or bool(versions)
    if folder.name.startswith(".") or folder.name in ("lost+found", "__pycache__") or not looks_like_model:
        text = f"{folder.name} is no model: no {CONFIG} and no version folder"
        problems.append(Problem("L24", Severity.WARNING, str(folder), text))
        return None
    ignored = tuple(name for name in inside if not _is_version(name) and (name.isdigit() or name.startswith(".ipynb")))
    text, config = "", None
    if path.exists():
        try:
            with path.open("rb") as file:
                text = file.read(_CONFIG_BYTES).decode("utf-8", "replace")
        except OSError as error:
            problems.append(Problem("L2", Severity.ERROR, str(path), error.strerror or "it cannot be read"))
        else:
            config = _parsed(path, text, problems)
    return ModelFolder(folder, config, text, versions, ignored)


def _is_version(name: str) -> bool:
    return name.isdigit() and not name.startswith("0")


def _parsed(path: Path, text: str, problems: list[Problem]) -> Any:
    """The message, or None with a problem that names line and column, or the rule that says it better."""
    from google.protobuf import text_format

    from tritonctl.server import grpc_channel

    grpc_channel.load()  # the messages' package imports gRPC, which must be told to be quiet before
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        words = str(error)
        place = re.match(r"(\d+):(\d+) : (?:'.*?': )?(.*)", words, re.DOTALL)
        line, column = (int(place[1]), int(place[2])) if place else (error.GetLine() or 0, error.GetColumn() or 0)
        said = (place[3] if place else words).strip()
        rule = "L8" if "oneof" in words else "L2"
        problems.append(Problem(rule, Severity.ERROR, str(path), said[:400], line, column))
        return None
