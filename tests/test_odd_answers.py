"""Answers that no Triton gives, each of which must end in a clear word: never in silence, a hang or a traceback."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.answering import always, free_port, listening, local
from tritonctl.errors import Unreachable
from tritonctl.server import wire
from tritonctl.server.address import ServerAddress
from tritonctl.server.image import parse_options
from tritonctl.server.inference_grpc import GrpcInference
from tritonctl.server.inference_http import HttpInference
from tritonctl.server.request import InferenceRequest
from tritonctl.server.score import Scored, lines_of
from tritonctl.server.tensorflow import TensorFlowInference


class _Transport(asyncio.Transport):
    def write(self, data: Any) -> None: ...

    def abort(self) -> None: ...


async def test_an_answer_before_the_request_is_sent_is_said_at_once() -> None:
    connection = wire.Connection(b"", 1000)
    connection.connection_made(_Transport())
    answer = connection.send(b"x" * 200_000)  # more than the window that the server gives at first
    trailers = b"\x00\x0bgrpc-status\x010"
    frames = wire._frame(0, 0, 1, b"\0\0\0\0\0") + wire._frame(1, 0x5, 1, trailers)
    connection.data_received(frames)
    with pytest.raises(wire.Unfit, match="before the request was sent"):
        await asyncio.wait_for(answer, 1.0)


async def test_a_request_that_was_not_answered_in_time_is_not_sent_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def __init__(self, *_: object) -> None: ...

        async def call(self, _message: object) -> None:
            raise TimeoutError

        def close(self) -> None: ...

    async def again(*_: object) -> bytes:
        raise AssertionError("it was sent a second time")

    monkeypatch.setattr(wire, "Wire", Silent)
    monkeypatch.setattr(GrpcInference, "send", again)
    port = free_port()
    inference = GrpcInference(ServerAddress(f"http://127.0.0.1:{port}", grpc=f"127.0.0.1:{port}"), 1000)
    try:
        with pytest.raises(Unreachable) as caught:
            await inference.sender(InferenceRequest("m", ()), 0.1)
        assert caught.value.kind == "timeout"
    finally:
        await inference.aclose()


async def test_a_description_that_is_garbage_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def garbage(*_: object) -> bytes:
        return b"\xff\xff\xff"

    monkeypatch.setattr(TensorFlowInference, "_call", garbage)
    inference = TensorFlowInference(ServerAddress("http://127.0.0.1:1", grpc=f"127.0.0.1:{free_port()}"), 1000)
    try:
        assert await inference.schema("m", None) is None
    finally:
        await inference.aclose()


async def test_a_number_that_its_datatype_does_not_hold_is_no_answer() -> None:
    outputs = [{"name": "OUT", "datatype": "INT64", "shape": [1], "data": [2**70]}]
    async with listening(always(json.dumps({"outputs": outputs}))) as port:
        inference = HttpInference(local(port), 1_000_000)
        with pytest.raises(Unreachable, match="not an inference answer"):
            await inference.infer(InferenceRequest("m", ()), 5.0)
        await inference.aclose()


def test_json_that_is_nested_too_deep_to_be_spread_is_shown_as_it_came() -> None:
    content = b"[" * 900 + b"]" * 900
    assert lines_of(Scored(content, json.loads(content), 1.0)) == [content.decode()]


def test_a_deviation_alone_is_taken() -> None:
    typed = parse_options("std=0.2/0.2/0.2")
    assert typed.over(parse_options("imagenet")) == typed
    assert typed.scaling("0..1").deviation == (0.2, 0.2, 0.2)
