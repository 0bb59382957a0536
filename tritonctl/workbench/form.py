"""A test request as it is filled in: texts of a person, which become the tensors of one model's schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from tritonctl.errors import TritonctlError, UsageError
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.request import InferenceRequest, Parameter, WantedOutput
from tritonctl.server.tensors import Tensor, TensorSpec, fitting_shape, ones, random, zeros
from tritonctl.server.typed import find_spec, parse_value, split_assignment

KINDS = ("random", "zeros", "ones")
_WORD = re.compile(r'[^\s="]+="(?:[^"\\]|\\.)*"(?!\S)|\S+')
"""NAME="a text", or what has no blanks."""
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")


@dataclass(frozen=True, slots=True)
class Made:
    """How values are made up: `kind` is one of KINDS; `between` is low and high of random numbers."""

    kind: str = "random"
    seed: int = 0
    between: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.kind != "random":
            return self.kind
        span = f" {self.between[0]:g} to {self.between[1]:g}" if self.between else ""
        return f"random{span}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Form:
    """`values` maps an input to what was typed for it: a value, @file, or :random, :random LOW,HIGH, :zeros, :ones.

    An input without one is made up by `made`, an optional one is left out. `shapes` decides free dimensions of what is
    made up; `batch` where neither a shape nor another input's value does.
    """

    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    made: Made = Made()
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))
    batch: int = 1
    version: str | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=lambda: MappingProxyType({}))
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Filled:
    """The tensors of the inputs that could be filled, and what is wrong with the others, by input; and with the form's
    own batch."""

    tensors: Mapping[str, Tensor]
    errors: Mapping[str, TritonctlError]
    wrong_batch: TritonctlError | None = None

    @property
    def all_errors(self) -> list[TritonctlError]:
        return [*([self.wrong_batch] if self.wrong_batch is not None else []), *self.errors.values()]


def fill(form: Form, schema: ModelSchema, given: Mapping[str, Tensor] | None = None) -> Filled:
    """Every input, in the schema's order; reads the files that are named. Blocks: a screen calls it in a thread.

    `given` are tensors that come from elsewhere; a value that was typed goes before them.
    """
    tensors: dict[str, Tensor] = {name: each for name, each in (given or {}).items() if name not in form.values}
    errors: dict[str, TritonctlError] = {}
    most = schema.max_batch_size if any(spec.batched for spec in schema.inputs) else 0
    wrong_batch = _too_many(f"batch {form.batch}", form.batch, most)
    if wrong_batch is not None:  # told once, and not again of each input that is made up in it
        form = replace(form, batch=1)
    for name in {**form.values, **form.shapes}:
        try:
            find_spec(schema.inputs, name)
        except UsageError as error:
            errors[name] = error
    for spec in schema.inputs:
        text = form.values.get(spec.name, "")
        if text and not text.startswith(":"):
            try:
                tensors[spec.name] = _in_batch(spec, parse_value(spec, text), form.batch)
            except TritonctlError as error:
                errors[spec.name] = error
    _check_given(schema, tensors, errors)
    batches = {len(tensors[spec.name].data) for spec in schema.inputs if spec.batched and spec.name in tensors}
    batch = batches.pop() if len(batches) == 1 else form.batch
    for spec in schema.inputs:
        text = form.values.get(spec.name, "")
        if spec.name in tensors or spec.name in errors or (spec.optional and not text):
            continue
        try:
            made = parse_made(text[1:], form.made) if text else form.made
            shape = form.shapes.get(spec.name)
            if shape is not None and spec.batched and (wrong := _too_many(_input(spec), _batch_of(spec, shape), most)):
                raise wrong
            tensors[spec.name] = make_up(spec, made, batch, shape)
        except TritonctlError as error:
            errors[spec.name] = error
    found = {spec.name: tensors[spec.name] for spec in schema.inputs if spec.name in tensors}
    return Filled(found, errors, wrong_batch)


def _check_given(schema: ModelSchema, tensors: dict[str, Tensor], errors: dict[str, TritonctlError]) -> None:
    """What was typed, read or brought along, against what the model takes; what does not fit is moved to `errors`."""
    first: tuple[str, int] | None = None
    for spec in schema.inputs:
        tensor = tensors.get(spec.name)
        if tensor is None:
            continue
        try:
            fitting_shape(spec, tensor.shape)
            if spec.batched:
                if wrong := _too_many(_input(spec), len(tensor.data), schema.max_batch_size):
                    raise wrong
                if first is not None and first[1] != len(tensor.data):
                    words = f"it has a batch of {len(tensor.data)}, and {first[0]} one of {first[1]}"
                    raise UsageError(_input(spec), words, "every input of a request has the same batch")
                first = first or (spec.name, len(tensor.data))
        except UsageError as error:
            del tensors[spec.name]
            errors[spec.name] = error


def _input(spec: TensorSpec) -> str:
    return f"input {spec.name!r}"


def _batch_of(spec: TensorSpec, shape: Sequence[int]) -> int:
    return shape[0] if len(shape) == len(spec.shape) else 1


def _too_many(what: str, batch: int, most: int) -> UsageError | None:
    """None where it is not more than a model with max_batch_size `most` takes; 0 is a model without batches."""
    if not most or batch <= most:
        return None
    return UsageError(what, f"a batch of {batch}, and the model takes at most {most}: its max_batch_size")


def _in_batch(spec: TensorSpec, tensor: Tensor, batch: int) -> Tensor:
    """One element is sent so many times as the batch that is asked for has. Raises UsageError where it has another."""
    if not spec.batched or batch == 1 or len(tensor.data) == batch:
        return tensor
    if len(tensor.data) != 1:
        raise UsageError(f"input {spec.name!r}", f"it has a batch of {len(tensor.data)}, and {batch} is asked for")
    return Tensor(tensor.name, tensor.datatype, tensor.data.repeat(batch, axis=0))


def make_up(spec: TensorSpec, made: Made, batch: int, shape: Sequence[int] | None) -> Tensor:
    if made.kind == "zeros":
        return zeros(spec, batch=batch, shape=shape)
    if made.kind == "ones":
        return ones(spec, batch=batch, shape=shape)
    return random(spec, seed=made.seed, batch=batch, shape=shape, between=made.between)


def parse_made(text: str, usual: Made) -> Made:
    """`random`, `random LOW,HIGH`, `zeros`, `ones`. Raises UsageError."""
    kind, _, rest = text.strip().partition(" ")
    if kind not in KINDS or (rest and kind != "random"):
        raise UsageError(f"value :{text}", "nothing is made up so", "one of :random, :random LOW,HIGH, :zeros, :ones")
    return Made(kind, usual.seed, parse_range(rest) if rest else usual.between)


def parse_range(text: str) -> tuple[float, float]:
    """LOW,HIGH. Raises UsageError."""
    low, comma, high = text.partition(",")
    try:
        found = float(low), float(high)
    except ValueError:
        found = (1.0, 0.0)
    if not comma or not found[0] <= found[1] or abs(found[0]) == float("inf") or abs(found[1]) == float("inf"):
        raise UsageError(f"range {text!r}", "expected LOW,HIGH", "such as 0,255 or -1,1")
    return found


def parse_shape(text: str) -> tuple[int, ...]:
    """2,3 or [2,3]. Raises UsageError."""
    words = [each for each in re.split(r"[,x\s]+", text.strip().strip("[]")) if each]
    scalar = text.strip() in ("", "[]")
    if not all(each.isascii() and each.isdigit() for each in words) or not (words or scalar):
        raise UsageError(f"shape {text!r}", "expected sizes apart by commas", "such as 1,3,224,224")
    return tuple(int(each) for each in words)


def shape_assignment(text: str) -> tuple[str, tuple[int, ...]]:
    """NAME=2,3. Raises UsageError."""
    name, value = split_assignment(text)
    if not value:
        raise UsageError(f"shape of {name!r}", "expected sizes apart by commas", f"such as {name}=1,3, or {name}=[]")
    return name, parse_shape(value)


def parse_parameter(text: str) -> tuple[str, Parameter]:
    """NAME=VALUE: true and false, whole numbers and other numbers are taken as such, "quoted" or else as text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"parameter {text!r}", "expected NAME=VALUE", "such as priority=1")
    found: Any = value
    if value in ("true", "false") or value.startswith('"') or re.fullmatch(r"-?\d+|-?\d*\.\d+(e-?\d+)?", value, re.I):
        try:
            found = json.loads(value)
        except ValueError:
            found = value
    if isinstance(found, int) and not isinstance(found, bool) and not -(2**63) <= found < 2**63:
        raise UsageError(f"parameter {name!r}", f"{value} does not fit into 64 bits")
    return name, found


