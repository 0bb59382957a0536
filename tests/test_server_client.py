"""The protocol of operating, against real servers: what each call tells, changes, and refuses."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from tests.servers import IDENTITY, Factory, Running, write_model
from tests.waiting import until
from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, Unreachable
from tritonctl.inventory import ControlMode, ModelState
from tritonctl.server import metrics, models
from tritonctl.server.address import Secret, ServerAddress
from tritonctl.server.client import ServerClient
from tritonctl.server.rates import Scrape, rates

ENSEMBLE = """
name: "both"
platform: "ensemble"
max_batch_size: 8
input [ { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] } ]
ensemble_scheduling { step [
  { model_name: "member" model_version: -1 input_map { key: "IN" value: "IN" } output_map { key: "OUT" value: "MID" } },
  { model_name: "plain" model_version: -1 input_map { key: "IN" value: "MID" } output_map { key: "OUT" value: "OUT" } }
] }
"""
SLOW = IDENTITY.replace("    def execute", "    def initialize(self, args):\n        time.sleep(3)\n\n    def execute")
OVERRIDE = {
    "name": "from_files",
    "backend": "python",
    "max_batch_size": 0,
    "input": [{"name": "IN", "data_type": "TYPE_FP32", "dims": [4]}],
    "output": [{"name": "OUT", "data_type": "TYPE_FP32", "dims": [4]}],
    "instance_group": [{"kind": "KIND_CPU", "count": 1}],
}


def write_repository(folder: Path) -> Path:
    write_model(folder, "plain")
    write_model(folder, "member")
    write_model(folder, "slow", f"import time\n{SLOW}")
    write_model(folder, "broken", "import not_there\n")
    write_model(folder, "unreadable", config="max_batch_size: oops\n")
    (folder / "both" / "1").mkdir(parents=True)
    (folder / "both" / "config.pbtxt").write_text(ENSEMBLE)
    return folder


def address(running: Running, token: str | None = None) -> ServerAddress:
    headers = {"triton-grpc-protocol-x": Secret(token)} if token else {}
    return ServerAddress(running.http, grpc=running.grpc, metrics=running.metrics, headers=headers)


async def state_of(client: ServerClient, name: str) -> tuple[ModelState, str | None]:
    return next((row.state, row.reason) for row in await client.index() if row.name == name)


async def until_unloaded(client: ServerClient, name: str) -> None:
    async def unloaded() -> bool:
        return (await state_of(client, name))[0] is ModelState.UNAVAILABLE

    await until(unloaded)


@pytest.fixture
def server(own_triton: Factory, tmp_path: Path) -> Running:
    return own_triton(write_repository(tmp_path), load=("plain",))


async def test_what_a_healthy_server_tells(server: Running) -> None:
    async with ServerClient(address(server)) as client:
        assert await client.live()
        assert await client.ready()
        assert await client.model_ready("plain")
        assert await client.model_ready("plain", "1")
        assert not await client.model_ready("plain", "2")
        assert not await client.model_ready("nobody")
        told = await client.metadata()
        assert (told.name, told.version) == (server.server.name, "2.51.0")
        assert "model_repository" in told.extensions
        rows = {row.name: row for row in await client.index()}
        assert rows.keys() == {"plain", "member", "slow", "broken", "unreadable", "both"}
        assert (rows["plain"].version, rows["plain"].state, rows["plain"].reason) == ("1", ModelState.READY, None)
        assert (rows["member"].version, rows["member"].state) == (None, ModelState.NOT_LOADED)
        config = await client.config("plain")
        assert (config["name"], config["max_batch_size"]) == ("plain", 8)
        assert (await client.model_metadata("plain"))["inputs"][0]["name"] == "IN"
        assert [(each.name, each.version, each.success_count) for each in await client.statistics()] == [
            ("plain", "1", 0)
        ]
        assert 'nv_inference_request_success{model="plain",version="1"} 0' in await client.metrics()


async def test_what_is_not_there_is_not_found(server: Running) -> None:
    async with ServerClient(address(server)) as client:
        for asking in (client.config("nobody"), client.statistics("nobody"), client.statistics("member")):
            with pytest.raises(NotFound) as caught:
                await asking
            assert caught.value.exit_code == 3
            assert caught.value.answer


async def test_statistics_count_what_was_asked(server: Running) -> None:
    body = json.dumps({"inputs": [{"name": "IN", "datatype": "FP32", "shape": [2, 4], "data": [0] * 8}]}).encode()
    async with ServerClient(address(server)) as client:
        for _ in range(3):
            got = await client.post("/v2/models/plain/infer", body, {}, 5, 1 << 20)
            assert got.status == 200, got.text
        (told,) = await client.statistics("plain")
        assert (told.success_count, told.inference_count, told.execution_count, told.fail_count) == (3, 6, 3, 0)
        assert told.success_ns > told.queue_ns > 0
        assert [(size, count) for size, count, _ in told.batches] == [(2, 3)]
        assert abs(told.last_inference_ms / 1000 - time.time()) < 30
        joined = models.join(await client.index(), await client.statistics())
        row = next(each for each in joined if each.name == "plain")
        assert row.avg_request_us is not None
        assert row.avg_request_us == pytest.approx(told.success_ns / 3000)


async def test_a_load_and_an_unload(server: Running) -> None:
    async with ServerClient(address(server)) as client:
        await client.load("member")
        assert await state_of(client, "member") == (ModelState.READY, None)
        await client.unload("member")
        await until_unloaded(client, "member")
        assert await state_of(client, "member") == (ModelState.UNAVAILABLE, "unloaded")
        await client.unload("member")  # once more is no failure
        await client.unload("nobody")


async def test_a_failed_load_turns_readiness_off_until_it_succeeds(server: Running) -> None:
    async with ServerClient(address(server)) as client:
        with pytest.raises(OperationFailed) as caught:
            await client.load("broken")
        assert (caught.value.status, caught.value.exit_code) == (400, 1)
        assert "No module named 'not_there'" in caught.value.answer
        state, reason = await state_of(client, "broken")
        assert state is ModelState.UNAVAILABLE
        assert "No module named 'not_there'" in (reason or "")
        assert not await client.ready()
        assert await client.live()
        (server.repository / "broken" / "1" / "model.py").write_text(IDENTITY)
        await client.load("broken")
        assert await client.ready()


async def test_a_configuration_that_does_not_parse(server: Running) -> None:
    async with ServerClient(address(server)) as client:
        with pytest.raises(OperationFailed) as caught:
            await client.load("unreadable")
        assert caught.value.status == 500
        assert "log" in caught.value.advice
        assert await state_of(client, "unreadable") == (ModelState.NOT_LOADED, None)


async def test_an_override_and_files(server: Running) -> None:
    async with ServerClient(address(server)) as client:
        await client.load("plain", config=json.dumps({**OVERRIDE, "name": "plain", "max_batch_size": 3}))
        assert (await client.config("plain"))["max_batch_size"] == 3
        with pytest.raises(OperationFailed):
            await client.load("plain", config="not json")
        await client.load("from_files", config=json.dumps(OVERRIDE), files={"1/model.py": IDENTITY.encode()})
        assert await client.model_ready("from_files")
        index = await client.index()
        assert "from_files" not in {row.name for row in index}
        statistics = await client.statistics()
        page = rates(None, Scrape(metrics.parse(await client.metrics()), 0.0))
        by_statistics = {each.name: each for each in models.join(index, statistics)}
        by_metrics = {each.name: each for each in models.join(index, (), page.models)}
        for found in (by_statistics, by_metrics):
            assert (found["from_files"].state, found["from_files"].overridden) == (ModelState.READY, True)
            assert found["plain"].overridden is None


async def test_unloading_with_dependents_and_without(server: Running) -> None:
    async with ServerClient(address(server)) as client:
        await client.load("both")
        assert await client.model_ready("both")
        assert await state_of(client, "member") == (ModelState.READY, None)
        await client.unload("member")
        await until_unloaded(client, "member")
        await until_unloaded(client, "both")  # the ensemble goes without a word
        assert not await client.model_ready("both")
        await client.load("both")
        await client.unload("both", dependents=True)
        await until_unloaded(client, "member")


async def test_a_load_goes_on_when_waiting_for_it_is_given_up(server: Running) -> None:
    async with ServerClient(address(server)) as client:
        with pytest.raises(Unreachable) as caught:
            await client.load("slow", timeout_s=0.5)
        assert caught.value.kind == "timeout"
        assert await state_of(client, "slow") == (ModelState.LOADING, None)
        assert not await client.ready()
        await until(client.ready, 20)
        assert await state_of(client, "slow") == (ModelState.READY, None)


async def test_a_server_killed_in_the_middle_of_a_load(server: Running) -> None:
    async with ServerClient(address(server)) as client:
        loading = asyncio.create_task(client.load("slow"))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        server.kill()
        with pytest.raises(Unreachable) as caught:
            await loading
        assert time.monotonic() - began < 10
        assert caught.value.kind == "lost"
        assert "/v2/repository/models/slow/load" in caught.value.tried
        assert "was lost" in caught.value.answer


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("explicit", ControlMode.EXPLICIT),
        ("none", ControlMode.NONE_OR_POLL),
        ("poll", ControlMode.NONE_OR_POLL),
    ],
)
async def test_the_control_mode_is_found_and_nothing_changes(
    triton: Factory, tmp_path_factory: pytest.TempPathFactory, mode: str, told: ControlMode
) -> None:
    folder = tmp_path_factory.mktemp(mode)
    write_model(folder, "plain")
    running = triton(folder, control_mode=mode, load=("plain",) if mode == "explicit" else ())  # type: ignore[arg-type]
    async with ServerClient(address(running)) as client:

        async def seen() -> tuple[object, ...]:
            return await client.ready(), await client.index(), await client.statistics(), running.log

        before = await seen()
        assert await client.detect_control_mode() is told
        await asyncio.sleep(0.2)
        assert await seen() == before


@pytest.mark.parametrize("mode", ["none", "poll"])
async def test_a_load_outside_explicit_mode_is_refused_with_the_way_out(
    triton: Factory, tmp_path_factory: pytest.TempPathFactory, mode: str
) -> None:
    folder = tmp_path_factory.mktemp(mode)
    write_model(folder, "plain")
    running = triton(folder, control_mode=mode)  # type: ignore[arg-type]
    async with ServerClient(address(running)) as client:
        for change in (client.load("plain"), client.unload("plain")):
            with pytest.raises(OperationFailed) as caught:
                await change
            assert caught.value.status == 503
            assert "polling is enabled" in caught.value.answer
            assert "explicit" in caught.value.advice


async def test_restricted_apis_are_forbidden_without_their_header(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "plain")
    flags = ("--http-restricted-api=model-repository,metadata,statistics:admin-key=hush-hush",)
    running = own_triton(tmp_path, load=("plain",), flags=flags)
    async with ServerClient(ServerAddress(running.http)) as client:
        assert await client.ready()
        assert await client.detect_control_mode() is None
        for asking in (client.index(), client.metadata(), client.statistics(), client.load("plain")):
            with pytest.raises(Forbidden) as caught:
                await asking
            assert caught.value.exit_code == 4
            assert "restricted" in str(caught.value)
            assert "headers" in caught.value.advice
            assert "hush-hush" not in str(caught.value)
    with_key = ServerAddress(running.http, headers={"admin-key": Secret("hush-hush")})
    async with ServerClient(with_key) as client:
        assert await client.detect_control_mode() is ControlMode.EXPLICIT
        assert [row.name for row in await client.index()] == ["plain"]
    assert "hush-hush" not in repr(with_key) + str(with_key)


NAMES = ("[red]", "a%41b", "x" * 250, "dots..dots", "semi;colon", "quote'\"", "{braces}", "&amp;", "back\\slash")
NOT_IN_A_PATH = ("two words", "\x1b[31mred", "üñí☃", "q?x", "h#x", "new\nline")


async def test_models_of_odd_names(own_triton: Factory, tmp_path: Path) -> None:
    """Triton takes names from the path as they are: what would need quoting cannot be asked for over HTTP."""
    for name in (*NAMES, *NOT_IN_A_PATH):
        write_model(tmp_path, name, config="platform: 7")  # it need not load for its name to be looked up
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    write_model(tmp_path, "[bold]plain")
    running = own_triton(tmp_path, load=("[bold]plain",))
    async with ServerClient(address(running)) as client:
        listed = {row.name for row in await client.index()}
        assert listed == {*NAMES, *NOT_IN_A_PATH, "[bold]plain", "caf\ufffd"}
        assert {each.name for each in models.join(await client.index(), ())} == listed
        assert await client.model_ready("[bold]plain")
        assert (await client.config("[bold]plain"))["name"] == "[bold]plain"
        await client.unload("[bold]plain")
        await until_unloaded(client, "[bold]plain")
        await client.load("[bold]plain")
        for name in NAMES:
            with pytest.raises(OperationFailed) as failed:
                await client.load(name)
            assert failed.value.answer == f"failed to load '{name}', failed to poll from model repository"
        for name in (*NOT_IN_A_PATH, "..", ".", "a/b", "../../health", ""):
            for asking in (client.load(name), client.unload(name), client.config(name), client.model_ready(name)):
                with pytest.raises(TritonctlError) as refused:
                    await asking
                assert "rename" in refused.value.advice
                assert "\x1b" not in str(refused.value)
        assert await client.live()
