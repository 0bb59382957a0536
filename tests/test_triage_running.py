"""Servers that run and are not well, for real: loads that fail, dead stubs, failing requests, queues, closed ports."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.diagnosis import Patient, causes, diagnosed, patient, quoted
from tests.servers import IDENTITY, write_model
from tritonctl.errors import OperationFailed
from tritonctl.triage.finding import Confidence
from tritonctl.triage.stages import Stage, StageState

DIES = """
import os
class TritonPythonModel:
    def execute(self, requests):
        os._exit(1)
"""
RAISES_ON_NEGATIVE = """
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            data = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
            if data.flat[0] < 0:
                raise ValueError("below zero")
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", data)]))
        return answers
"""
SLOW = IDENTITY.replace(
    "    def execute(self, requests):", "    def execute(self, requests):\n        time.sleep(0.05)"
)
SLOW = "import time\n" + SLOW


def body(first: float = 1.0) -> dict[str, object]:
    return {"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 4], "data": [first, 2.0, 3.0, 4.0]}]}


@asynccontextmanager
async def traffic(one: Patient, model: str, *firsts: float, senders: int = 1) -> AsyncIterator[None]:
    """Requests one after the other from each sender, until left."""
    url = f"{one.client.address.http}/v2/models/{model}/infer"

    async def send(client: httpx.AsyncClient) -> None:
        while True:
            for first in firsts or (1.0,):
                try:
                    await client.post(url, json=body(first))
                except httpx.HTTPError:
                    await asyncio.sleep(0.05)

    async with httpx.AsyncClient(timeout=30) as client:
        tasks = [asyncio.create_task(send(client)) for _ in range(senders)]
        try:
            await asyncio.sleep(0.5)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def load_fails(one: Patient, model: str) -> None:
    async with one.client as client:
        with pytest.raises(OperationFailed):
            await client.load(model)


async def test_a_load_that_fails_takes_the_whole_server_out(tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    write_model(tmp_path, "bad", "import shapely_is_not_here\n")
    diagnosis = await diagnosed(tmp_path, mode="explicit", load=("same",), act=lambda one: load_fails(one, "bad"))
    assert [each.id for each in diagnosis.findings] == ["python-module-missing", "not-ready-models-failed"]
    assert "index bad" in quoted(diagnosis)
    assert "shapely_is_not_here" in diagnosis.findings[0].title
    assert {rung.stage: rung.state for rung in diagnosis.stages}[Stage.READY] is StageState.FAILED


async def test_a_config_that_the_index_is_silent_about(tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    (write_model(tmp_path, "bad") / "config.pbtxt").write_text('name: "bad"\nbackend "python"\n')
    diagnosis = await diagnosed(tmp_path, mode="explicit", load=("same",), act=lambda one: load_fails(one, "bad"))
    assert causes(diagnosis) == ["config-syntax"]
    assert diagnosis.findings[0].model == "bad"
    assert "2:9" in quoted(diagnosis)


async def test_not_ready_for_a_model_that_is_gone(tmp_path: Path) -> None:
    """Strict readiness stays false after the failed model was unloaded and removed."""
    write_model(tmp_path, "same")
    write_model(tmp_path, "bad", "import shapely_is_not_here\n")

    async def act(one: Patient) -> None:
        await load_fails(one, "bad")
        async with one.client as client:
            await client.unload("bad")
            shutil.rmtree(tmp_path / "bad")
            await asyncio.sleep(0.3)
            assert not await client.ready()

    diagnosis = await diagnosed(tmp_path, mode="explicit", load=("same",), act=act)
    assert diagnosis.findings
    assert diagnosis.findings[0].id in ("not-ready-unexplained", "not-ready-models-failed", "python-module-missing")
    assert "not ready" in "\n".join(quote.text for each in diagnosis.findings for quote in each.evidence)
    assert len(causes(diagnosis)) <= 1


async def test_a_dead_stub_behind_a_ready_model(tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    write_model(tmp_path, "dead", DIES)
    async with patient(tmp_path) as one, traffic(one, "dead", senders=3):
        await asyncio.sleep(2)
        diagnosis = await one.diagnose()
        async with one.client as client:
            assert await client.ready()
            assert await client.model_ready("dead")
    assert causes(diagnosis) == ["zombie-model"]
    assert "0 succeeded" in quoted(diagnosis)
    assert "READY" in quoted(diagnosis)
    assert diagnosis.findings[0].model == "dead"
    assert any("unload" in step for step in diagnosis.findings[0].next_steps)


async def test_a_dead_stub_whose_clients_have_gone(tmp_path: Path) -> None:
    write_model(tmp_path, "dead", DIES)

    async def act(one: Patient) -> None:
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.post(f"{one.client.address.http}/v2/models/dead/infer", json=body())
            assert answer.status_code == 500

    diagnosis = await diagnosed(tmp_path, act=act)
    assert causes(diagnosis) == ["zombie-model"]
    assert diagnosis.findings[0].confidence is Confidence.LIKELY


async def test_some_requests_fail_in_the_models_own_code(tmp_path: Path) -> None:
    write_model(tmp_path, "picky", RAISES_ON_NEGATIVE)
    async with patient(tmp_path) as one, traffic(one, "picky", 1.0, 1.0, -1.0):
        diagnosis = await one.diagnose()
    assert causes(diagnosis) == ["requests-fail", "python-execute-error"]
    headline = diagnosis.findings[0]
    assert "backend" in headline.title
    assert "own code" in headline.cause
    assert "BACKEND" in quoted(diagnosis)


async def test_requests_rejected_by_the_queue_policy(tmp_path: Path) -> None:
    policy = (
        "dynamic_batching { default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 20000 } }\n"
    )
    write_model(tmp_path, "busy", SLOW, IDENTITY_WITHOUT_BATCH + policy)
    async with patient(tmp_path) as one, traffic(one, "busy", senders=8):
        diagnosis = await one.diagnose()
    assert "requests-fail" in causes(diagnosis)
    headline = next(each for each in diagnosis.findings if each.id == "requests-fail")
    assert "rejected" in headline.title
    assert "queue policy" in headline.cause


IDENTITY_WITHOUT_BATCH = """
max_batch_size: 1
input [ { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""


async def test_a_queue_that_grows_while_the_machine_has_room(tmp_path: Path) -> None:
    write_model(tmp_path, "slow", SLOW)
    async with patient(tmp_path) as one, traffic(one, "slow", senders=12):
        await asyncio.sleep(1)
        diagnosis = await one.diagnose()
    assert [each.id for each in diagnosis.findings if each.id.startswith("queue-")] == [diagnosis.findings[0].id]
    assert "pending" in quoted(diagnosis)
    assert any("dynamic_batching { }" in step or "tritonctl scale" in step for step in diagnosis.findings[0].next_steps)


async def test_a_metrics_port_that_is_closed(tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    diagnosis = await diagnosed(tmp_path, "--allow-metrics=false")
    assert causes(diagnosis) == ["metrics-closed"]
    assert "/metrics" in quoted(diagnosis)


async def test_counters_that_are_frozen(tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    async with (
        patient(tmp_path, "--metrics-config=counter_latencies=false") as one,
        traffic(one, "same"),
    ):
        diagnosis = await one.diagnose()
    assert [each.id for each in diagnosis.findings] == ["counters-frozen"]


async def test_a_model_in_two_repositories(tmp_path: Path) -> None:
    write_model(tmp_path / "one", "twin")
    write_model(tmp_path / "one", "same")
    write_model(tmp_path / "two", "twin")
    diagnosis = await diagnosed(tmp_path / "one", f"--model-repository={tmp_path / 'two'}", "--exit-on-error=false")
    assert causes(diagnosis) == ["model-twice"]
    assert diagnosis.findings[0].model == "twin"


async def test_an_empty_repository(tmp_path: Path) -> None:
    diagnosis = await diagnosed(tmp_path)
    assert causes(diagnosis) == ["empty-repository"]
    assert str(tmp_path) in quoted(diagnosis)


async def test_a_missing_model_py_hangs_the_start(tmp_path: Path) -> None:
    (write_model(tmp_path, "m") / "1/model.py").unlink()
    async with patient(tmp_path, wait=False) as one:
        await asyncio.sleep(2.5)
        diagnosis = await one.diagnose()
    assert causes(diagnosis) == ["python-file-missing"]
    assert diagnosis.findings[0].model == "m"
    assert {rung.state for rung in diagnosis.stages} >= {StageState.STUCK}


async def test_a_server_that_was_killed(tmp_path: Path) -> None:
    write_model(tmp_path, "same")

    async def act(one: Patient) -> None:
        assert one.server.pid is not None
        os.kill(one.server.pid, signal.SIGKILL)
        await one.until(lambda: one.state.startswith("exited"))

    diagnosis = await diagnosed(tmp_path, act=act)
    assert causes(diagnosis) == ["exit-code"]
    assert "137" in diagnosis.findings[0].title
    assert "exited -9" in quoted(diagnosis)


@pytest.mark.alone
async def test_a_server_that_hangs(tmp_path: Path) -> None:
    """Stopped, not ended: its port takes connections and nothing answers."""
    write_model(tmp_path, "same")
    async with patient(tmp_path) as one:
        assert one.server.pid is not None
        os.kill(one.server.pid, signal.SIGSTOP)
        try:
            diagnosis = await one.diagnose()
        finally:
            os.kill(one.server.pid, signal.SIGCONT)
    assert causes(diagnosis) == ["server-lost"]
    assert diagnosis.evidence.seconds <= 3.2


async def test_an_execution_environment_that_is_not_there(tmp_path: Path) -> None:
    from tests.servers import IDENTITY_CONFIG

    more = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/nonexistent/env.tar.gz" } }\n'
    write_model(tmp_path, "m", config=IDENTITY_CONFIG + more)
    diagnosis = await diagnosed(tmp_path, "--exit-on-error=false")
    assert causes(diagnosis) == ["environment-path"]
    assert "/nonexistent/env.tar.gz" in diagnosis.findings[0].title


async def test_an_ensemble_whose_member_failed_names_the_member(tmp_path: Path) -> None:
    from tests.test_triage_start import ensemble

    ensemble("broken", 4)(tmp_path)
    write_model(tmp_path, "broken", "def f(:\n")
    diagnosis = await diagnosed(tmp_path, "--exit-on-error=false")
    assert diagnosis.findings[0].id == "python-syntax"
    assert diagnosis.findings[0].model == "broken"
    assert len(causes(diagnosis)) == 1
