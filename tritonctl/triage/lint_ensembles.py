"""The lint rules that look across models: an ensemble against its members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tritonctl.triage.lint_ground import ModelFolder, Problem, Severity


def check(models: Sequence[ModelFolder]) -> Iterator[Problem]:
    """L16 for every ensemble among these models."""
    by_name = {model.name: model for model in models}
    for model in models:
        if model.config is not None and model.backend == "ensemble":
            yield from _ensemble(model, by_name)


def _ensemble(model: ModelFolder, by_name: dict[str, ModelFolder]) -> Iterator[Problem]:
    config = model.config
    if not config.ensemble_scheduling.step:
        yield model.problem("L16", Severity.ERROR, "no steps", "ensemble_scheduling")
    for field in ("instance_group", "model_warmup"):
        if len(getattr(config, field)):
            yield model.problem("L16", Severity.ERROR, f"an ensemble has no {field} of its own", field)
    if config.HasField("optimization"):
        yield model.problem("L16", Severity.ERROR, "an ensemble has no optimization of its own", "optimization")
    tensors: dict[str, tuple[int, tuple[int, ...]]] = {each.name: _signature(each) for each in config.input}
    produced = set(tensors)
    for step in config.ensemble_scheduling.step:
        member = by_name.get(step.model_name)
        if member is None:
            text = f"its member {step.model_name!r} is not in the repository"
            yield model.problem("L16", Severity.ERROR, text, step.model_name)
        elif member.config is not None:
            yield from _step(model, member, step, tensors)
        produced |= set(step.output_map.values())
    for name in [value for step in config.ensemble_scheduling.step for value in step.input_map.values()]:
        if name not in produced:
            yield model.problem("L16", Severity.ERROR, f"nothing makes the tensor {name!r}", name)
    for each in config.output:
        if each.name not in produced:
            yield model.problem("L16", Severity.ERROR, f"no step makes the output {each.name!r}", each.name)
        elif each.name in tensors and not _fit(tensors[each.name], _signature(each)):
            text = f"the output {each.name!r} has another type or shape than the step that makes it"
            yield model.problem("L16", Severity.ERROR, text, each.name)


def _step(
    model: ModelFolder, member: ModelFolder, step: Any, tensors: dict[str, tuple[int, tuple[int, ...]]]
) -> Iterator[Problem]:
    config = model.config
    least = member.config.max_batch_size
    if config.max_batch_size > least:
        text = f"max_batch_size {config.max_batch_size} is above that of its member {member.name} ({least})"
        yield model.problem("L16", Severity.ERROR, text, "max_batch_size")
    inputs = {each.name: each for each in member.config.input}
    outputs = {each.name: each for each in member.config.output}
    batched = config.max_batch_size > 0
    for key, name in step.input_map.items():
        if inputs and key not in inputs:
            yield model.problem("L16", Severity.ERROR, f"{member.name} has no input {key!r}", key)
        elif key in inputs and name in tensors:
            wanted = _signature(inputs[key], strip=not batched and least > 0)
            if not _fit(tensors[name], wanted):
                text = f"{name!r} does not fit the input {key!r} of {member.name} in type or shape"
                yield model.problem("L16", Severity.ERROR, text, name)
    for missing in sorted(name for name, each in inputs.items() if not each.optional and name not in step.input_map):
        yield model.problem("L16", Severity.ERROR, f"the step {member.name} gets no {missing!r}", step.model_name)
    for key, name in step.output_map.items():
        if outputs and key not in outputs:
            yield model.problem("L16", Severity.ERROR, f"{member.name} has no output {key!r}", key)
        elif key in outputs:
            tensors[name] = _signature(outputs[key], strip=not batched and least > 0)


def _signature(tensor: Any, *, strip: bool = False) -> tuple[int, tuple[int, ...]]:
    """Type and shape; with `strip` the shape is given with the batch dimension that the member adds."""
    dims = tuple(tensor.dims)
    return int(tensor.data_type), ((-1, *dims) if strip else dims)


def _fit(one: tuple[int, tuple[int, ...]], other: tuple[int, tuple[int, ...]]) -> bool:
    if one[0] != other[0]:
        return False
    if not one[1] or not other[1] or len(one[1]) != len(other[1]):
        return not one[1] or not other[1]
    return all(a == b or -1 in (a, b) for a, b in zip(one[1], other[1], strict=True))
