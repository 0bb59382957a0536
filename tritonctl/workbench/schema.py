"""What a model takes and gives: told by its server, or, where that tells nothing, by what a person gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tritonctl.errors import NotFound, UsageError
from tritonctl.server.address import ServerAddress
from tritonctl.server.modelconfig import ModelSchema, schema
from tritonctl.server.request import Parameter
from tritonctl.server.tensors import DATATYPES, TensorSpec

if TYPE_CHECKING:
    from tritonctl.server.client import ServerClient


async def of_triton(client: ServerClient, model: str, version: str | None) -> ModelSchema:
    """Raises NotFound, and what the client raises."""
    try:
        metadata, config = await asyncio.gather(client.model_metadata(model, version), client.config(model, version))
    except NotFound as error:
        raise NotFound(f"model {model!r}", error.answer, "is it loaded? tritonctl models tells") from None
    return schema(metadata, config)


async def of_tensorflow(
    address: ServerAddress,
    model: str,
    version: str | None,
    *,
    values: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    datatypes: Mapping[str, str],
    parameters: Mapping[str, Parameter],
) -> ModelSchema:
    """As the server's GetModelMetadata tells, or, where it has none, as the values that are given look.

    Raises NotFound, Unreachable, and UsageError where no value is given and none can be made up.
    """
    from tritonctl.server.inference import MAX_ANSWER_BYTES
    from tritonctl.server.tensorflow import SIGNATURE, SIGNATURE_PARAMETER, TensorFlowInference, schema_of

    async with AsyncExitStack() as opened:
        if address.way is not None:
            address = replace(address, grpc=await opened.enter_async_context(address.way.grpc()))
        asking = TensorFlowInference(address, MAX_ANSWER_BYTES)
        opened.push_async_callback(asking.aclose)
        told = await asking.schema(model, version, str(parameters.get(SIGNATURE_PARAMETER, SIGNATURE)))
    if told is not None:
        return told
    names = list(dict.fromkeys([*values, *shapes, *datatypes]))
    if not names:
        raise UsageError(
            f"model {model!r}" if model else "the model",
            "its server does not tell what it takes",
            "give every input: --input NAME=@image.jpg, or --input NAME=[1,2] --datatype NAME=FP32",
        )
    specs = [await asyncio.to_thread(guessed, name, values.get(name, ""), shapes, datatypes) for name in names]
    return schema_of(model, version, specs, ())


def guessed(name: str, text: str, shapes: Mapping[str, tuple[int, ...]], datatypes: Mapping[str, str]) -> TensorSpec:
    """What an input seems to be by its value: a .npy tells all of it, a file else is bytes, a number a float.

    Raises UsageError for a datatype that there is not.
    """
    shape, datatype = shapes.get(name), datatypes.get(name)
    if datatype is not None and datatype not in DATATYPES:
        raise UsageError(f"input {name!r}", f"there is no datatype {datatype!r}", f"one of {', '.join(DATATYPES)}")
    if text.startswith("@") and text.partition("#")[0].endswith(".npy"):
        found = _of_npy(Path(text[1:].partition("#")[0]).expanduser())
        if found is not None:
            return TensorSpec(name, datatype or found[0], shape or found[1])
    if text.startswith("@") and shape is None and datatype is None:
        return TensorSpec(name, "BYTES", (1,))  # an encoded image, which the service decodes itself
    if shape is not None:
        return TensorSpec(name, datatype or "FP32", shape)
    if text.startswith(":") or not text:
        raise UsageError(f"input {name!r}", "nothing tells its shape", f"--shape {name}=1,224,224,3 does")
    return _of_typed(name, text, datatype)


def _of_npy(path: Path) -> tuple[str, tuple[int, ...]] | None:
    import numpy as np

    from tritonctl.server.tensors import numpy_type

    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None  # reading it says what is wrong with it
    names = {numpy_type(each): each for each in DATATYPES if each != "BYTES"}
    datatype = names.get(array.dtype)
    return (datatype, array.shape) if datatype else None


def _of_typed(name: str, text: str, datatype: str | None) -> TensorSpec:
    import json

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else 0.0
    if datatype is None:
        datatype = "BYTES" if isinstance(value, str) else "BOOL" if isinstance(value, bool) else "FP32"
    return TensorSpec(name, datatype, tuple(sizes))
