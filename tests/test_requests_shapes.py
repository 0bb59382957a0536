"""Shapes that are easy to get wrong, on a real server: ragged batches, scalars, nothing at all, inputs left out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from tests.inference_models import write_model, write_repository
from tests.servers import Factory, Running
from tritonctl.server.client import ServerClient
from tritonctl.server.inference import Inferencer
from tritonctl.server.modelconfig import ModelSchema, schema
from tritonctl.server.request import InferenceAnswer, InferenceRequest, Protocol
from tritonctl.server.tensors import DATATYPES, Tensor, numpy_type
from tritonctl.workbench import form as forms
from tritonctl.workbench.form import Form, Made

BOTH = pytest.mark.parametrize("protocol", list(Protocol))

# Answers how many requests it was given at once, and the sum of each.
_RAGGED = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            values = pb.get_input_tensor_by_name(request, "IN").as_numpy()
            seen = np.array([[len(requests), values.sum()]], np.float32)
            answers.append(pb.InferenceResponse([pb.Tensor("SEEN", seen)]))
        return answers
"""
_RAGGED_CONFIG = """
backend: "python"
max_batch_size: 8
input { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true }
output { name: "SEEN" data_type: TYPE_FP32 dims: [ 2 ] }
dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 2000000 }
instance_group { count: 1 kind: KIND_CPU }
"""
_SCALAR = """
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        ranks = [pb.get_input_tensor_by_name(each, "IN").as_numpy() for each in requests]
        assert all(each.shape == (1,) for each in ranks)  # the batch alone: of each of it, a scalar
        return [pb.InferenceResponse([pb.Tensor("OUT", each * 2)]) for each in ranks]
"""
_SCALAR_CONFIG = """
backend: "python"
max_batch_size: 4
input { name: "IN" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } }
output { name: "OUT" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } }
"""
# Says which of its inputs were there.
_OPTIONAL = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            names = ",".join(sorted(each.name() for each in request.inputs()))
            answers.append(pb.InferenceResponse([pb.Tensor("THERE", np.array([names.encode()], object))]))
        return answers
"""
_OPTIONAL_CONFIG = """
backend: "python"
input [
  { name: "NEEDED" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "MAYBE" data_type: TYPE_FP32 dims: [ 1 ] optional: true },
  { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] optional: true }
]
output { name: "THERE" data_type: TYPE_STRING dims: [ 1 ] }
"""


@pytest.fixture(scope="module")
def triton(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Running:
    repository: Path = tmp_path_factory.mktemp("triton") / "repository"
    write_repository(repository)
    write_model(repository, "ragged", _RAGGED_CONFIG, _RAGGED)
    write_model(repository, "scalar", _SCALAR_CONFIG, _SCALAR)
    write_model(repository, "optional", _OPTIONAL_CONFIG, _OPTIONAL)
    return triton_factory(repository, control_mode="none")


async def schema_of(running: Running, model: str) -> ModelSchema:
    async with ServerClient(running.address) as client:
        return schema(await client.model_metadata(model), await client.config(model))


async def sent(inferencer: Inferencer, shape: ModelSchema, form: Form) -> InferenceAnswer:
    filled = forms.fill(form, shape)
    assert filled.errors == {}
    return await inferencer.infer(forms.as_request(form, shape, filled.tensors))


@BOTH
async def test_requests_of_different_lengths_are_batched_together(triton: Running, protocol: Protocol) -> None:
    shape = await schema_of(triton, "ragged")
    async with Inferencer(triton.address, protocol=protocol) as inferencer:
        texts = ("[1]", "[1,2]", "[1,2,3]", "[1,2,3,4]")
        got = await asyncio.gather(*(sent(inferencer, shape, Form({"IN": text})) for text in texts))
    assert [each.outputs[0].data[0, 1] for each in got] == [1, 3, 6, 10]
    assert max(each.outputs[0].data[0, 0] for each in got) > 1  # they shared an execution


@BOTH
async def test_a_scalar_is_typed_as_a_bare_number(triton: Running, protocol: Protocol) -> None:
    shape = await schema_of(triton, "scalar")
    async with Inferencer(triton.address, protocol=protocol) as inferencer:
        answer = await sent(inferencer, shape, Form({"IN": "-21"}))
        assert answer.outputs[0].data.reshape(-1).tolist() == [-42]
        answer = await sent(inferencer, shape, Form(made=Made("ones")))
        assert answer.outputs[0].data.reshape(-1).tolist() == [2]


@BOTH
async def test_optional_inputs_are_left_out_unless_they_are_given(triton: Running, protocol: Protocol) -> None:
    shape = await schema_of(triton, "optional")
    async with Inferencer(triton.address, protocol=protocol) as inferencer:
        for values, there in (
            ({}, b"NEEDED"),
            ({"MAYBE": "1"}, b"MAYBE,NEEDED"),
            ({"MAYBE": ":zeros", "TEXT": "hi"}, b"MAYBE,NEEDED,TEXT"),
        ):
            answer = await sent(inferencer, shape, Form(values))
            assert answer.outputs[0].data.tolist() == [there]


@BOTH
@pytest.mark.parametrize("datatype", DATATYPES)
async def test_tensors_without_elements_come_back(triton: Running, protocol: Protocol, datatype: str) -> None:
    dtype = object if datatype == "BYTES" else numpy_type(datatype)
    async with Inferencer(triton.address, protocol=protocol) as inferencer:
        for size in ((0, 3), (3, 0), (0, 0)):
            tensor = Tensor(f"IN_{datatype}", datatype, np.empty(size, dtype=dtype))
            (output,) = (await inferencer.infer(InferenceRequest("echo", (tensor,)))).outputs
            assert (output.datatype, output.shape) == (datatype, size)
