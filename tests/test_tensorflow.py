"""Predict as TensorFlow Serving and Azure ML's FPGA services speak it, over gRPC to a service that implements it."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

from tests.answering import free_port
from tests.predicting import TOKEN, Predicting, predicting
from tests.tensor_strategies import same_bits, tensors
from tritonctl.errors import Forbidden, NotFound, OperationFailed, Unreachable, UsageError
from tritonctl.server import predict_pb2
from tritonctl.server.address import Secret, ServerAddress, Speaks
from tritonctl.server.inference import Inferencer
from tritonctl.server.request import InferenceRequest, Protocol
from tritonctl.server.tensorflow import parsed
from tritonctl.server.tensors import Tensor
from tritonctl.workbench.load import LoadPlan, run_load
from tui.cli import main

PROTO = Path(predict_pb2.__file__).with_name("predict.proto")


@pytest.fixture
async def service() -> AsyncIterator[Predicting]:
    async with predicting() as found:
        yield found


def address(service: Predicting, **headers: str) -> ServerAddress:
    secrets = {name: Secret(value) for name, value in headers.items()}
    return ServerAddress("", grpc=f"127.0.0.1:{service.port}", headers=secrets, protocol=Speaks.TENSORFLOW)


def image() -> Tensor:
    return Tensor("image", "FP32", np.arange(192, dtype=np.float32).reshape(1, 8, 8, 3))


# The messages


def test_what_is_compiled_is_what_is_written() -> None:
    """Every field of predict.proto, with its number, is in the module that was made of it."""
    written: dict[str, dict[str, int]] = {}
    stack: list[str] = []
    for line in PROTO.read_text().splitlines():
        if found := re.match(r"\s*(message|oneof) (\w+) \{", line):
            stack.append(found[2] if found[1] == "message" else stack[-1])
        elif found := re.match(r"\s*(?:repeated )?[\w.]+(?:<.*>)? (\w+) = (\d+);", line):
            written.setdefault(stack[-1], {})[found[1]] = int(found[2])
        elif line.strip() == "}":
            stack.pop()

    def fields(message: Any) -> None:
        compiled[message.name] = {field.name: field.number for field in message.fields}
        for inner in message.nested_types:
            if not inner.GetOptions().map_entry:
                fields(inner)

    compiled: dict[str, dict[str, int]] = {}
    for message in predict_pb2.DESCRIPTOR.message_types_by_name.values():
        fields(message)
    assert compiled == written
    assert len(compiled) == 11


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tensor=tensors())
def test_every_datatype_comes_back_bit_for_bit(echoing: ServerAddress, tensor: Tensor) -> None:
    async def there_and_back() -> Tensor:
        async with Inferencer(echoing) as inferencer:
            (output,) = (await inferencer.infer(InferenceRequest("m", (tensor,)))).outputs
            return output

    output = asyncio.run(there_and_back())
    assert (output.name, output.datatype) == ("OUT_T", tensor.datatype)
    assert same_bits(output.data, tensor.data)


@pytest.fixture(scope="module")
def echoing() -> Iterator[ServerAddress]:
    """The service on a loop of its own, for tests that bring theirs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = predicting()
    service = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(30)
    yield address(service)
    asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def test_a_value_in_a_field_of_its_type_fills_the_shape(service: Predicting) -> None:
    async with Inferencer(address(service)) as inferencer:
        answer = await inferencer.infer(InferenceRequest("typed", (image(),)))
    scores = next(each for each in answer.outputs if each.name == "scores")
    assert scores.data.tolist() == [[0.25, 0.25], [0.25, 0.25]]
    assert (answer.version, answer.protocol) == ("3", Protocol.GRPC)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff",
        predict_pb2.PredictResponse(outputs={"x": predict_pb2.TensorProto(dtype=8)}).SerializeToString(),
        predict_pb2.PredictResponse(
            outputs={"x": predict_pb2.TensorProto(dtype=1, tensor_content=b"123")}
        ).SerializeToString(),
        predict_pb2.PredictResponse(
            outputs={
                "x": predict_pb2.TensorProto(
                    dtype=1, float_val=[1.0], tensor_shape={"dim": [{"size": 2**40}, {"size": 2**20}]}
                )
            }
        ).SerializeToString(),
        predict_pb2.PredictResponse(
            outputs={"x": predict_pb2.TensorProto(dtype=1, float_val=[1.0], tensor_shape={"dim": [{"size": -1}]})}
        ).SerializeToString(),
    ],
)
def test_an_answer_that_is_none_is_said(raw: bytes) -> None:
    with pytest.raises(Unreachable, match="not a prediction"):
        parsed("predict", raw, InferenceRequest("m", ()), 1.0)


# What is asked for and refused


async def test_version_label_signature_and_outputs_are_named(service: Predicting) -> None:
    async with Inferencer(address(service)) as inferencer:
        await inferencer.infer(InferenceRequest("m", (image(),), "7", parameters={"signature_name": "texts"}))
        assert service.requests[-1].model_spec.version.value == 7
        assert service.requests[-1].model_spec.signature_name == "texts"
        await inferencer.infer(InferenceRequest("m", (image(),), "canary"))
        assert service.requests[-1].model_spec.version_label == "canary"
        with pytest.raises(UsageError, match="takes none"):
            await inferencer.infer(InferenceRequest("m", (image(),), parameters={"priority": 1}))


@pytest.mark.parametrize(
    ("model", "kind", "said"),
    [
        ("ghost", NotFound, "Servable not found"),
        ("fails", OperationFailed, "input must be 4-dimensional"),
        ("guarded", Forbidden, "no valid key"),
    ],
)
async def test_a_refusal_is_quoted(service: Predicting, model: str, kind: type[Exception], said: str) -> None:
    async with Inferencer(address(service)) as inferencer:
        with pytest.raises(kind, match=said):
            await inferencer.infer(InferenceRequest(model, (image(),)))


