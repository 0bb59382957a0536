"""Services that are well, slow or off on purpose, for real: triage has nothing to say against any of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from backends.embedded.server import SAMPLES
from tests.diagnosis import Patient, diagnosed, patient
from tests.servers import IDENTITY, IDENTITY_CONFIG, write_model
from tests.test_triage_running import body, load_fails, traffic
from tests.waiting import until
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.stages import Stage, StageState

SLOW_LOAD = IDENTITY.replace(
    "    def execute",
    "    def initialize(self, args):\n        import time\n        time.sleep(6)\n\n    def execute",
    1,
)


def well(diagnosis: Diagnosis) -> None:
    assert [(each.id, each.evidence) for each in diagnosis.findings] == []
    assert diagnosis.healthy


async def test_idle(tmp_path: Path) -> None:
    """On a machine without a GPU: the log is full of CUDA's complaints."""
    write_model(tmp_path, "same")
    well(await diagnosed(tmp_path))


async def test_under_traffic(tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    async with patient(tmp_path) as one, traffic(one, "same"):
        diagnosis = await one.diagnose()
    well(diagnosis)
    assert diagnosis.stages[-1].state is StageState.DONE


async def test_slow_but_not_queueing(tmp_path: Path) -> None:
    write_model(tmp_path, "slow", IDENTITY.replace("return [", "__import__('time').sleep(0.4)\n        return [", 1))
    async with patient(tmp_path) as one, traffic(one, "slow"):
        well(await one.diagnose())


async def test_nothing_loaded_in_explicit_mode(tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    well(await diagnosed(tmp_path, mode="explicit"))


async def test_an_empty_repository_in_explicit_mode(tmp_path: Path) -> None:
    well(await diagnosed(tmp_path, mode="explicit"))


async def test_unloaded_on_purpose(tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    write_model(tmp_path, "other")

    async def unload(one: Patient) -> None:
        async with one.client as client:
            await client.unload("same")
        await asyncio.sleep(2.5)

    well(await diagnosed(tmp_path, mode="explicit", load=("same", "other"), act=unload))


async def test_a_load_that_failed_and_then_went_well(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "m", "import shapely_is_not_here\n")

    async def repair(one: Patient) -> None:
        await load_fails(one, "m")
        (folder / "1/model.py").write_text(IDENTITY)
        async with one.client as client:
            await client.load("m")

    well(await diagnosed(tmp_path, mode="explicit", act=repair))


async def test_a_long_load_at_the_start(tmp_path: Path) -> None:
    write_model(tmp_path, "large", SLOW_LOAD)
    async with patient(tmp_path, wait=False) as one:
        await asyncio.sleep(2.5)
        diagnosis = await one.diagnose()
    assert diagnosis.findings == ()
    assert not diagnosis.healthy
    assert {rung.stage: rung.state for rung in diagnosis.stages}[Stage.SERVER] is StageState.UNDER_WAY


async def test_a_long_load_on_request(tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    write_model(tmp_path, "large", SLOW_LOAD)
    async with patient(tmp_path, mode="explicit", load=("same",)) as one, one.client as client:
        load = asyncio.create_task(client.load("large"))
        await asyncio.sleep(1)
        diagnosis = await one.diagnose()
        await load
    assert diagnosis.findings == ()
    models = {rung.stage: rung for rung in diagnosis.stages}[Stage.MODELS]
    assert models.state is StageState.UNDER_WAY
    assert "large" in models.detail


NOISE = (
    "import sys\nprint(\"ModuleNotFoundError: No module named 'flash_attn'\", file=sys.stderr)\n"
    "print('CUDA out of memory. Tried to allocate 2.00 GiB, taking less', file=sys.stderr)\n"
)


async def test_a_model_that_talks_of_errors_and_works(tmp_path: Path) -> None:
    """A library that can do without another one says so on stderr."""
    write_model(tmp_path, "loud", NOISE + IDENTITY)
    well(await diagnosed(tmp_path))


async def test_a_model_that_talks_of_errors_while_another_one_still_loads(tmp_path: Path) -> None:
    """At the start, and again on request, when the whole server says not ready for it."""
    write_model(tmp_path, "loud", NOISE + IDENTITY)
    write_model(tmp_path, "large", SLOW_LOAD)
    async with patient(tmp_path, mode="explicit", load=("loud", "large"), wait=False) as one:
        await asyncio.sleep(3)
        diagnosis = await one.diagnose()
        assert diagnosis.findings == ()
        log = diagnosis.evidence.replicas[0].log
        assert log is not None
        assert any("flash_attn" in entry.text for entry in log.entries), "it has been read"
        await one.until(lambda: one.state == "running")
        async with one.client as client:
            await client.unload("large")
            load = asyncio.create_task(client.load("large"))
            await asyncio.sleep(1)
            assert (await one.diagnose()).findings == ()
            await load


async def test_clients_whose_requests_are_wrong(tmp_path: Path) -> None:
    """Refused before they reach the model: no fault of the service."""
    write_model(tmp_path, "same")

    async def ask(one: Patient) -> None:
        async with httpx.AsyncClient() as client:
            for model in ("same", "ghost"):
                answer = await client.post(f"{one.client.address.http}/v2/models/{model}/infer", json={"inputs": []})
                assert answer.status_code >= 400
            good = await client.post(f"{one.client.address.http}/v2/models/same/infer", json=body())
            assert good.status_code == 200

    well(await diagnosed(tmp_path, act=ask))


async def test_several_versions_and_a_cache(tmp_path: Path) -> None:
    folder = write_model(
        tmp_path, "two", config=IDENTITY_CONFIG + "version_policy { all { } }\nresponse_cache { enable: true }\n"
    )
    (folder / "2").mkdir()
    (folder / "2/model.py").write_text(IDENTITY)
    async with patient(tmp_path, "--cache-config=local,size=1048576") as one, traffic(one, "two"):
        well(await one.diagnose())


async def test_the_good_samples_of_the_demo(tmp_path: Path) -> None:
    import shutil

    for name in ("add_sub", "digits", "digit_text", "digits_report", "tokens"):
        shutil.copytree(SAMPLES / name, tmp_path / name)
    well(await diagnosed(tmp_path))


async def test_an_exception_long_ago(tmp_path: Path) -> None:
    """Failures before the window, with successes since, are history."""
    from tests.test_triage_running import RAISES_ON_NEGATIVE

    write_model(tmp_path, "picky", RAISES_ON_NEGATIVE)

    async def ask(one: Patient) -> None:
        async with httpx.AsyncClient() as client:
            for first in (-1.0, 1.0):
                await client.post(f"{one.client.address.http}/v2/models/picky/infer", json=body(first))

    well(await diagnosed(tmp_path, act=ask))


async def test_a_model_replaced_and_another_one_added_in_poll_mode(tmp_path: Path) -> None:
    """A new version of the files, as a pipeline that publishes models writes them."""
    write_model(tmp_path, "same")

    async def publish(one: Patient) -> None:
        write_model(tmp_path, "added")
        (tmp_path / "same/1/model.py").write_text(IDENTITY + "\n# retrained\n")
        address = one.client.address.http
        async with httpx.AsyncClient() as client:

            async def added() -> bool:
                return (await client.get(f"{address}/v2/models/added/ready")).status_code == 200

            await until(added, 60)

    well(await diagnosed(tmp_path, "--repository-poll-secs=1", mode="poll", act=publish))