def parse_parameters(line: str) -> dict[str, Parameter]:
    """NAME=VALUE, several apart by blanks; a text with blanks is quoted. Raises UsageError."""
    return dict(parse_parameter(word) for word in _WORD.findall(line))


def parameters_line(parameters: Mapping[str, Parameter]) -> str:
    """What parse_parameters takes back."""
    return " ".join(f"{name}={_written(value)}" for name, value in parameters.items())


def _written(value: Parameter) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    bare = not value.startswith('"') and not re.search(r"\s", value) and parse_parameter(f"x={value}")[1] == value
    return value if bare else json.dumps(value)


def line_of(form: Form) -> str:
    """What goes along, as `with_line` takes it: the parameters, and the request's id among them."""
    named = {"request_id": form.request_id} if form.request_id else {}
    return parameters_line({**form.parameters, **named})


def with_line(form: Form, line: str) -> Form:
    """Raises UsageError."""
    parameters = parse_parameters(line)
    typed = parameters.pop("request_id", "")
    if not isinstance(typed, str):  # an id is a text, whatever it looks like: 007 is not 7
        typed = next(word.partition("=")[2] for word in _WORD.findall(line) if word.startswith("request_id="))
    return replace(form, parameters=parameters, request_id=typed)


def as_request(
    form: Form, schema: ModelSchema, tensors: Mapping[str, Tensor], outputs: Sequence[WantedOutput] = ()
) -> InferenceRequest:
    """Raises UsageError where a sequence is needed and none is given, or begins or ends without its id."""
    marks = [name for name in _SEQUENCE[1:] if form.parameters.get(name)]
    if marks and not form.parameters.get("sequence_id") and not schema.sequence_batching:
        raise UsageError(f"model {schema.name!r}", f"{marks[0]} belongs to no sequence", "give sequence_id=1 with it")
    if schema.sequence_batching and not form.parameters.get("sequence_id"):
        raise UsageError(
            f"model {schema.name!r}",
            "it works on sequences: every request belongs to one",
            "give sequence_id=1 sequence_start=true with the first, sequence_end=true with the last",
        )
    return InferenceRequest(
        schema.name, tuple(tensors.values()), form.version, tuple(outputs), form.parameters, form.request_id
    )


