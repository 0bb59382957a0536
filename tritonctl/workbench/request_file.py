"""A whole request out of a JSON file, in the forms that people have (Triton's, KServe's, Azure's), or of a case."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tritonctl.errors import UsageError
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.nested import from_document, parsed
from tritonctl.server.request import Parameter
from tritonctl.server.tensors import Tensor, TensorSpec, fitting_shape
from tritonctl.server.typed import find_spec

MAX_BYTES = 256 * 1024 * 1024


def read(path: Path, schema: ModelSchema) -> tuple[dict[str, Tensor], dict[str, Parameter], str]:
    """Tensors by input, parameters and request id. Raises UsageError.

    - {"inputs": [{"name", "shape", "datatype", "data"}], "parameters", "id"}: Triton, KServe and Open Inference v2
    - {"inputs": {"NAME": [...]}} and {"instances": [...]}: KServe v1, TensorFlow Serving
    - {"data": …} and {"input_data": …}: Azure ML's score; a table {"columns", "data"} there, too
    - a directory: a saved case
    """
    if path.is_dir():
        return _of_case(path, schema)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"request {path}", f"it has more than {MAX_BYTES} bytes")
        document = parsed(f"request {path}", path.read_bytes())
    except OSError as error:
        raise UsageError(f"request {path}", f"cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"request {path}", f"it is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UsageError(f"request {path}", "expected a JSON object", 'such as {"inputs": [...]}')
    try:
        return of(document, schema, f"request {path}")
    except RecursionError:
        raise UsageError(f"request {path}", "its lists are nested too deep") from None


def _of_case(folder: Path, schema: ModelSchema) -> tuple[dict[str, Tensor], dict[str, Parameter], str]:
    """The inputs of a case, as they were sent; of another model those that this one takes as well."""
    from tritonctl.workbench import case

    request = case.load(folder).request
    tensors = {}
    for tensor in request.inputs:
        spec = find_spec(schema.inputs, tensor.name)
        if tensor.datatype != spec.datatype:
            raise UsageError(f"input {spec.name!r}", f"the case has {tensor.datatype}, the model takes {spec.datatype}")
        fitting_shape(spec, tensor.shape)
        tensors[tensor.name] = tensor
    return tensors, dict(request.parameters), ""


def of(
    document: Mapping[str, Any], schema: ModelSchema, what: str
) -> tuple[dict[str, Tensor], dict[str, Parameter], str]:
    inputs = document.get("inputs")
    if isinstance(inputs, list) and all(isinstance(each, dict) and "name" in each for each in inputs):
        parameters = document.get("parameters")
        kept = {k: v for k, v in parameters.items() if isinstance(v, Parameter)} if isinstance(parameters, dict) else {}
        kept.pop("binary_data_output", None)  # how the answer travels is decided here
        tensors = [_v2(schema, each) for each in inputs]
        return {each.name: each for each in tensors}, kept, str(document.get("id", ""))
    for key in ("inputs", "instances", "data", "input_data"):
        if key in document:
            return _by_name(schema, document[key], what), {}, ""
    raise UsageError(
        what, "expected one of inputs, instances, data, input_data", f"it has {', '.join(document) or 'nothing'}"
    )


def _v2(schema: ModelSchema, given: Mapping[str, Any]) -> Tensor:
    spec = find_spec(schema.inputs, str(given["name"]))
    datatype, shape, data = given.get("datatype", spec.datatype), given.get("shape"), given.get("data")
    if datatype != spec.datatype:
        raise UsageError(f"input {spec.name!r}", f"the request says {datatype}, the model takes {spec.datatype}")
    if data is None:
        raise UsageError(f"input {spec.name!r}", "it has no data", "tensors that lie beside the JSON cannot be read")
    flat: list[Any] = []
    _flatten(data, flat)
    if not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape):
        return from_document(spec, data)
    if math.prod(shape) != len(flat):
        raise UsageError(f"input {spec.name!r}", f"shape {shape} takes {math.prod(shape)} values, data has {len(flat)}")
    # Flat or nested alike: the protocol takes both, and the shape is what counts.
    free = TensorSpec(spec.name, spec.datatype, (-1,))
    tensor = from_document(free, flat)
    return Tensor(spec.name, spec.datatype, tensor.data.reshape(fitting_shape(spec, shape)))


def _flatten(value: object, flat: list[Any]) -> None:
    if isinstance(value, list):
        for each in value:
            _flatten(each, flat)
    else:
        flat.append(value)


def _instances(spec: TensorSpec, rows: list[Any]) -> Tensor:
    """KServe v1 counts in instances also where the model takes no batch: one of them is then the tensor itself."""
    try:
        return from_document(spec, rows)
    except UsageError:
        if spec.batched or len(rows) != 1:
            raise
        return from_document(spec, rows[0])


def _by_name(schema: ModelSchema, value: Any, what: str) -> dict[str, Tensor]:
    if isinstance(value, dict) and isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        value = value["data"]  # pandas' "split" form, as MLflow models on Azure take it
    if isinstance(value, dict):
        return {name: from_document(find_spec(schema.inputs, name), each) for name, each in value.items()}
    if isinstance(value, list) and value and all(isinstance(each, dict) and "b64" not in each for each in value):
        names = list(dict.fromkeys(name for each in value for name in each))
        return {name: _instances(find_spec(schema.inputs, name), [each.get(name) for each in value]) for name in names}
    wanted = [spec for spec in schema.inputs if not spec.optional] or list(schema.inputs)
    if len(wanted) != 1:
        said = ", ".join(spec.name for spec in schema.inputs)
        raise UsageError(what, f"it names no input, and the model has several: {said}", 'write {"data": {"NAME": …}}')
    return {wanted[0].name: from_document(wanted[0], value)}
