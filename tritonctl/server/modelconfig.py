"""A model's schema and configuration, out of the JSON documents that the server gives for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tritonctl.server import imagehints
from tritonctl.server.tensors import FLOATS, TensorSpec, datatype_of

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InstanceGroup:
    """`kind` is cpu, gpu, model or auto; `gpus` empty: all that the server sees."""

    kind: str
    count: int
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DynamicBatching:
    preferred_batch_sizes: tuple[int, ...]
    max_queue_delay_us: int
    max_queue_size: int  # 0: unbounded
    default_timeout_us: int  # 0: none


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """What a model takes, gives and how it is run. Shapes include the batch dimension, as a request must."""

    name: str
    versions: tuple[str, ...]
    platform: str
    backend: str
    max_batch_size: int  # 0: the model does not batch
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    decoupled: bool
    ensemble_members: tuple[str, ...]
    instance_groups: tuple[InstanceGroup, ...]
    dynamic_batching: DynamicBatching | None
    sequence_batching: bool
    response_cache: bool
    version_policy: str


def schema(metadata: Document, config: Document) -> ModelSchema:
    """From GET /v2/models/M and GET /v2/models/M/config; what one of them leaves out is taken from the other."""
    max_batch_size = _int(config.get("max_batch_size"))
    return ModelSchema(
        name=str(metadata.get("name") or config.get("name") or ""),
        versions=tuple(str(each) for each in _list(metadata, "versions")),
        platform=str(config.get("platform") or metadata.get("platform") or ""),
        backend=str(config.get("backend") or ""),
        max_batch_size=max_batch_size,
        inputs=_specs(metadata, config, "input", max_batch_size),
        outputs=_specs(metadata, config, "output", max_batch_size),
        decoupled=bool(_dict(config, "model_transaction_policy").get("decoupled")),
        ensemble_members=ensemble_members(config),
        instance_groups=tuple(_instance_group(each) for each in _dicts(config, "instance_group")),
        dynamic_batching=_dynamic_batching(config),
        sequence_batching="sequence_batching" in config,
        response_cache=bool(_dict(config, "response_cache").get("enable")),
        version_policy=_version_policy(_dict(config, "version_policy")),
    )


def ensemble_members(config: Document) -> tuple[str, ...]:
    """The models that an ensemble's steps use, each once, in their order; none for another model."""
    steps = _dicts(_dict(config, "ensemble_scheduling"), "step")
    return tuple(dict.fromkeys(str(step["model_name"]) for step in steps if step.get("model_name")))


def _specs(metadata: Document, config: Document, kind: str, max_batch_size: int) -> tuple[TensorSpec, ...]:
    configured = {str(each.get("name")): each for each in _dicts(config, kind)}
    described = _dicts(metadata, f"{kind}s")
    batched = max_batch_size > 0
    found: list[TensorSpec] = []
    for each in described:
        name = str(each.get("name"))
        shape = tuple(_int(size) for size in _list(each, "shape"))
        spec = _spec(name, str(each.get("datatype")), shape, batched, configured.get(name, {}))
        found.append(_with_image(spec, metadata, config) if kind == "input" else spec)
    for name, each in configured.items():
        if not described:
            reshaped = _list(each, "dims")
            shape = ((-1,) if batched else ()) + tuple(_int(size) for size in reshaped)
            found.append(_spec(name, datatype_of(str(each.get("data_type"))), shape, batched, each))
    return tuple(found)


def _spec(name: str, datatype: str, shape: tuple[int, ...], batched: bool, configured: Document) -> TensorSpec:
    return TensorSpec(
        name,
        datatype,
        shape,
        optional=bool(configured.get("optional")),
        batched=batched and bool(shape),
        labels=str(configured["label_filename"]) if configured.get("label_filename") else None,
        format=str(configured.get("format") or "").replace("FORMAT_NONE", ""),
    )


def _with_image(spec: TensorSpec, metadata: Document, config: Document) -> TensorSpec:
    """Only what has the rank of an image; a family is only guessed for floats of three channels."""
    rank = len(spec.shape) - spec.batched
    if rank not in (2, 3) and not (rank == 4 and not spec.batched):
        return spec
    if told := imagehints.of_parameters(config, spec.name):
        return replace(spec, image=told, image_by="its parameters")
    model = str(metadata.get("name") or config.get("name") or "")
    family = imagehints.of_name(model)
    if family and spec.datatype in FLOATS and 3 in spec.shape[spec.batched :]:
        return replace(spec, image=family, image_by="models of its name")
    return spec


def _instance_group(group: Document) -> InstanceGroup:
    kind = str(group.get("kind", "KIND_AUTO")).removeprefix("KIND_").lower()
    return InstanceGroup(kind, _int(group.get("count")), tuple(_int(each) for each in _list(group, "gpus")))


