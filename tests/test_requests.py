"""Requests as people send them, to a real server: typed values, sequences, parameters, generated text, pictures."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.answering import free_port
from tests.inference_models import write_model, write_repository
from tests.servers import Factory, Running
from tests.tensor_strategies import same_bits, tensors
from tritonctl.errors import NotFound, OperationFailed, Unreachable
from tritonctl.server.address import ServerAddress
from tritonctl.server.answer import output_document, summarise_answer
from tritonctl.server.classes import highest, of_classification
from tritonctl.server.client import ServerClient
from tritonctl.server.generate import can_generate, generate
from tritonctl.server.inference import Inferencer
from tritonctl.server.modelconfig import ModelSchema, schema
from tritonctl.server.request import InferenceAnswer, InferenceRequest, Protocol
from tritonctl.server.tensors import FLOATS, Tensor, as_doubles
from tritonctl.workbench import form as forms
from tritonctl.workbench.form import Form
from tritonctl.workbench.picture import coloured, pixels, shaded

BOTH = pytest.mark.parametrize("protocol", list(Protocol))

# Adds up what the requests of one sequence bring; answers the parameters it was sent.
_COUNTER = """
import json
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        answers = []
        for request in requests:
            key = request.correlation_id()
            flags = request.flags()
            if flags & pb.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
                self.sums[key] = 0
            self.sums[key] += int(pb.get_input_tensor_by_name(request, "IN").as_numpy()[0])
            said = request.parameters()
            answers.append(pb.InferenceResponse([
                pb.Tensor("SUM", np.array([self.sums[key]], np.int32)),
                pb.Tensor("SAID", np.array([said.encode()], object)),
            ]))
        return answers
