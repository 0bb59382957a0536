"""One look after another at a real server: restricted, closed, killed, back again; and at what is no server at all."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.answering import always, answer, free_port, like_triton, listening, local, read_request, responding, silent
from tests.servers import Factory, Running, write_model
from tests.test_server_client import OVERRIDE, SLOW
from tritonctl.inventory import ControlMode, Level, ModelState, Platform, Replica, ReplicaStatus, Service
from tritonctl.probe import ServerProbe
from tritonctl.server.address import Secret, ServerAddress
from tritonctl.server.client import ServerClient
from tritonctl.status import derive

RUNS = Platform("running", Level.OK)
TOKEN = "s3cr3t-t0k3n"


def replica(address: ServerAddress) -> Replica:
    return Replica("r1", RUNS, address)


async def look(address: ServerAddress, *, deadline_s: float = 10.0, times: int = 1) -> ReplicaStatus:
    probe = ServerProbe(replica(address), deadline_s=deadline_s)
    seen = ReplicaStatus(replica(address))
    try:
        for _ in range(times):
            seen = await probe.look(seen)
        return seen
    finally:
        await probe.aclose()


def of(running: Running, **headers: str) -> ServerAddress:
    secrets = {name.replace("_", "-"): Secret(value) for name, value in headers.items()}
    return ServerAddress(running.http, metrics=running.metrics, headers=secrets)


async def test_restricted_apis_do_not_make_a_server_look_dead(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "plain")
    flags = ("--http-restricted-api=model-repository,metadata,statistics:admin-key=hush",)
    running = own_triton(tmp_path, load=("plain",), flags=flags)
    seen = await look(of(running), times=2)
    assert (seen.error, seen.live, seen.ready) == (None, True, True)
    assert (seen.version, seen.control_mode, seen.models_known) == (None, None, False)
    assert seen.rates is not None
    service = Service("b/s", "b", "urls", "s", RUNS, (seen.replica,))
    assert derive(service, [seen]).level is Level.OK
    with_key = await look(of(running, admin_key="hush"))
    assert with_key.models_known
    assert (with_key.version, with_key.control_mode) == ("2.51.0", ControlMode.EXPLICIT)
    assert "hush" not in repr(with_key) + repr(derive(service, [with_key]))


async def test_read_only_asks_for_no_mode(own_triton: Factory, tmp_path: Path) -> None:
    asked: list[str] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            method, target, _ = await read_request(reader)
            asked.append(f"{method} {target}")
            writer.write(like_triton(method, target))

    async with listening(take) as port:
        probe = ServerProbe(replica(local(port)), may_ask_mode=False)
        seen = await probe.look(ReplicaStatus(replica(local(port))))
        await probe.aclose()
        assert seen.ready
        assert not [each for each in asked if "unload" in each or "load" in each]
        assert len(asked) <= 4
        await look(local(port))
        assert [each for each in asked if "unload" in each]


async def test_a_closed_metrics_port_is_about_the_metrics(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "plain")
    running = own_triton(tmp_path, load=("plain",), flags=("--allow-metrics=false",))
    async with ServerClient(of(running)) as client:
        await client.load("from_files", config=json.dumps(OVERRIDE), files={"1/model.py": _identity()})
    seen = await look(replace(of(running), guessed=True))
    assert (seen.error, seen.ready, seen.rates) == (None, True, None)
    assert seen.metrics_error is not None
    assert "nothing listens" in seen.metrics_error
    assert "guessed" in seen.metrics_error
    assert {model.name: model.overridden for model in seen.models} == {"plain": None, "from_files": True}


def _identity() -> bytes:
    from tests.servers import IDENTITY

    return IDENTITY.encode()


async def test_a_metrics_port_that_says_nothing_is_asked_seldom(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "plain")
    running = own_triton(tmp_path, load=("plain",))
    asked = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await silent(reader, writer)

    async with listening(counted) as port:
        address = ServerAddress(running.http, metrics=f"http://127.0.0.1:{port}/metrics")
        seen = await look(address, deadline_s=3, times=4)
        assert asked == 1
    assert seen.ready
    assert seen.metrics_error is not None
    assert "2 s" in seen.metrics_error


@pytest.mark.parametrize("page", ["", "hello, this is a web page\n", "<html>", "\x00" * 100], ids=range(4))
async def test_a_metrics_port_that_is_none(own_triton: Factory, tmp_path: Path, page: str) -> None:
    async with listening(always(page)) as port, listening(responding(like_triton)) as http:
        seen = await look(local(http, metrics=port))
    assert seen.error is None
    assert seen.metrics_error is not None
    assert "not with metrics" in seen.metrics_error


async def test_killed_in_the_middle_of_a_load_and_back(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "plain")
    write_model(tmp_path, "slow", f"import time\n{SLOW}")
    running = own_triton(tmp_path, load=("plain",))
    address = of(running)
    probe = ServerProbe(replica(address), deadline_s=20)
    async with ServerClient(address) as client:
        loading = asyncio.create_task(client.load("slow"))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        seen = await probe.look(ReplicaStatus(replica(address)))
        assert time.monotonic() - began < 5  # a server that loads answers all the same
        assert {model.name: model.state for model in seen.models} == {
            "plain": ModelState.READY,
            "slow": ModelState.LOADING,
        }
        assert (seen.ready, seen.live, seen.control_mode) == (False, True, ControlMode.EXPLICIT)
        running.kill()
        loading.cancel()  # a stub that the server leaves behind may hold its connection open for minutes
        await asyncio.gather(loading, return_exceptions=True)
    gone = await probe.look(seen)
    assert (gone.error_kind, gone.live, gone.ready, gone.rates) in [
        ("refused", None, None, None),
        ("lost", None, None, None),
    ]
    assert gone.advice
    assert (gone.models, gone.version, gone.seen_at) == (seen.models, "2.51.0", seen.seen_at)
    own_triton.restart(running)
    back = await probe.look(gone)
    await probe.aclose()
    assert (back.error, back.ready) == (None, True)
    assert back.seen_at is not None
    assert seen.seen_at is not None
    assert back.seen_at > seen.seen_at
    assert {model.name: model.state for model in back.models}["slow"] is ModelState.NOT_LOADED


async def test_a_page_of_500_models_holds_nobody_up() -> None:
    families = ("request_success", "request_duration_us", "queue_duration_us", "count", "exec_count")
    lines = []
    for family in families:
        lines.append(f"# TYPE nv_inference_{family} counter")
        lines += [f'nv_inference_{family}{{model="model_number_{n}",version="1"}} {n}' for n in range(500)]
    lines += [
        f'nv_inference_request_summary_us{{model="m{n}",version="1",quantile="{q}"}} 1'
        for n in range(500)
        for q in (0.5, 0.9, 0.95, 0.99)
    ]
    page = "\n".join(lines) + "\n"
    index = json.dumps([{"name": f"model_number_{n}", "version": "1", "state": "READY"} for n in range(500)])
    stalls: list[float] = []

    async def beat() -> None:
        while True:
            began = time.thread_time()  # what the loop itself computes: the machine may be busy with something else
            await asyncio.sleep(0.005)
            stalls.append(time.thread_time() - began)

    def respond(_method: str, target: str) -> bytes:
        return like_triton(_method, target, index=index, page=page)

    async with listening(responding(respond)) as port:
        beating = asyncio.create_task(beat())
        probe = ServerProbe(replica(local(port, metrics=port)), deadline_s=5)
        seen = ReplicaStatus(replica(local(port)))
        for _ in range(4):
            seen = await probe.look(seen)
            derive(Service("b/s", "b", "urls", "s", RUNS, (seen.replica,)), [seen])
        await probe.aclose()
        beating.cancel()
    assert seen.rates is not None
    assert len(seen.rates.models) == 500
    assert len(page) > 300_000  # as much as a real page of 500 models, and more than is read on the event loop
    assert max(stalls) < 0.1, stalls
    print(f"longest stall {max(stalls) * 1000:.0f} ms")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("READY") | st.just("9" * 5000),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "version",
                    "state",
                    "reason",
                    "extensions",
                    "model_stats",
                    "inference_stats",
                    "success",
                    "count",
                    "ns",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(index=JSON | st.lists(JSON), metadata=JSON, statistics=JSON, status=st.sampled_from([200, 200, 200, 400, 500]))
def test_json_of_any_shape_is_an_error_or_a_value(
    index: object, metadata: object, statistics: object, status: int
) -> None:
    def respond(_method: str, target: str) -> bytes:
        if target.startswith("/v2/health"):
            return answer()
        document = index if "index" in target else statistics if "stats" in target else metadata
        return answer(json.dumps(document), status)

    async def main() -> None:
        async with listening(responding(respond)) as port:
            seen = await look(local(port))
            assert seen.looked
            assert seen.error is None or seen.error_kind == "garbage"
            for model in seen.models:
                model.name.encode()
                assert model.version is None or model.version.encode() is not None
            derive(Service("b/s", "b", "urls", "s", RUNS, (seen.replica,)), [seen])

    asyncio.run(main())


@pytest.mark.parametrize(
    "body",
    [
        "[" * 200_000,
        '[{"name": "a", "version": "\\ud800", "state": "READY", "reason": "\\udfff"}]',
        '[{"name": "\\ud83d"}]',
        "[NaN, Infinity]",
        '[{"name": null}, {"name": 7}, {"name": ["a"]}, {"name": "kept"}, null, 1]',
        '{"name": "a"}',
        '[{"name": "a"',
        "1" * 10_000,
        "\xff\xfe",
        "",
    ],
)
async def test_an_index_out_of_shape(body: str) -> None:
    def respond(_method: str, target: str) -> bytes:
        return answer(body.encode("latin-1")) if "index" in target else like_triton(_method, target)

    async with listening(responding(respond)) as port:
        seen = await look(local(port))
    assert seen.looked
    assert seen.error is None or (seen.error_kind == "garbage" and seen.advice)
    if "kept" in body:
        assert [model.name for model in seen.models] == ["kept"]


@pytest.mark.parametrize(
    ("handler", "kind"),
    [(always("<html>hi</html>"), "garbage"), (always("boom", 500), "failed"), (always("", 401), "forbidden")],
)
async def test_one_that_says_the_same_to_everything(handler: object, kind: str) -> None:
    async with listening(handler) as port:  # type: ignore[arg-type]
        address = local(port, metrics=port, token=f"Bearer {TOKEN}")
        seen = await look(address)
    assert seen.error_kind == kind
    assert seen.error
    assert TOKEN not in repr(seen) + str(seen)


async def test_a_dead_port_is_told_at_once() -> None:
    began = time.monotonic()
    seen = await look(local(free_port()))
    assert (seen.error_kind, seen.looked, seen.seen_at) == ("refused", True, None)
    assert time.monotonic() - began < 5


async def test_a_server_replaced_between_two_looks_is_met_again(monkeypatch: pytest.MonkeyPatch) -> None:
    version, explicit = "1.0", True

    def respond(method: str, target: str) -> bytes:
        if target == "/v2":
            return answer(json.dumps({"version": version}))
        if target.endswith("/unload") and not explicit:
            return answer(json.dumps({"error": "not allowed if polling is enabled"}), 503)
        return like_triton(method, target)

    async with listening(responding(respond)) as port:
        probe = ServerProbe(replica(local(port)))
        seen = await probe.look(ReplicaStatus(replica(local(port))))
        assert (seen.version, seen.control_mode) == ("1.0", ControlMode.EXPLICIT)
        version, explicit = "2.0", False
        seen = await probe.look(seen)
        assert seen.version == "1.0"  # not asked each time
        monkeypatch.setattr("tritonctl.probe._MEET_AGAIN_S", 0.0)
        seen = await probe.look(seen)
        assert (seen.version, seen.control_mode) == ("2.0", ControlMode.NONE_OR_POLL)
        await probe.aclose()