def _dynamic_batching(config: Document) -> DynamicBatching | None:
    if "dynamic_batching" not in config:
        return None
    settings = _dict(config, "dynamic_batching")
    queue = _dict(settings, "default_queue_policy")
    return DynamicBatching(
        tuple(_int(each) for each in _list(settings, "preferred_batch_size")),
        _int(settings.get("max_queue_delay_microseconds")),
        _int(queue.get("max_queue_size")),
        _int(queue.get("default_timeout_microseconds")),
    )


def _version_policy(policy: Document) -> str:
    if "all" in policy:
        return "all"
    if "specific" in policy:
        return "specific " + ", ".join(str(each) for each in _list(_dict(policy, "specific"), "versions"))
    return f"latest {_int(_dict(policy, 'latest').get('num_versions')) or 1}"


# The documents come from outside: what is not of the expected type is taken as not there.


def _int(value: object) -> int:
    """JSON numbers; proxies from gRPC write 64-bit numbers as text."""
    try:
        return int(value) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0


def _list(document: Document, key: str) -> list[Any]:
    value = document.get(key)
    return value if isinstance(value, list) else []


def _dict(document: Document, key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _dicts(document: Document, key: str) -> list[dict[str, Any]]:
    return [each for each in _list(document, key) if isinstance(each, dict)]


# As text. By hand and not by protobuf's text_format, which costs an import of 130 ms, writes no line that reads like
# the documentation's, and refuses a field that a newer server has; the tests parse it back with protobuf.

_MAPS = frozenset(
    {"parameters", "input_map", "output_map", "cc_model_filenames", "metric_tags", "inputs", "input"}
    | {"priority_queue_policy"}
)
_ENUMS = frozenset({"data_type", "format", "kind", "priority", "timeout_action"})
# 64-bit numbers, which JSON made by protobuf writes as text (Triton's core turns most of them back into numbers).
_INT64 = frozenset(
    {"default_priority_level", "default_timeout_microseconds", "device_id", "dim", "dims", "model_version", "shape"}
    | {"max_queue_delay_microseconds", "max_sequence_idle_microseconds", "priority_levels", "versions"}
)
_DEFAULTS = frozenset({"FORMAT_NONE", "KIND_AUTO", "TYPE_INVALID", "PRIORITY_DEFAULT", "REJECT"})
# Empty ones that mean something: members of a oneof.
_MEANT_EMPTY = frozenset({"dynamic_batching", "sequence_batching", "ensemble_scheduling", "direct", "oldest", "all"})


def as_text(config: Document) -> str:
    """The configuration as config.pbtxt would say it; fields at their defaults are left out. Unknown ones are kept."""
    return "\n".join(_fields(config, ""))


def _fields(message: Document, indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in message.items():
        lines.extend(_field(key, value, indent))
    return lines


def _field(key: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, dict):
        if key in _MAPS:
            return [line for item in value.items() for line in _map_entry(key, *item, indent)]
        inner = _fields(value, indent + "  ")
        if inner:
            return [f"{indent}{key} {{", *inner, f"{indent}}}"]
        return [f"{indent}{key} {{ }}"] if key in _MEANT_EMPTY else []
    if isinstance(value, list):
        return _repeated(key, value, indent) if value else []
    if not value or (key in _ENUMS and value in _DEFAULTS) or (key in _INT64 and value == "0"):
        return []
    return [f"{indent}{key}: {_scalar(key, value)}"]


def _map_entry(key: str, name: str, value: Any, indent: str) -> list[str]:
    # Keys of priority_queue_policy are numbers.
    shown = name if key == "priority_queue_policy" else _quoted(name)
    if isinstance(value, dict):
        body = [f"{indent}  value {{", *_fields(value, indent + "    "), f"{indent}  }}"]
    else:
        body = [f"{indent}  value: {_scalar('value', value)}"]
    return [f"{indent}{key} {{", f"{indent}  key: {shown}", *body, f"{indent}}}"]


def _repeated(key: str, values: list[Any], indent: str) -> list[str]:
    if not any(isinstance(each, dict) for each in values):
        return [f"{indent}{key}: [ {', '.join(_scalar(key, each) for each in values)} ]"]
    lines = [f"{indent}{key} ["]
    for index, each in enumerate(values):
        body = _fields(each, indent + "    ") if isinstance(each, dict) else []
        lines += [f"{indent}  {{", *body, f"{indent}  }}{',' if index < len(values) - 1 else ''}"]
    return [*lines, f"{indent}]"]


def _scalar(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        bare = (key in _ENUMS and value.isidentifier()) or (key in _INT64 and value.lstrip("-").isdecimal())
        return value if bare else _quoted(value)
    return str(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return '"' + "".join(each if each.isprintable() else _octal(each) for each in escaped) + '"'


def _octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "replace"))
