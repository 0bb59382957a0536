"""Logs as they come: hostile, huge, wrapped, interleaved, of several runs; and what each costs to search."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritonctl.server.log import Severity
from tritonctl.triage import logfile
from tritonctl.triage.logreading import LINE_LIMIT, LogReader, LogReading, cleaned

Result = TypeVar("Result")
BEGIN = 'W1121 01:32:16.334741 23868 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory"'
FAILED = (
    "E1121 01:32:16.360490 23868 model_lifecycle.cc:642] \"failed to load 'm' version 1: Internal: "
    "ModuleNotFoundError: No module named 'torchaudio'\\n\\nAt:\\n  /m/1/model.py(1): <module>\\n\""
)
LOADING = 'I1121 01:32:16.336146 23868 model_lifecycle.cc:472] "loading: m:1"'
LOADED = "I1121 01:32:20.336146 23868 model_lifecycle.cc:839] \"successfully loaded 'm'\""
CHATTER = 'I1121 01:33:00.000000 23868 infer_handler.cc:1] "a request of no interest to anybody at all"'
VERBOSE = 'I1121 01:33:00.000000 23868 http_server.cc:4592] "HTTP request: 2 /v2/models/m/infer"'


def read(*lines: str) -> LogReading:
    reader = LogReader()
    reader.feed(lines)
    return reader.reading


def timed(work: Callable[[], Result], bar_s: float) -> tuple[Result, float]:
    """What it gives, and the seconds of processor time of the best of three: others use this machine too."""
    seconds = []
    for _ in range(3):
        began = time.process_time()
        result = work()
        seconds.append(time.process_time() - began)
        if seconds[-1] <= bar_s:
            break
    return result, min(seconds)


def test_a_failure_is_kept_with_its_model_and_time() -> None:
    reading = read(BEGIN, LOADING, CHATTER, FAILED)
    assert [(e.model, e.severity, e.time) for e in reading.entries] == [("m", Severity.ERROR, "01:32:16")]
    assert reading.whole
    assert reading.loading == {}


def test_a_later_success_takes_a_failure_back() -> None:
    assert read(BEGIN, FAILED, LOADING, LOADED).entries == ()


def test_only_the_last_run_counts() -> None:
    assert read(BEGIN, FAILED, BEGIN, LOADING).entries == ()
    assert read(BEGIN, FAILED, BEGIN, LOADING).loading == {"m:1": "01:32:16"}


def test_a_word_of_the_pinned_memory_under_traffic_begins_no_run() -> None:
    """Measured on tritonserver 2.51.0 without a GPU: written at the first ensemble request."""
    word = 'W1121 02:25:08.0 833 pinned_memory_manager.cc:1] "failed to allocate pinned system memory: no pinned '
    word += 'memory pool, falling back to non-pinned system memory"'
    assert [entry.model for entry in read(BEGIN, FAILED, word).entries] == ["m"]


def test_the_same_error_a_million_times_is_one_entry() -> None:
    line = 'E1121 01:32:16.360490 23868 x.cc:1] "disk is full"'
    reading = read(*[line] * 50_000)
    assert [(e.text, e.count) for e in reading.entries] == [("disk is full", 50_000)]


def test_errors_that_all_differ_do_not_fill_the_memory() -> None:
    reading = read(*(f'E1121 01:32:16.360490 23868 x.cc:1] "request {n} failed"' for n in range(20_000)))
    assert len(reading.entries) <= 400
    assert reading.entries[0].text == "request 0 failed"
    assert reading.entries[-1].text == "request 19999 failed"


def test_iso_times() -> None:
    iso = "2026-11-21T01:32:16Z 23868 E model_lifecycle.cc:642] \"failed to load 'm' version 1: Internal: SyntaxError\""
    assert read(iso).entries[0].model == "m"


@pytest.mark.parametrize(
    "wrapped",
    [
        {"log": FAILED + "\n", "stream": "stderr", "time": "2026-11-21T01:32:16Z"},
        {"level": "error", "msg": FAILED},
        {"severity": "ERROR", "message": FAILED},
    ],
)
def test_json_lines(wrapped: dict[str, str]) -> None:
    assert read(json.dumps(wrapped)).entries[0].model == "m"


def test_brackets_without_end_are_a_line_like_any_other() -> None:
    assert read('{"log":' + "[" * 60_000, FAILED).entries[-1].model == "m"


def test_json_that_is_none() -> None:
    assert read('{"log": ', "{}", "[1]", '{"log": 5}', "{" * 100_000).lines == 5


def test_the_tables_of_the_start() -> None:
    reading = read(
        "+------+-------+",
        "| Option                   | Value     |",
        "| model_control_mode       | MODE_NONE |",
        "| Model | Version | Status |",
        "| nover | -       | Not loaded: No model version was found |",
    )
    assert reading.options == {"model_control_mode": "MODE_NONE"}
    assert reading.entries[0].model == "nover"


def test_the_usage_is_left_out() -> None:
    usage = ["Usage: tritonserver [options]", "  --help", "\tPrint usage", "Server:", "", 'Bad option: "--x".']
    assert [e.text for e in read(*usage).entries] == ['Bad option: "--x".']


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[31mE\x1b[0m \x1b]0;title\x07 [bold]x[/] \x9b31m",
        "\x1b]52;c;AAAA",
        "\x1bP" + "x" * 10_000,
        "a\rb\x00\x08\x7f",
        "\u202eevil\u2066 \u200b \ufeff \ud800",
        "x" * 1_000_000,
        "[" * 5000,
        "\x1b[" * 5000,
        "日本語のエラー: メモリ不足",
    ],
)
def test_what_is_hostile_is_harmless(hostile: str) -> None:
    reading, seconds = timed(lambda: read(BEGIN, hostile, FAILED, hostile + FAILED), 0.5)
    assert seconds < 0.5
    assert any(e.model == "m" for e in reading.entries)
    for text in [entry.text for entry in reading.entries] + list(reading.tail):
        assert len(text) <= LINE_LIMIT + 1
        assert not any(ord(c) < 32 and c != "\n" for c in text)
        assert not any(0x7F <= ord(c) < 0xA0 or ord(c) in (0x202E, 0x2066, 0x1B) for c in text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=200), st.sampled_from([BEGIN, LOADING, FAILED, LOADED, "| a | b | c |"]))))
def test_any_lines_in_any_order_are_read(lines: list[str]) -> None:
    reading = read(*lines)
    assert reading.lines == len(lines)
    assert all(entry.count > 0 for entry in reading.entries)


def test_lines_of_other_containers_in_between() -> None:
    """As a log shipper joins them: the server's own word on its model is whole, whatever stands around it."""
    stub = "I1121 01:33:02.000000 1 pb_stub.cc:397] Failed to initialize Python stub: ModuleNotFoundError: No module"
    others = ["10.0.0.7 - GET /healthz 200", '{"log": "level=info msg=scraped\\n"}', "E1121 proxy: upstream reset"]
    lines = [
        BEGIN,
        LOADING,
        stub,
        others[0],
        "At:",
        others[1],
        "  /models/m/1/model.py(1): <module>",
        others[2],
        FAILED,
    ]
    reading = read(*(each for line in lines for each in (line, *others)))
    assert [each.model for each in reading.entries if "failed to load" in each.text] == ["m"]
    assert not reading.loading


