"""Answers written to files, for the next model or another program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tritonctl.errors import UsageError
from tritonctl.server.answer import document
from tritonctl.server.request import InferenceAnswer
from tritonctl.workbench.case import write_tensor


def save_outputs(path: Path, model: str, got: Sequence[InferenceAnswer]) -> list[Path]:
    """A .json holds the whole answer; a .npy the only output; anything else is a directory with a file per output.

    Raises UsageError.
    """
    outputs = [output for answer in got for output in answer.outputs]
    try:
        if path.suffix == ".json":
            path.write_text(json.dumps(document(model, got), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
            return [path]
        if path.suffix == ".npy":
            if len(outputs) != 1 or outputs[0].datatype == "BYTES":
                raise UsageError(f"save {path}", "a .npy holds one output of numbers", "give a directory")
            return [write_tensor(path.parent, path.stem, outputs[0])]
        path.mkdir(parents=True, exist_ok=True)
        names = [_file_name(output.name) for output in outputs]
        stems = [name if names.count(name) == 1 else f"{name}-{index}" for index, name in enumerate(names)]
        return [write_tensor(path, stem, output) for stem, output in zip(stems, outputs, strict=True)]
    except OSError as error:
        raise UsageError(f"save {path}", str(error.strerror or error)) from None


def _file_name(name: str) -> str:
    """A foreign name as the name of a file: no path, nothing hidden, at most 60 characters."""
    kept = "".join(each if each.isascii() and (each.isalnum() or each in "-_.") else "_" for each in name)[:60]
    return kept.lstrip(".") or "_"
