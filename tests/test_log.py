"""Tritonserver's own log: levels, and the reasons that stand nowhere else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.servers import Factory, write_model
from tritonctl.errors import OperationFailed
from tritonctl.server.address import ServerAddress
from tritonctl.server.client import ServerClient
from tritonctl.server.log import Newest, Severity, parse_line, reasons


@pytest.mark.parametrize(
    ("raw", "severity", "at", "text"),
    [
        ('I1121 14:02:31.000000 12 server.cc:34] "ready"', Severity.INFO, "14:02:31", "ready"),
        ('E1121 14:02:31.5 12 a.cc:1] "one\\ntwo \\"x\\""', Severity.ERROR, "14:02:31", 'one\ntwo "x"'),
        ("W1121 14:02:31.5 12 pb_stub.cc:340] no quotes", Severity.WARNING, "14:02:31", "no quotes"),
        ('2026-11-21T14:02:31Z 12 F main.cc:9] "dead"', Severity.FATAL, "14:02:31", "dead"),
        ("=== Triton ===", Severity.NONE, "", "=== Triton ==="),
        ("", Severity.NONE, "", ""),
    ],
)
def test_a_line(raw: str, severity: Severity, at: str, text: str) -> None:
    line = parse_line(raw)
    assert (line.severity, line.time, line.text) == (severity, at, text)


def failed(name: str, reason: str) -> str:
    return f"E1121 14:02:31.5 12 a.cc:1] \"failed to load '{name}' version 1: {reason}\""


def test_the_last_word_counts() -> None:
    loaded = "I1121 14:02:32.5 12 a.cc:1] \"successfully loaded 'a'\""
    assert reasons([failed("a", "first"), failed("b", "b broke"), failed("a", "second")]) == {
        "a": "second",
        "b": "b broke",
    }
    assert reasons([failed("a", "first"), loaded]) == {}
    assert reasons([loaded, failed("a", "first")]) == {"a": "first"}


def test_a_long_or_hostile_log_is_read_in_time() -> None:
    lines = [failed("a" * 50, "x'" * 100)] * 20_000 + ["'" * 1_000_000, 'E1121 14:02:31.5 12 a.cc:1] "' + "'" * 200_000]
    seconds = []
    for _ in range(3):
        began = time.process_time()
        assert len(reasons(lines)) == 1
        seconds.append(time.process_time() - began)
        if seconds[-1] < 2:
            break
    assert min(seconds) < 2, seconds


def test_of_a_log_of_long_lines_the_newest_are_kept_and_no_more_than_fit() -> None:
    newest = Newest(1000)
    newest.add(f"{number:100}" for number in range(50_000))
    newest.add(["a" * 100])
    assert newest.lines == [*(f"{number:100}" for number in range(49_991, 50_000)), "a" * 100]
    newest.add(["b" * 2000])  # longer than all of it: nothing is kept
    assert newest.lines == []
    newest.add(["c"])
    assert newest.lines == ["c"]


async def test_the_reason_for_a_bad_configuration_on_a_real_server(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "odd", config="max_batch_size: oops\n")
    write_model(tmp_path, "broken", "import not_there\n")
    running = own_triton(tmp_path)
    async with ServerClient(ServerAddress(running.http)) as client:
        for name in ("odd", "broken"):
            with pytest.raises(OperationFailed):
                await client.load(name)
    found = reasons(running.log.splitlines())
    assert found["odd"].startswith("config.pbtxt:")
    assert "oops" in found["odd"] or "max_batch_size" in found["odd"]
    assert "No module named 'not_there'" in found["broken"]