def test_other_languages_stay() -> None:
    assert cleaned("日本語 é ü ✖") == "日本語 é ü ✖"


def test_broken_utf8_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\xff\xfe\xc3(\n" + FAILED.encode() + b"\n\xf0\x9f")
    reading, left_out = logfile.read(path)
    assert left_out == ""
    assert [e.model for e in reading.entries if e.model] == ["m"]


def test_an_empty_file_and_one_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"")
    assert logfile.read(path)[0].entries == ()
    path.write_bytes(FAILED.encode())
    assert logfile.read(path)[0].entries[0].model == "m"


def large(path: Path, *, at: float, filler: str = CHATTER, megabytes: int = 200) -> None:
    """A log in which the one failure stands at this part of it."""
    block = (filler + "\n").encode() * 8000
    count = (megabytes << 20) // len(block)
    with path.open("wb") as file:
        file.write((BEGIN + "\n").encode())
        for number in range(count):
            if number == int(at * (count - 1)):
                file.write((FAILED + "\n").encode())
            file.write(block)


_MEASURE = """
import json, sys, time
from pathlib import Path
from typing import TypeVar
from tritonctl.triage import logfile

def peak_mb():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

before = peak_mb()
began = time.process_time()
reading, left_out = logfile.read(Path(sys.argv[1]))
print(json.dumps({
    "seconds": time.process_time() - began,
    "mb": peak_mb() - before,
    "models": [entry.model for entry in reading.entries],
    "left_out": left_out,
}))
"""


@pytest.mark.alone
@pytest.mark.parametrize(("at", "filler"), [(0.0, CHATTER), (0.5, CHATTER), (1.0, CHATTER), (0.0, VERBOSE)])
def test_200_mb_are_searched_within_2_s_and_100_mb(tmp_path: Path, at: float, filler: str) -> None:
    path = tmp_path / "log"
    large(path, at=at, filler=filler)
    for _ in range(5):  # the best of several, in processor time: others use this machine too
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(path)], capture_output=True, text=True, timeout=60, check=True
        )
        measured = json.loads(done.stdout)
        print(measured)
        if measured["seconds"] <= 2.0 and not measured["left_out"]:
            break
    assert measured["models"] == ["m"]
    assert measured["left_out"] == ""
    assert measured["seconds"] <= 2.0
    assert measured["mb"] <= 100


@pytest.mark.parametrize(
    "filler",
    ['E1121 01:33:00.0 1 x.cc:1] "some error"', "no prefix at all, as print() writes it", '{"msg": "wrapped"}', ""],
)
def test_a_flood_of_anything_ends_in_time(tmp_path: Path, filler: str) -> None:
    path = tmp_path / "log"
    large(path, at=1.0, filler=filler, megabytes=60)
    (reading, _), seconds = timed(lambda: logfile.read(path), 2.0)
    assert seconds <= 2.0
    assert "m" in [entry.model for entry in reading.entries]


def test_one_line_of_200_mb(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        for _ in range(50):
            file.write(b"x" * (4 << 20))
        file.write(("\n" + FAILED + "\n").encode())
    (reading, _), seconds = timed(lambda: logfile.read(path), 2.0)
    assert seconds <= 2.0
    assert "m" in [entry.model for entry in reading.entries]
