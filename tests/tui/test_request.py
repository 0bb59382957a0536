"""A test request from the model's page, on a real server: by two keys, and nothing is sent before the second."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tests.fakes import FakeBackend, service
from tests.servers import Factory
from tests.tui.pilot import Dashboard, dashboard
from tritonctl.server.address import ServerAddress


@asynccontextmanager
async def page(triton: Factory, work: Path, model: str, *, grpc: bool = True) -> AsyncIterator[Dashboard]:
    """The test request of a model of the demo."""
    running = triton.demo()
    address = ServerAddress(running.http, grpc=running.grpc, metrics=running.metrics)
    if not grpc:
        address = replace(address, grpc=None)
    async with dashboard(FakeBackend(service("demo", address)), work=work, interval_s=0.5) as shown:
        await shown.until(lambda: "8/12" in shown.text)
        await shown.press("enter")
        await shown.filter(f"{model} ")
        await shown.until(lambda: model in shown.cursor)
        await shown.press("i")
        await shown.sees("[5 Test request]", "[ Send ]")
        yield shown


async def test_nothing_is_sent_before_enter(triton: Factory, tmp_path: Path) -> None:
    async with page(triton, tmp_path, "add_sub") as shown:
        await shown.press("z", "n", "v", "z")
        await asyncio.sleep(1)
        assert "[ Send ]" in shown.text
        assert "answered by" not in shown.text
        await shown.press("enter")
        await shown.sees("answered by", "version 1 over grpc")


async def test_zeros_versions_and_ten_times(triton: Factory, tmp_path: Path) -> None:
    async with page(triton, tmp_path, "digits") as shown:
        await shown.press("z")
        await shown.sees("zeros")
        await shown.press("v", "v")
        chosen = "1" if re.search(r"^ ?version +1", shown.text, re.MULTILINE) else "2"
        await shown.press("enter")
        await shown.sees(f"version {chosen} over grpc", "SCORES", "[ Send ]")
        await shown.press("r")
        await shown.sees("10 in ", "p99")


async def test_answers_of_a_stream(triton: Factory, tmp_path: Path) -> None:
    async with page(triton, tmp_path, "tokens") as shown:
        await shown.press("enter")
        await shown.sees("first after", "total")


async def test_without_grpc_it_goes_by_http_and_says_so(triton: Factory, tmp_path: Path) -> None:
    async with page(triton, tmp_path, "add_sub", grpc=False) as shown:
        await shown.press("enter")
        await shown.sees("over http", "(gRPC: ")
