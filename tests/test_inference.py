"""Inference against a real tritonserver over both protocols, and against ports that do not behave."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.answering import free_port
from tests.inference_models import write_repository
from tests.servers import Factory, Running
from tests.tensor_strategies import same_bits, tensors
from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.server.address import Secret, ServerAddress
from tritonctl.server.answer import summarise_answer
from tritonctl.server.inference import Inferencer
from tritonctl.server.inference_http import decode_answer
from tritonctl.server.request import NO_OUTPUTS, InferenceRequest, Protocol, WantedOutput, check_request
from tritonctl.server.tensors import DATATYPES, Tensor, TensorSpec, random

BOTH = pytest.mark.parametrize("protocol", list(Protocol))


@pytest.fixture(scope="module")
def triton(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Running:
    work = tmp_path_factory.mktemp("triton")
    write_repository(work / "repository")
    return triton_factory(work / "repository", control_mode="none")


@pytest.fixture(scope="module")
def guarded(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> ServerAddress:
    """A server without models whose inference is restricted to a header, and whose gRPC port speaks TLS."""
    work = tmp_path_factory.mktemp("guarded")
    (work / "repository").mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(work / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(work / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(work / "cert.pem"))
    flags = (
        "--http-restricted-api=inference:x-key=open",
        "--grpc-restricted-protocol=inference:x-key=open",
        "--grpc-use-ssl=true",
        f"--grpc-server-cert={work / 'cert.pem'}",
        f"--grpc-server-key={work / 'key.pem'}",
    )
    running = triton_factory(work / "repository", control_mode="none", flags=flags)
    return replace(running.address, grpc_tls=True, ca=str(work / "ca.pem"))


def floats(name: str, *values: float) -> Tensor:
    return Tensor(name, "FP32", np.array([values], dtype=np.float32))


def sum_request(*values: float) -> InferenceRequest:
    values = values or (1, 2, 3, 4)
    return InferenceRequest("sum", (floats("A", *values), floats("B", *values)))


def count_request(count: int) -> InferenceRequest:
    return InferenceRequest("tokens", (Tensor("N", "INT32", np.array([count], dtype=np.int32)),))


# What is sent comes back


@BOTH
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tensor=tensors(rank=2))
def test_every_datatype_comes_back_bit_for_bit(triton: Running, protocol: Protocol, tensor: Tensor) -> None:
    named = replace(tensor, name=f"IN_{tensor.datatype}")

    async def there_and_back() -> None:
        async with Inferencer(triton.address, protocol=protocol) as inferencer:
            answer = await inferencer.infer(InferenceRequest("echo", (named,)))
        (output,) = answer.outputs
        assert (output.name, output.datatype) == (f"OUT_{tensor.datatype}", tensor.datatype)
        assert same_bits(output.data, tensor.data)

    asyncio.run(there_and_back())


@BOTH
async def test_all_datatypes_in_one_request(triton: Running, protocol: Protocol) -> None:
    inputs = tuple(random(TensorSpec(f"IN_{each}", each, (-1, -1)), free=3) for each in DATATYPES)
    async with Inferencer(triton.address, protocol=protocol) as inferencer:
        answer = await inferencer.infer(InferenceRequest("echo", inputs, request_id="r-1"))
    found = {output.datatype: output.data for output in answer.outputs}
    assert all(same_bits(found[each.datatype], each.data) for each in inputs)
    assert (answer.model, answer.version, answer.request_id) == ("echo", "1", "r-1")
    assert answer.protocol is protocol
    assert 0 < answer.latency_us < 30e6


@BOTH
async def test_a_tensor_of_megabytes(triton: Running, protocol: Protocol) -> None:
    big = random(TensorSpec("IN_FP32", "FP32", (-1, -1)), shape=(1024, 4096))
    async with Inferencer(triton.address, protocol=protocol) as inferencer:
        answer = await inferencer.infer(InferenceRequest("echo", (big,)))
    assert same_bits(answer.outputs[0].data, big.data)
    async with Inferencer(triton.address, protocol=protocol, max_bytes=1_000_000) as inferencer:
        with pytest.raises(Unreachable) as caught:
            await inferencer.infer(InferenceRequest("echo", (big,)))
    assert caught.value.kind == "too large"


@BOTH
async def test_outputs_by_name_and_as_top_classes(triton: Running, protocol: Protocol) -> None:
    request = replace(sum_request(), outputs=(WantedOutput("SUM", classes=2),))
    async with Inferencer(triton.address, protocol=protocol) as inferencer:
        answer = await inferencer.infer(request)
        assert answer.outputs[0].data.tolist() == [[b"8.000000:3:dog", b"6.000000:2:cat"]]
        with pytest.raises(OperationFailed, match="unexpected inference output 'NOPE' for model 'sum'"):
            await inferencer.infer(replace(request, outputs=(WantedOutput("NOPE"),)))


# Which protocol


async def test_grpc_is_taken_where_it_answers(triton: Running) -> None:
    async with Inferencer(triton.address) as inferencer:
        assert (await inferencer.infer(sum_request())).protocol is Protocol.GRPC
        assert inferencer.why_not_grpc is None


async def test_http_is_taken_where_grpc_does_not_answer(triton: Running) -> None:
    silent = await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0)
    async with silent:
        for address, said in (
            (triton.http_only, "no gRPC address"),
            (replace(triton.address, grpc=f"127.0.0.1:{free_port()}"), "Connection refused"),
            (replace(triton.address, grpc=f"127.0.0.1:{triton.ports.http}"), "Socket closed"),
            (replace(triton.address, grpc=f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"), "no answer within 3 s"),
        ):
            async with Inferencer(address) as inferencer:
                answer = await inferencer.infer(sum_request())
                assert answer.protocol is Protocol.HTTP
                assert answer.outputs[0].data.tolist() == [[2, 4, 6, 8]]
                assert said in (inferencer.why_not_grpc or "")


async def test_a_request_that_failed_over_grpc_is_not_sent_again_over_http(triton: Running) -> None:
    async with Inferencer(replace(triton.address, http=f"http://127.0.0.1:{free_port()}")) as inferencer:
        with pytest.raises(OperationFailed, match="boom in execute"):
            await inferencer.infer(sum_request(-1, 0, 0, 0))


async def test_a_proxy_from_the_environment_is_not_asked(triton: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    for protocol in Protocol:
        async with Inferencer(triton.address, protocol=protocol) as inferencer:
            assert (await inferencer.infer(sum_request())).protocol is protocol


# The server's own words


@BOTH
async def test_refused_requests_are_quoted(triton: Running, protocol: Protocol) -> None:
    a, b = sum_request().inputs
    ints = Tensor("A", "INT32", np.zeros((1, 4), dtype=np.int32))
    cases: list[tuple[InferenceRequest, type[TritonctlError], str]] = [
        (InferenceRequest("sum", (ints, b)), OperationFailed, "data-type is 'INT32', but model 'sum' expects 'FP32'"),
        (
            InferenceRequest("sum", (replace(a, name="X"), b)),
            OperationFailed,
            "'X' for model 'sum'|input\\(s\\) \\['A'",
        ),
        (InferenceRequest("sum", (a,)), OperationFailed, "expected 2 inputs but got 1 inputs"),
        (
            InferenceRequest("sum", (floats("A", 1), floats("B", 1)), request_id="my-id"),
            OperationFailed,
            r"unexpected shape for input '[AB]' for model 'sum'. Expected \[-1,4\], got \[1,1\]",
        ),
        (sum_request(-1, 0, 0, 0), OperationFailed, "ValueError: boom in execute"),
        (InferenceRequest("ghost", (a,)), NotFound, "unknown model: 'ghost' is not found"),
        (replace(sum_request(), version="9"), NotFound, "version 9 is not found"),
        (replace(sum_request(), parameters={"triton_x": 1}), OperationFailed, "reserved for Triton usage"),
    ]
    async with Inferencer(triton.address, protocol=protocol) as inferencer:
        for request, kind, said in cases:
            with pytest.raises(kind, match=said) as caught:
                await inferencer.infer(request)
            assert type(caught.value) is kind
            assert "request id:" not in str(caught.value)
        assert (await inferencer.infer(sum_request())).outputs  # nothing of it broke the connection


@BOTH
async def test_restricted_apis_want_their_header(guarded: ServerAddress, protocol: Protocol) -> None:
    async with Inferencer(guarded, protocol=protocol) as inferencer:
        with pytest.raises(Forbidden, match="is restricted"):
            await inferencer.infer(sum_request())
    allowed = replace(guarded, headers={"X-Key": Secret("open")})
    async with Inferencer(allowed, protocol=protocol) as inferencer:
        with pytest.raises(NotFound):  # through the gate: this server has no models
            await inferencer.infer(sum_request())


async def test_grpc_over_tls_wants_the_right_ca(
    guarded: ServerAddress, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    for wrong, kind, said in (
        (replace(guarded, ca=str(tmp_path / "other.pem")), "tls", "CERTIFICATE_VERIFY_FAILED"),
        (replace(guarded, ca=str(tmp_path / "absent.pem")), "tls", "No such file"),
        (replace(guarded, grpc_tls=False), "lost", "gRPC failed"),
    ):
        async with Inferencer(wrong, protocol=Protocol.GRPC) as inferencer:
            with pytest.raises(Unreachable, match=said) as caught:
                await inferencer.infer(sum_request())
            assert caught.value.kind == kind
    assert capfd.readouterr().err == ""  # it would land in the middle of the screen


async def test_a_header_that_grpc_cannot_carry_is_refused_without_its_value(triton: Running) -> None:
    async with Inferencer(replace(triton.address, headers={"x": Secret("señal")})) as inferencer:
        with pytest.raises(UsageError, match="cannot be sent") as caught:
            await inferencer.infer(sum_request())
    assert "señal" not in str(caught.value)


@BOTH
async def test_an_answer_without_outputs_is_said_as_such(triton: Running, protocol: Protocol) -> None:
    request = InferenceRequest("undeclared", (Tensor("IN", "FP32", np.zeros(1, dtype=np.float32)),))
    async with Inferencer(triton.address, protocol=protocol) as inferencer:
        answer = await inferencer.infer(request)
        assert answer.outputs == ()
        assert summarise_answer(answer) == [NO_OUTPUTS]
        assert [each.outputs async for each in inferencer.stream(request)] == [()]


def test_inputs_are_checked_before_anything_is_sent() -> None:
    specs = [TensorSpec("A", "FP32", (-1, 4)), TensorSpec("B", "FP32", (-1, 4)), TensorSpec("C", "FP32", (1,), True)]
    check_request(sum_request(), specs)
    a, _ = sum_request().inputs
    for inputs, said in (((a,), "missing input B"), ((a, replace(a, name="X")), "no such input"), ((a, a), "twice")):
        with pytest.raises(UsageError, match=said):
            check_request(InferenceRequest("sum", inputs), specs)


# Streams


async def test_a_decoupled_model_streams_its_answers_as_they_come(triton: Running) -> None:
    async with Inferencer(triton.address) as inferencer:
        answers = [each async for each in inferencer.stream(count_request(4))]
        assert [each.outputs[0].data.tolist() for each in answers] == [[f"token {each}".encode()] for each in range(4)]
        gaps = np.diff([each.latency_us for each in answers])
        assert (gaps > 20_000).all()  # the model sleeps 50 ms between them
        assert [each async for each in inferencer.stream(count_request(0))] == []
        (single,) = [each async for each in inferencer.stream(sum_request())]
        assert single.outputs[0].data.tolist() == [[2, 4, 6, 8]]


async def test_a_stream_that_breaks_gives_what_came_and_then_the_servers_words(triton: Running) -> None:
    async with Inferencer(triton.address) as inferencer:
        answers = inferencer.stream(count_request(-2))
        seen = [await anext(answers), await anext(answers)]
        with pytest.raises(OperationFailed, match="broke in mid-stream"):
            await anext(answers)
        with pytest.raises(NotFound, match="ghost"):
            await anext(inferencer.stream(replace(count_request(1), model="ghost")))
    assert all(each.outputs for each in seen)


async def test_closing_a_stream_cancels_it_and_nothing_else(triton: Running) -> None:
    async with Inferencer(triton.address) as inferencer:
        async with aclosing(inferencer.stream(count_request(200))) as answers:
            assert (await anext(answers)).outputs
        assert await asyncio.wait_for(_first(inferencer), 5)  # the one instance is free again, long before 10 s


async def _first(inferencer: Inferencer) -> bytes:
    async with aclosing(inferencer.stream(count_request(1))) as answers:
        return bytes((await anext(answers)).outputs[0].data[0])


async def test_a_cancelled_task_ends_its_stream(triton: Running) -> None:
    async with Inferencer(triton.address) as inferencer:

        async def read() -> None:
            async for _ in inferencer.stream(count_request(200)):
                started.set()

        started = asyncio.Event()
        task = asyncio.create_task(read())
        await asyncio.wait_for(started.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_connection_closed_under_a_stream_is_an_error_not_a_cancellation(triton: Running) -> None:
    inferencer = Inferencer(triton.address)
    answers = inferencer.stream(count_request(200))
    await anext(answers)
    await inferencer.aclose()
    with pytest.raises(Unreachable, match="closed on this side"):
        async for _ in answers:
            pass


async def test_a_stream_ends_at_its_deadline(triton: Running) -> None:
    async with Inferencer(triton.address) as inferencer:
        with pytest.raises(Unreachable, match=r"no answer within 0\.3 s") as caught:
            async for _ in inferencer.stream(count_request(200), timeout_s=0.3):
                pass
    assert caught.value.kind == "timeout"


async def test_decoupled_models_need_grpc_and_a_stream(triton: Running) -> None:
    async with Inferencer(triton.address) as inferencer:
        with pytest.raises(OperationFailed, match="decoupled transaction policy") as caught:
            await inferencer.infer(count_request(1))
        assert "ask for a stream" in caught.value.advice
    async with Inferencer(triton.http_only) as inferencer:
        with pytest.raises(OperationFailed, match="decoupled transaction policy") as caught:
            await anext(inferencer.stream(count_request(1)))
        assert caught.value.advice.startswith("a decoupled model needs gRPC, but no gRPC address")
        (single,) = [each async for each in inferencer.stream(sum_request())]
        assert single.protocol is Protocol.HTTP


# Ports that do not behave


async def test_a_dead_server(triton: Running) -> None:
    dead = ServerAddress(f"http://127.0.0.1:{free_port()}", grpc=f"127.0.0.1:{free_port()}")
    for protocol in (None, *Protocol):
        async with Inferencer(dead, protocol=protocol) as inferencer:
            with pytest.raises(Unreachable) as caught:
                await inferencer.infer(sum_request())
            assert caught.value.kind == "refused"


@asynccontextmanager
async def answering(reply: bytes | None) -> AsyncIterator[int]:
    """A port that accepts, and answers anything with `reply`, or never."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(65536)
            if reply is None:
                await asyncio.sleep(60)
            writer.write(reply or b"")
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_server_that_accepts_and_never_answers() -> None:
    async with answering(None) as port:
        for protocol in Protocol:
            address = ServerAddress(f"http://127.0.0.1:{port}", grpc=f"127.0.0.1:{port}")
            began = time.monotonic()
            async with Inferencer(address, protocol=protocol, timeout_s=0.5) as inferencer:
                with pytest.raises(Unreachable) as caught:
                    await inferencer.infer(sum_request())
            assert caught.value.kind == "timeout"
            assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"garbage\r\n\r\n", "garbage"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "garbage"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "garbage"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found", "garbage"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"outputs":[{}]}', "garbage"),
    ],
)
async def test_a_server_that_answers_garbage(reply: bytes, kind: str) -> None:
    async with answering(reply) as port, Inferencer(ServerAddress(f"http://127.0.0.1:{port}")) as inferencer:
        with pytest.raises(Unreachable) as caught:
            await inferencer.infer(sum_request())
    assert caught.value.kind == kind