def classes_of(schema: ModelSchema, top: int) -> tuple[WantedOutput, ...]:
    """All outputs, those with labels as their `top` classes; none where no output has labels: it is not needed then."""
    labelled = {spec.name for spec in schema.outputs if spec.labels and spec.datatype not in ("BYTES", "BOOL")}
    if not labelled or top < 1:
        return ()
    return tuple(WantedOutput(spec.name, top if spec.name in labelled else 0) for spec in schema.outputs)


# As JSON, for the history


def to_document(form: Form) -> dict[str, Any]:
    return {
        "values": dict(form.values),
        "made": {"kind": form.made.kind, "seed": form.made.seed, "between": form.made.between},
        "shapes": {name: list(shape) for name, shape in form.shapes.items()},
        "batch": form.batch,
        "version": form.version,
        "parameters": dict(form.parameters),
        "request_id": form.request_id,
    }


def from_document(document: Mapping[str, Any]) -> Form:
    """Raises ValueError, TypeError or KeyError for what `to_document` did not write."""
    made = document["made"]
    between = made["between"]
    kind = str(made["kind"])
    if kind not in KINDS:
        raise ValueError(kind)
    version = document["version"]
    return Form(
        {str(name): str(text) for name, text in document["values"].items()},
        Made(kind, int(made["seed"]), (float(between[0]), float(between[1])) if between else None),
        {str(name): tuple(int(size) for size in shape) for name, shape in document["shapes"].items()},
        int(document["batch"]),
        str(version) if version is not None else None,
        {str(name): value for name, value in document["parameters"].items() if isinstance(value, Parameter)},
        str(document["request_id"]),
    )


def with_value(form: Form, name: str, text: str) -> Form:
    """An empty text takes the value away."""
    values = {key: value for key, value in form.values.items() if key != name}
    return replace(form, values={**values, name: text} if text else values)


def with_parameters(form: Form, parameters: Mapping[str, Parameter], request_id: str) -> Form:
    return replace(form, parameters=parameters, request_id=request_id)


def sequence_of(parameters: Mapping[str, Parameter]) -> str:
    """ "sequence 7, start" or nothing."""
    if "sequence_id" not in parameters:
        return ""
    marks = [name.removeprefix("sequence_") for name in _SEQUENCE[1:] if parameters.get(name)]
    return ", ".join([f"sequence {parameters['sequence_id']}", *marks])
