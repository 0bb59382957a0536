"""A container's log: whole, of one run, followed; whatever is written, and however fast."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from backends.docker.logs import Lines
from tests.docker.place import Place, eventually, until
from tritonctl.backend import LogLine
from tritonctl.errors import OperationFailed
from tritonctl.fleet import Fleet
from tritonctl.inventory import ServiceStatus


async def collect(fleet: Fleet, status: ServiceStatus, *, tail: int = 100_000, previous: bool = False) -> list[LogLine]:
    lines: list[LogLine] = []
    async for batch in fleet.backend_of(status.service).logs(status.service, tail=tail, previous=previous):
        lines += batch
    return lines


async def reads(fleet: Fleet, status: ServiceStatus, holds: Callable[[list[str]], bool]) -> bool:
    return holds([line.text for line in await collect(fleet, status)])


async def test_escape_sequences_broken_text_and_long_lines_come_through_as_they_are(place: Place) -> None:
    name = place.run(
        "odd",
        *("sh", "-c"),
        r"printf '\033[2Jcleared\n\377\376broken\nno end'; printf 'to stderr\n' >&2; "
        "head -c 200000 /dev/zero | tr '\\0' x; echo; echo last; sleep 300",
    )
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: True)
        await eventually(lambda: reads(fleet, status, lambda texts: "last" in texts))
        lines = await collect(fleet, status)
        texts = [line.text for line in lines]
        assert "\x1b[2Jcleared" in texts  # as it was written: what shows it takes care of it
        assert "\ufffd\ufffdbroken" in texts
        assert "to stderr" in texts
        long = next(text for text in texts if "xxxx" in text)
        assert long.startswith("no end" + "x" * 1000)
        assert long.endswith("longer than 64 KiB)")
        assert len(long) < 70_000
        assert all(line.at is not None and abs(line.at - time.time()) < 60 for line in lines)


async def test_with_a_terminal_attached_the_log_is_read_too(place: Place) -> None:
    name = place.run("tty", "sh", "-c", "echo one; echo two; sleep 300", flags=("-t",))
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: True)
        await eventually(lambda: reads(fleet, status, lambda texts: texts == ["one", "two"]))


async def test_the_runs_before_and_after_a_restart_are_told_apart(place: Place) -> None:
    name = place.run(
        "runs", "sh", "-c", "echo $(cat /n 2>/dev/null) run; echo again >> /n; sleep 300", flags=("--init",)
    )
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: True)
        with pytest.raises(OperationFailed, match="started once only"):
            await collect(fleet, status, previous=True)
        for _ in range(2):
            place.docker("restart", "-t", "1", name)
            await asyncio.sleep(0.3)
        await eventually(lambda: reads(fleet, status, lambda texts: texts == ["again again run"]))
        assert [line.text for line in await collect(fleet, status, previous=True)] == ["again run"]


async def test_a_log_is_followed_line_by_line(place: Place) -> None:
    name = place.run("f", "sh", "-c", "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.3; done; sleep 300")
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: True)
        texts: list[str] = []
        async with asyncio.timeout(40):
            async for batch in fleet.backends["docker"].logs(status.service, tail=1000, follow=True):
                texts += [line.text for line in batch]
                if len(texts) == 6:
                    break
        assert texts == [f"line {number}" for number in range(1, 7)]


async def test_a_slow_reader_gets_every_line_that_was_there_and_every_one_that_came_meanwhile(place: Place) -> None:
    """A search of the whole takes its time; what is written in that time is no flood."""
    script = "seq -f 'old %.0f' 60000; for i in $(seq 1000); do sleep 0.005; echo new $i; done; sleep 600"
    name = place.run("t", "sh", "-c", script)
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: True)
        await eventually(lambda: reads(fleet, status, lambda texts: "new 1" in texts))
        texts: list[str] = []
        async with asyncio.timeout(60):
            async for batch in fleet.backends["docker"].logs(status.service, tail=10_000_000, follow=True):
                await asyncio.sleep(0.2)
                texts += [f"{line.dropped} lost" for line in batch if line.dropped]
                texts += [line.text for line in batch]
                if texts[-1] == "new 1000":
                    break
        assert texts == [*(f"old {number}" for number in range(1, 60_001)), *(f"new {n}" for n in range(1, 1001))]


FLOOD = """
import os, time
time.sleep(2)
end, line, count = time.time() + 10, b'x' * LENGTH + b'\\n', 0
while time.time() < end:
    os.write(1, line * (65536 // len(line)))
    count += 65536 // len(line)
print('wrote', count, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("length", [99, 15_999])
async def test_a_flood_loses_no_line_without_a_word_and_stays_small(place: Place, length: int) -> None:
    """The engine itself takes about 20 MB/s of short lines from a container, and 100 MB/s of long ones, whether
    somebody reads them or not (measured on 2 cores with 20.10): that is what the container is slowed down to."""
    flood = FLOOD.replace("LENGTH", str(length))
    name = place.run("flood", "python3", "-c", flood, flags=("--log-opt", "max-size=3g"))
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seen = lost = wrote = 0
        longest = 0.0

        async def beat() -> None:
            nonlocal longest
            while True:
                began = time.thread_time()  # what the loop computes: the flood itself keeps the machine busy
                await asyncio.sleep(0.01)
                longest = max(longest, time.thread_time() - began)

        beating = asyncio.create_task(beat())
        try:
            async with asyncio.timeout(180):
                async for batch in fleet.backends["docker"].logs(status.service, tail=10, follow=True):
                    seen += len(batch)
                    lost += sum(line.dropped for line in batch)
                    if found := [line.text for line in batch if line.text.startswith("wrote")]:
                        wrote = int(found[0].split()[1])
                        break
        finally:
            beating.cancel()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(
            f"flood: {wrote} lines, {wrote * (length + 1) / 10e6:.0f} MB/s, {seen} shown, {lost} told as lost, "
            f"longest pause {longest:.3f} s, {grown:.0f} MiB"
        )
        assert wrote * (length + 1) > 10_000_000
        assert seen + lost == wrote + 1
        assert longest < 0.5
        assert grown < 64


def stamped(text: str, at: float) -> bytes:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}000Z {text}\n".encode()


def framed(text: str, at: float) -> bytes:
    message = stamped(text, at)
    return bytes([1, 0, 0, 0]) + len(message).to_bytes(4) + message


@pytest.mark.parametrize("tty", [False, True])
def test_lines_are_skipped_only_while_the_reader_falls_further_behind(tty: bool) -> None:
    line = stamped if tty else framed
    lines = Lines("r", tty=tty, began=100.0)

    def fed(at: float, now: float) -> tuple[int, int]:
        found = lines.feed(b"".join(line(f"hay {number}", at) for number in range(1000)), now)
        return len(found), sum(each.dropped for each in found)

    assert fed(50.0, 110.0) == (1000, 0)  # written before: read whole, which took 10 s
    assert fed(100.5, 110.5) == (1000, 0)  # as old as that has made it
    assert fed(108.0, 111.0) == (1000, 0)  # nearly caught up
    shown, skipped = fed(109.0, 114.0)  # a flood
    assert shown + skipped == 1000
    assert 0 < shown < 50
    assert sum(fed(112.0, 114.5)) == 1000
    assert fed(114.0, 114.8) == (1000, 0)


def test_frames_cut_anywhere_make_the_same_lines() -> None:
    def frame(stream: int, text: bytes) -> bytes:
        message = b"2026-01-02T03:04:05.000000001Z " + text
        return bytes([stream, 0, 0, 0]) + len(message).to_bytes(4) + message

    data = frame(1, b"one\n") + frame(2, b"err\n") + frame(1, b"half ") + frame(2, b"between\n") + frame(1, b"whole\n")
    for size in (1, 2, 7, 8, 9, 40, 1000):
        lines = Lines("r", tty=False)
        found = [line.text for at in range(0, len(data), size) for line in lines.feed(data[at : at + size])]
        assert found == ["one", "err", "between", "half whole"]


def test_a_frame_that_claims_to_be_huge_is_not_kept() -> None:
    lines = Lines("r", tty=False)
    for _ in range(64):
        lines.feed(b"\x01\0\0\0\xff\xff\xff\xff" + b"x" * 65536)
    assert len(lines._rest) < 1 << 20
