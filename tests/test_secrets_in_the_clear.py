"""A token that HTTPS keeps secret never leaves by a gRPC port without TLS; the generate extension gets it as well."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trustme

from tests.answering import always, listening
from tests.servers import Factory
from tritonctl.errors import Forbidden, NotFound, OperationFailed, Refused
from tritonctl.server.address import Secret, ServerAddress
from tritonctl.server.generate import generate
from tritonctl.server.inference import Inferencer
from tritonctl.server.request import InferenceRequest, Protocol
from tritonctl.server.tensors import Tensor

TOKEN = "s3cr3t-in-the-clear"
REQUEST = InferenceRequest("m", (Tensor("IN", "FP32", np.zeros(1, np.float32)),))
ANSWER = '{"model_name":"m","outputs":[{"name":"OUT","datatype":"FP32","shape":[1],"data":[1.5]}]}'


async def ask(address: ServerAddress, protocol: Protocol | None, seen: list[bytes]) -> tuple[float | None, str | None]:
    """Through HTTPS that answers, beside a gRPC port that keeps what it gets."""

    async def keep(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(4096):
            seen.append(chunk)

    async with listening(keep) as port:
        with_grpc = replace(address, grpc=f"127.0.0.1:{port}")
        inferencer = Inferencer(with_grpc, protocol=protocol, timeout_s=5)
        try:
            answer = await inferencer.infer(REQUEST)
        finally:
            await inferencer.aclose()
    return float(answer.outputs[0].data[0]), inferencer.why_not_grpc


async def test_https_is_taken_and_it_is_said_why(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    seen: list[bytes] = []
    async with listening(always(ANSWER, headers="Content-Type: application/json\r\n"), tls=tls) as port:
        address = ServerAddress(
            f"https://127.0.0.1:{port}",
            headers={"Authorization": Secret(f"Bearer {TOKEN}")},
            ca=str(tmp_path / "ca.pem"),
        )
        got, why = await ask(address, None, seen)
        assert got == 1.5
        assert "in the clear" in (why or "")
        with pytest.raises(Refused, match="in the clear") as caught:
            await ask(address, Protocol.GRPC, seen)
        assert TOKEN not in str(caught.value)
    assert seen == []  # nothing was even connected


async def test_without_headers_or_without_https_grpc_is_tried(tmp_path: Path) -> None:
    for address in (
        ServerAddress("http://127.0.0.1:1", headers={"X-Key": Secret("k")}),
        ServerAddress("https://127.0.0.1:1"),
    ):
        assert not replace(address, grpc="h:1").grpc_in_the_clear
    assert not ServerAddress("https://h", grpc="h:1", grpc_tls=True, headers={"X-Key": Secret("k")}).grpc_in_the_clear


async def test_generate_sends_the_headers_too(
    triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    repository = tmp_path_factory.mktemp("guarded") / "repository"
    repository.mkdir()
    flags = ("--http-restricted-api=inference:x-key=open",)
    running = triton_factory(repository, control_mode="none", flags=flags)
    with pytest.raises((Forbidden, OperationFailed), match="restricted"):
        await anext(generate(running.address, "ghost", {"text_input": "x"}))
    allowed = replace(running.address, headers={"X-Key": Secret("open")})
    with pytest.raises(NotFound):  # through the gate: this server has no models
        await anext(generate(allowed, "ghost", {"text_input": "x"}))