"""
_COUNTER_CONFIG = """
backend: "python"
sequence_batching { max_sequence_idle_microseconds: 5000000 }
input { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] }
output [ { name: "SUM" data_type: TYPE_INT32 dims: [ 1 ] }, { name: "SAID" data_type: TYPE_STRING dims: [ 1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""


@pytest.fixture(scope="module")
def triton(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Running:
    work = tmp_path_factory.mktemp("triton")
    write_repository(work / "repository")
    write_model(work / "repository", "counter", _COUNTER_CONFIG, _COUNTER)
    return triton_factory(work / "repository", control_mode="none")


@pytest.fixture(scope="module")
def demo(triton_factory: Factory) -> Running:
    return triton_factory.demo()


async def schema_of(running: Running, model: str) -> ModelSchema:
    async with ServerClient(running.address) as client:
        return schema(await client.model_metadata(model), await client.config(model))


async def sent(running: Running, form: Form, model: str, protocol: Protocol | None = None) -> InferenceAnswer:
    shape = await schema_of(running, model)
    filled = forms.fill(form, shape)
    assert filled.errors == {}
    async with Inferencer(running.address, protocol=protocol) as inferencer:
        return await inferencer.infer(forms.as_request(form, shape, filled.tensors))


@BOTH
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tensor=tensors(rank=2, smallest=1))
def test_what_is_typed_is_what_comes_back(triton: Running, protocol: Protocol, tensor: Tensor) -> None:
    """Typed as `-o json` writes it; the one thing that JSON cannot say is which NaN it was."""
    flat = output_document(tensor)["data"]
    rows, columns = tensor.shape
    typed = json.dumps([flat[at * columns : (at + 1) * columns] for at in range(rows)])
    answer = asyncio.run(sent(triton, Form({f"IN_{tensor.datatype}": typed}), "echo", protocol))
    (output,) = answer.outputs
    if tensor.datatype in FLOATS:
        number = ~np.isnan(as_doubles(tensor.data))
        assert same_bits(output.data[number], tensor.data[number])
        assert np.isnan(as_doubles(output.data[~number])).all()
    else:
        assert same_bits(output.data, tensor.data)


@BOTH
async def test_a_file_comes_back_bit_for_bit(triton: Running, protocol: Protocol, tmp_path: Path) -> None:
    odd = np.array([[np.nan, -0.0, np.inf, 1e-45]], np.float32)
    np.save(tmp_path / "odd.npy", odd)
    answer = await sent(triton, Form({"IN_FP32": f"@{tmp_path / 'odd.npy'}"}), "echo", protocol)
    assert same_bits(answer.outputs[0].data, odd)
    said = summarise_answer(answer)
    assert "1 NaN · 1 infinite" in said[0]


@BOTH
async def test_requests_of_a_sequence_belong_together(triton: Running, protocol: Protocol) -> None:
    key: int | str = 7 if protocol is Protocol.GRPC else "seven"
    first = {"sequence_id": key, "sequence_start": True}
    got = [
        await sent(triton, Form({"IN": value}, parameters=parameters), "counter", protocol)
        for value, parameters in (
            ("[5]", first),
            ("[6]", {"sequence_id": key}),
            ("[7]", {"sequence_id": key, "sequence_end": True}),
        )
    ]
    assert [each.outputs[0].data.tolist() for each in got] == [[5], [11], [18]]


@BOTH
async def test_parameters_arrive_as_they_are(triton: Running, protocol: Protocol) -> None:
    parameters = {
        "sequence_id": 9,
        "sequence_start": True,
        "priority": 1,
        "timeout": 5_000_000,
        "tenant": "blue",
        "n": 3,
    }
    form = Form({"IN": "[1]"}, parameters={**parameters, "flag": True}, request_id="r-1")
    answer = await sent(triton, form, "counter", protocol)
    said: dict[str, Any] = json.loads(answer.outputs[1].data[0])
    assert (said["tenant"], said["n"], said["flag"]) == ("blue", 3, True)
    assert answer.request_id == "r-1"


async def test_a_server_that_dies_in_mid_stream(own_triton: Factory) -> None:
    running = own_triton(load=("tokens",))
    text = Tensor("text_input", "BYTES", np.array([b"word " * 200], object))
    async with Inferencer(running.address) as inferencer:
        stream = inferencer.stream(InferenceRequest("tokens", (text,)))
        got = [await anext(stream), await anext(stream)]
        running.kill()
        with pytest.raises(Unreachable) as caught:
            got += [answer async for answer in stream]
    assert caught.value.kind in ("lost", "refused")
    assert len(got) == 2


# Generate


async def test_text_is_generated_as_it_comes(demo: Running) -> None:
    assert can_generate(await schema_of(demo, "tokens"))
    assert not can_generate(await schema_of(demo, "digits"))
    pieces = [each async for each in generate(demo.address, "tokens", {"text_input": "one two three"})]
    assert "".join(each.text for each in pieces) == "one two three"
    assert pieces[1].latency_us - pieces[0].latency_us > 10_000  # the model sleeps 20 ms between them
    async with aclosing(generate(demo.address, "tokens", {"text_input": "one"}, stream=False)) as whole:
        assert [each.text async for each in whole] == ["one"]


async def test_what_generate_refuses_is_quoted(demo: Running) -> None:
    with pytest.raises(NotFound, match="unknown model: 'ghost' is not found"):
        await anext(generate(demo.address, "ghost", {"text_input": "x"}))
    with pytest.raises(OperationFailed, match=r"(?i)unexpected|input"):
        await anext(generate(demo.address, "tokens", {"other": "x"}))
    with pytest.raises(OperationFailed, match="exactly 1 response"):
        _ = [each async for each in generate(demo.address, "tokens", {"text_input": "a b"}, stream=False)]
    nobody = ServerAddress(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable):
        await anext(generate(nobody, "tokens", {"text_input": "x"}))
    with pytest.raises(Unreachable, match=r"no end within 0\.2 s"):
        _ = [each async for each in generate(demo.address, "tokens", {"text_input": "a " * 99}, timeout_s=0.2)]


async def test_closing_generate_stops_the_servers_work(demo: Running) -> None:
    async with aclosing(generate(demo.address, "tokens", {"text_input": "word " * 600})) as pieces:
        assert (await anext(pieces)).text
    began = time.monotonic()
    async with aclosing(generate(demo.address, "tokens", {"text_input": "next"})) as pieces:
        assert (await anext(pieces)).text == "next"
    assert time.monotonic() - began < 8  # 600 words take twelve seconds on the one instance


@pytest.mark.parametrize("body", [b"data: nonsense\n\n", b"data: []\n\n", b"data: " + b"x" * 5_000_000])
async def test_events_that_are_none(body: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        address = ServerAddress(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Unreachable):
            await anext(generate(address, "m", {}))


# Said and drawn


def test_classes_with_and_without_labels() -> None:
    rows = Tensor("S", "BYTES", np.array([[b"0.900000:3:fish", b"0.100000:1:a:b"], [b"0.5:0", b"0.5:1"]], object))
    found = of_classification(rows)
    assert found is not None
    assert [(each.index, each.label, each.share) for each in found[0]] == [(3, "fish", 0.9), (1, "a:b", 0.1)]
    assert of_classification(Tensor("S", "BYTES", np.array([b"text"], object))) is None
    logits = highest(np.array([1.0, 3.0, 2.0], np.float16), 2)
    assert [each.index for each in logits] == [1, 2]
    assert logits[0].share == pytest.approx(0.665, abs=0.001)


def test_an_answer_that_is_an_image_is_drawn() -> None:
    ramp = np.tile(np.arange(32, dtype=np.float32) * 10, (16, 1))
    rows = pixels(Tensor("M", "FP32", ramp), batched=True, width=16, height=20)
    assert rows is None  # of a batched matrix each row is an answer of its own
    rows = pixels(Tensor("M", "FP32", ramp[None]), batched=True, width=16, height=20)
    assert rows is not None
    assert (len(rows), len(rows[0])) == (8, 16)
    assert rows[0][0] == (0, 0, 0)
    assert rows[0][-1][0] > 240
    assert [len(line.rstrip("\x1b[0m")) > 0 for line in coloured(rows)] == [True] * 4
    assert shaded(rows)[0].endswith("█")
    assert shaded(rows, ascii_only=True)[0].isascii()
    chw = np.zeros((3, 16, 16), np.uint8)
    chw[0] = 255
    red = pixels(Tensor("M", "UINT8", chw), batched=False, width=8, height=8)
    assert red is not None
    assert red[0][0] == (255, 0, 0)


@pytest.mark.parametrize(
    ("datatype", "shape"),
    [
        ("FP32", (4, 4)),
        ("FP32", (1, 1000)),
        ("FP32", (0, 20)),
        ("BYTES", (9, 9)),
        ("FP32", (5, 16, 16)),
        ("FP32", (64,)),
    ],
)
def test_what_is_no_image_is_not_drawn(datatype: str, shape: tuple[int, ...]) -> None:
    data = np.zeros(shape, object if datatype == "BYTES" else np.float32)
    assert pixels(Tensor("M", datatype, data), batched=False, width=40, height=40) is None


def test_a_picture_of_nothing_but_nan_is_not_drawn() -> None:
    data = np.full((16, 16), np.nan, np.float32)
    assert pixels(Tensor("M", "FP32", data), batched=False, width=40, height=40) is None
