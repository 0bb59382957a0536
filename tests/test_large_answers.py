"""An answer of 500 MB from a real server: a clear word at once, memory bounded, and the screen goes on meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.inference_models import write_model
from tests.servers import Factory, Running
from tritonctl.errors import Unreachable
from tritonctl.server.inference import Inferencer
from tritonctl.server.request import InferenceRequest, Protocol
from tritonctl.server.tensors import Tensor
from tui.cli import main

BOTH = pytest.mark.parametrize("protocol", list(Protocol))
MEGABYTES = 500
_LARGE = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            count = int(pb.get_input_tensor_by_name(request, "MB").as_numpy()[0])
            answers.append(pb.InferenceResponse([pb.Tensor("OUT", np.zeros(count * 250_000, np.float32))]))
        return answers
"""
_CONFIG = """
backend: "python"
input { name: "MB" data_type: TYPE_INT32 dims: [ 1 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] }
"""


@pytest.fixture(scope="module")
def triton(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Running:
    repository: Path = tmp_path_factory.mktemp("large") / "repository"
    write_model(repository, "large", _CONFIG, _LARGE)
    return triton_factory(repository, control_mode="none")


def asking(megabytes: int) -> InferenceRequest:
    return InferenceRequest("large", (Tensor("MB", "INT32", np.array([megabytes], np.int32)),))


class Watched:
    """The longest time in which the loop did nothing else, in seconds, and the most memory more than at first."""

    lag_s = 0.0
    more_bytes = 0


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    seen = Watched()
    process = psutil.Process()
    before = process.memory_info().rss

    async def beat() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            seen.lag_s = max(seen.lag_s, now - last - 0.005)
            last = now
            seen.more_bytes = max(seen.more_bytes, process.memory_info().rss - before)

    task = asyncio.create_task(beat())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@BOTH
async def test_too_large_an_answer_is_said_and_not_kept(triton: Running, protocol: Protocol) -> None:
    async with Inferencer(triton.address, protocol=protocol, timeout_s=120) as inferencer:
        await inferencer.infer(asking(1))
        async with watched() as seen:
            with pytest.raises(Unreachable, match=r"(?i)larger than") as caught:
                await inferencer.infer(asking(MEGABYTES))
        assert caught.value.kind == "too large"
        assert "smaller batch" in caught.value.advice
        assert seen.more_bytes < 400e6
        assert seen.lag_s < 1.0
        assert (await inferencer.infer(asking(1))).outputs[0].data.size == 250_000  # it goes on


def test_the_command_says_what_takes_more(
    triton: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    base = ["--url", triton.http, "infer", triton.http.split("/")[2], "large", "--timeout", "120"]
    assert main([*base, "--input", "MB=3", "--max-answer", "2"]) == 5
    assert "--max-answer" in capsys.readouterr().err
    assert main([*base, "--input", "MB=300", "--max-answer", "400"]) == 0
    assert "FP32 [75000000] · min 0" in capsys.readouterr().out
