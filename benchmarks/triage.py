"""Time triage: from its key to the headline over the demo's failing models, and the search of a log of 200 MB."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.terminal import running

ROWS = ("triage", "log")
MEGABYTES = 200
_BEGIN = (
    "I1121 01:33:00.000000 1 pinned_memory_manager.cc:277] \"Pinned memory pool is created at '0x7f' with size 1\"\n"
)
_FAILED = (
    "E1121 01:33:01.000000 1 model_lifecycle.cc:642] \"failed to load 'm' version 1: Internal: ModuleNotFoundError: "
    "No module named 'shapely'\"\n"
)
_CHATTER = 'I1121 01:33:02.000000 1 http_server.cc:4592] "HTTP request: 2 /v2/models/m/infer"\n'
_SEARCH = """
import json, sys, time
from pathlib import Path
from tritonctl.triage import logfile

def peak_mb():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

before, began = peak_mb(), time.perf_counter()
reading, left_out = logfile.read(Path(sys.argv[1]))
found = [entry.model for entry in reading.entries]
print(json.dumps([time.perf_counter() - began, peak_mb() - before, "m" in found, left_out]))
"""


def figures(name: str, runs: int) -> list[Figure]:
    return _headline(runs) if name == "triage" else _log(runs)


def _headline(runs: int) -> list[Figure]:
    times = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as home:
            own = {"HOME": home, "XDG_CONFIG_HOME": home, "XDG_STATE_HOME": home, "XDG_RUNTIME_DIR": home}
            environ = {**os.environ, **own, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
            with running([sys.executable, "-m", "tui.cli", "demo"], environ) as terminal:
                terminal.until(
                    lambda lines: any("embedded/demo" in each and "ready" in each for each in lines), "the row", 60
                )
                times.append(terminal.press("t", lambda lines: any("[sure]" in each for each in lines), "the headline"))
    what = "from t to triage's headline, the demo's server with two failed models"
    return [Figure("triage", what, "s", tuple(times), 1.5)]


def _log(runs: int) -> list[Figure]:
    seconds, memory = [], []
    for at in (0.0, 0.5, 1.0):  # where the one failure stands
        with tempfile.NamedTemporaryFile("w") as file:
            block = _CHATTER * 8000
            count = (MEGABYTES << 20) // len(block)
            file.write(_BEGIN)
            for number in range(count):
                file.write(_FAILED * (number == int(at * (count - 1))) + block)
            file.flush()
            found = [_search(Path(file.name)) for _ in range(runs)]
        seconds.append(statistics.median(each[0] for each in found))
        memory.append(max(each[1] for each in found))
    what = f"a log of {MEGABYTES} MB searched, its failure at the beginning, middle, end"
    return [
        Figure("log", what, "s", tuple(seconds), 2),
        Figure("log", "… memory for it", "MB", tuple(memory), 100),
    ]


def _search(path: Path) -> tuple[float, float]:
    """Seconds and megabytes of one search that came to its end; on a busy machine its time may be up before."""
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", _SEARCH, str(path)], capture_output=True, text=True, timeout=120, check=True
        )
        seconds, megabytes, found, left_out = json.loads(done.stdout)
        if found and not left_out:
            return seconds, megabytes
    raise OSError(f"the failure was not found in time: {left_out}")
