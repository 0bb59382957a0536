"""Servers of other protocols show that they are there, and no word is made up that they did not say."""

from __future__ import annotations

import pytest

from tests.answering import Handler, always, answer, free_port, listening, read_request, silent
from tritonctl.inventory import Level, Platform, Replica, ReplicaStatus, Service
from tritonctl.probe import ServerProbe
from tritonctl.server.address import Secret, ServerAddress, Speaks
from tritonctl.status import derive, server_word

RUNS = Platform("running", Level.OK)


async def look(address: ServerAddress) -> tuple[ReplicaStatus, Level, str]:
    replica = Replica("r1", RUNS, address)
    probe = ServerProbe(replica, deadline_s=2.0)
    try:
        seen = await probe.look(ReplicaStatus(replica))
    finally:
        await probe.aclose()
    status = derive(Service("b/s", "b", "test", "s", RUNS, (replica,)), [seen])
    return seen, status.level, server_word(status)


def score(port: int) -> ServerAddress:
    return ServerAddress(
        f"http://127.0.0.1:{port}/score", headers={"Authorization": Secret("Bearer hush")}, protocol=Speaks.SCORE
    )


@pytest.mark.parametrize(
    ("handler", "word", "ready"),
    [
        (always("Healthy"), "ready", True),
        (always("no such page", 404), "answers", None),
        (always("", 401), "answers", None),
        (always("", 302, "Location: /docs\r\n"), "answers", None),
    ],
)
async def test_a_scoring_service_that_answers_is_fine(handler: Handler, word: str, ready: bool | None) -> None:
    async with listening(handler) as port:
        seen, level, said = await look(score(port))
    assert (seen.error, seen.live, seen.ready, level, said) == (None, True, ready, Level.OK, word)


@pytest.mark.parametrize(("handler", "kind"), [(always("bad gateway", 502), "failed"), (silent, "timeout")])
async def test_one_that_does_not_is_not(handler: Handler, kind: str) -> None:
    async with listening(handler) as port:
        seen, level, said = await look(score(port))
    assert (seen.live, seen.error_kind, level, said) == (None, kind, Level.FAILED, "unreachable")


async def test_one_that_is_gone_says_nothing_of_triton() -> None:
    seen, _, said = await look(score(free_port()))
    assert (seen.error_kind, said) == ("refused", "starting")
    assert "Triton" not in f"{seen.error} {seen.advice}"


async def test_no_token_is_sent_to_the_health_route() -> None:
    heads: list[str] = []

    async with listening(_recording(heads)) as port:
        await look(score(port))
    assert len(heads) == 1
    assert heads[0].startswith("GET / ")
    assert "hush" not in heads[0]


def _recording(heads: list[str]) -> Handler:
    async def handle(reader, writer):  # type: ignore[no-untyped-def]
        while True:
            heads.append((await read_request(reader))[2])
            writer.write(answer("Healthy"))
            await writer.drain()

    return handle


async def test_tensorflow_serving_is_connected_to() -> None:
    async with listening(silent) as port:
        address = ServerAddress("", grpc=f"127.0.0.1:{port}", protocol=Speaks.TENSORFLOW)
        seen, level, said = await look(address)
        assert (seen.error, level, said) == (None, Level.OK, "answers")
        assert address.shown == f"grpc://127.0.0.1:{port}"
    gone, _, _ = await look(ServerAddress("", grpc=f"127.0.0.1:{free_port()}", protocol=Speaks.TENSORFLOW))
    assert gone.error_kind == "refused"