async def test_the_token_and_the_route_go_along(service: Predicting) -> None:
    headers = {"Authorization": TOKEN, "x-ms-aml-grpc-service-route": "/api/v1/service/fpga"}
    async with Inferencer(address(service, **headers)) as inferencer:
        await inferencer.infer(InferenceRequest("guarded", (image(),)))
    assert service.metadata["x-ms-aml-grpc-service-route"] == "/api/v1/service/fpga"


async def test_nobody_there(service: Predicting) -> None:
    gone = ServerAddress("", grpc=f"127.0.0.1:{free_port()}", protocol=Speaks.TENSORFLOW)
    async with Inferencer(gone) as inferencer:
        with pytest.raises(Unreachable, match="gRPC failed"):
            await inferencer.infer(InferenceRequest("m", (image(),)))
    async with Inferencer(address(service), protocol=Protocol.HTTP) as inferencer:
        with pytest.raises(UsageError, match="only gRPC"):
            await inferencer.infer(InferenceRequest("m", (image(),)))


async def test_a_load(service: Predicting) -> None:
    async with Inferencer(address(service)) as inferencer:
        send = await inferencer.sender(InferenceRequest("m", (image(),)))
        result = await run_load(LoadPlan(concurrency=4, requests=100), send)
    assert (result.done, result.failed, len(service.requests)) == (100, 0, 101)


# On the command line


class Shell:
    """The command in a thread, while the service runs on this loop."""

    def __init__(self, service: Predicting, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.config = folder / "config.toml"
        self.config.write_text(
            f'[backends.s]\nkind = "urls"\nservers = [{{ name = "tf", protocol = "tensorflow", '
            f'grpc = "127.0.0.1:{service.port}" }}]\n'
        )
        self.out = self.err = ""

    async def run(self, *words: str) -> int:
        code = await asyncio.to_thread(main, ["--config", str(self.config), *words])
        self.out, self.err = self.capsys.readouterr()
        return code


@pytest.fixture
def shell(
    service: Predicting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return Shell(service, tmp_path, capsys)


async def test_a_form_is_made_of_the_models_own_signature(service: Predicting, shell: Shell) -> None:
    Image.fromarray(np.full((20, 20, 3), 255, np.uint8)).save("white.png")
    assert await shell.run("infer", "s/tf", "m", "--input", "image=@white.png") == 0
    assert "OUT_image  FP32 [1,8,8,3] · min 1 · max 1" in shell.out
    assert "m version 3 answered by grpc" in shell.out
    assert await shell.run("infer", "s/tf", "m", "--batch", "2", "--zeros", "-o", "json") == 0
    assert json.loads(shell.out)["outputs"][0]["shape"] == [2, 8, 8, 3]
    words = ("--parameter", "signature_name=texts", "--input", "text=hello", "-o", "json")
    assert await shell.run("infer", "s/tf", "m", *words) == 0
    assert json.loads(shell.out)["outputs"][0]["data"] == ["hello"]
    assert await shell.run("infer", "s/tf", "m", "--parameter", "signature_name=nope") == 3
    assert "it has serving_default, texts" in shell.err
    assert await shell.run("infer", "s/tf", "m", "--input", "image=[1,2]") == 2
    assert "expected 4 dimensions" in shell.err
    assert await shell.run("infer", "s/tf", "ghost") == 3


async def test_where_nothing_tells_the_inputs_their_values_do(service: Predicting, shell: Shell) -> None:
    service.tells = False
    write_inputs()
    assert await shell.run("infer", "s/tf", "--input", "Placeholder:0=@cat.jpg") == 0
    assert service.requests[-1].inputs["Placeholder:0"].string_val[0] == b"\xff\xd8jpeg"
    assert await shell.run("infer", "s/tf", "m", "--input", "a=@x.npy", "--input", "b=[[1,2]]", "--input", "c=hi") == 0
    sent = service.requests[-1].inputs
    assert [(sent[name].dtype, [dim.size for dim in sent[name].tensor_shape.dim]) for name in "abc"] == [
        (9, [2, 3]),
        (1, [1, 2]),
        (7, []),
    ]
    words = ("--shape", "x=1,4", "--datatype", "x=INT32", "--ones", "-o", "json")
    assert await shell.run("infer", "s/tf", "m", *words) == 0
    assert json.loads(shell.out)["outputs"][0] == {
        "name": "OUT_x",
        "datatype": "INT32",
        "shape": [1, 4],
        "data": [1, 1, 1, 1],
    }
    assert await shell.run("infer", "s/tf", "m") == 2
    assert "does not tell what it takes" in shell.err
    assert await shell.run("infer", "s/tf", "m", "--datatype", "x=FP12") == 2
    assert "no datatype 'FP12'" in shell.err
    assert await shell.run("infer", "s/tf", "m", "--input", "x=:zeros") == 2
    assert "nothing tells its shape" in shell.err


def write_inputs() -> None:
    Path("cat.jpg").write_bytes(b"\xff\xd8jpeg")
    np.save("x.npy", np.zeros((2, 3), np.int64))


async def test_it_is_listed_as_a_service(shell: Shell) -> None:
    assert await shell.run("services") == 0
    assert "answers" in shell.out
    assert await shell.run("infer", "s/tf", "m", "--concurrency", "2", "--repeat", "10") == 6
    assert "gives no statistics" in shell.err
    assert await shell.run("infer", "s/tf", "m", "--concurrency", "2", "--repeat", "10", "--yes") == 0
