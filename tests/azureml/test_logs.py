"""Logs of both containers, and following without telling a line twice."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.azureml.logs import fresh
from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.azure.state import Fault, refuse
from tests.azureml.place import Place, watched
from tritonctl.backend import LogLine
from tritonctl.errors import Forbidden


@given(st.lists(st.sampled_from("ab"), max_size=30), st.lists(st.sampled_from("ab"), max_size=30), st.integers(1, 40))
def test_a_log_whose_beginning_is_in_both_answers_goes_on_where_it_was(
    before: list[str], added: list[str], tail: int
) -> None:
    """As long as nothing has fallen out of the window, every line is told once, equal lines among them."""
    whole = before + added
    if len(whole) <= tail:
        assert list(fresh(before, whole)[0]) == added


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40))
def test_lines_that_differ_are_told_once_from_any_window(before: int, added: int, tail: int) -> None:
    log = [f"line {number}" for number in range(before + added)]
    earlier, now = log[:before][-tail:], log[-tail:]
    told = list(fresh(earlier, now)[0])
    assert told == log[before:][-tail:]


def test_a_log_that_begins_anew_is_told_from_its_beginning() -> None:
    assert list(fresh(["a", "b"], ["x", "y"])[0]) == ["x", "y"]


async def logged(place: Place, name: str, **given: object) -> list[LogLine]:
    return [line async for batch in place.backend.logs(place.service(name), **given) for line in batch]  # type: ignore[arg-type]


async def test_both_containers_tell(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep", crowd=True)
    sample.deployment("ep", "blue")
    async with watched(azure) as place:
        texts = [each.text for each in await logged(place, "ep/blue", tail=3)]
    assert texts == [
        *("── storage-initializer ──", "downloading the model", "done"),
        *("── inference-server ──", *(f"I0101 00:00:{n}.0 1 server.cc] line {n}" for n in (17, 18, 19))),
    ]


async def test_a_container_that_is_not_up_has_no_log_yet(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep", crowd=True)
    sample.deployment("ep", "blue")
    azure.state.logs.clear()
    async with watched(azure) as place:
        assert await logged(place, "ep/blue", tail=10) == []


@pytest.mark.parametrize("status", [429, 503])
async def test_a_fault_on_the_way_does_not_end_a_log(azure: Emulator, status: int) -> None:
    """One that lasts is told, once; what came meanwhile is told after it."""
    sample = Sample(azure)
    sample.endpoint("ep", crowd=True)
    lines = azure.state.logs[sample.deployment("ep", "blue").lower(), "InferenceServer"]
    seen: list[str] = []
    async with watched(azure) as place:

        async def follow() -> None:
            async for batch in place.backend.logs(place.service("ep/blue"), tail=1, follow=True):
                seen.extend(line.text for line in batch)

        reading = asyncio.create_task(follow())
        await place.until(lambda: len(seen) == 1)
        fault = Fault("POST", "getLogs", 1, refuse(status, "Busy", "later"))
        fault.response.headers["Retry-After"] = "600"  # type: ignore[union-attr]
        azure.state.faults.append(fault)
        lines.append("while it failed")
        if status == 503:
            await place.until(lambda: fault.times == 0)
            await place.until(lambda: "while it failed" in seen)
            assert len(seen) == 2, "a fault that passes is not worth a line"
            fault.times = None
        await place.until(lambda: any("cannot be read now" in each for each in seen))
        assert not reading.done()
        if status == 503:
            lines.append("still there")
            azure.state.faults.clear()
            await place.until(lambda: seen[-1] == "still there")
            assert sum("cannot be read now" in each for each in seen) == 1
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_log_that_may_not_be_read_any_more_ends(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep", crowd=True)
    sample.deployment("ep", "blue")
    async with watched(azure) as place:
        following = place.backend.logs(place.service("ep/blue"), tail=1, follow=True)
        await anext(following)
        azure.state.faults.append(Fault("POST", "getLogs", None, refuse(403, "AuthorizationFailed", "no more")))
        with pytest.raises(Forbidden, match="no more"):
            await anext(following)


async def test_following_tells_each_line_once(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep", crowd=True)
    path = sample.deployment("ep", "blue").lower()
    lines = azure.state.logs[path, "InferenceServer"]
    seen: list[str] = []
    async with watched(azure) as place:

        async def follow() -> None:
            async for batch in place.backend.logs(place.service("ep/blue"), tail=2, follow=True):
                seen.extend(line.text for line in batch)

        reading = asyncio.create_task(follow())
        await place.until(lambda: len(seen) == 2)
        for number in range(5):
            lines.append("the same again")
            lines.append(f"new {number}")
            await place.until(lambda number=number: f"new {number}" in seen)  # type: ignore[misc]
        asked = len(azure.state.requests("POST", "getLogs"))
        await place.until(lambda: len(azure.state.requests("POST", "getLogs")) > asked + 2)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    expected = [text for number in range(5) for text in ("the same again", f"new {number}")]
    assert seen[2:] == expected