@given(st.binary(max_size=200), st.none() | st.text(max_size=5) | st.integers(-5, 300).map(str))
def test_no_answer_breaks_the_decoder_otherwise_than_it_says(body: bytes, length: str | None) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        decode_answer(body, length, math.nan)


@pytest.mark.parametrize(
    "output",
    [
        '{"name":"O","datatype":"FP32","shape":[4],"parameters":{"binary_data_size":-4}}',
        '{"name":"O","datatype":"FP32","shape":[4],"parameters":{"binary_data_size":99}}',
        '{"name":"O","datatype":"FP32","shape":[9],"parameters":{"binary_data_size":4}}',
        '{"name":"O","datatype":"FP99","shape":[1],"parameters":{"binary_data_size":4}}',
        '{"name":"O","datatype":"FP32","shape":[2],"data":[1]}',
        '{"name":"O","datatype":"FP32","shape":null,"data":[1]}',
        '{"name":"O"}',
    ],
)
def test_an_output_that_lies_about_itself_is_refused(output: str) -> None:
    header = f'{{"outputs":[{output}]}}'.encode()
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode_answer(header + b"1234", str(len(header)), 0.0)


def test_outputs_as_json_are_read_too() -> None:
    body = (
        b'{"model_name":"m","model_version":"1","outputs":[{"name":"A","datatype":"FP16","shape":[2,1],"data":[1,2]},'
        b'{"name":"B","datatype":"BYTES","shape":[1],"data":["x"]}]}'
    )
    answer = decode_answer(body, None, 1.0)
    assert [each.data.tolist() for each in answer.outputs] == [[[1.0], [2.0]], [b"x"]]
