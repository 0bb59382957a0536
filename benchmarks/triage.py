"""Time triage: from its key to the headline, in the demo, on Docker and Kubernetes, and the search of a large log."""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from backends.kubernetes.client.paths import resource
from benchmarks.cluster import opened
from benchmarks.figure import Figure
from benchmarks.servers import ROOT
from benchmarks.terminal import NotSeen, running

ROWS = ("triage", "triage-docker", "triage-kubernetes", "log")
IMAGE = os.environ.get("TRITONCTL_TEST_IMAGE", "tritonserver:24.10-py3")
_FAILS = ("tritonserver", "--model-repository=/nowhere")
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
    match name:
        case "log":
            return _log(runs)
        case "triage-docker":
            what = "from t to triage's headline, a container that ended at its start"
            return [Figure(name, what, "s", _headlines(_container, runs), 1.5)]
        case "triage-kubernetes":
            what = "from t to triage's headline, a pod that ends again and again"
            return [Figure(name, what, "s", _headlines(_pod, runs), 1.5)]
        case _:
            what = "from t to triage's headline, the demo's server with two failed models"
            return [Figure(name, what, "s", _headlines(None, runs, ("demo",), "embedded/demo .*ready"), 1.5)]


def _headlines(
    place: Callable[[Path], Iterator[str]] | None, runs: int, words: Sequence[str] = (), row: str = ""
) -> tuple[float, ...]:
    """Of dashboards that have just shown the row: nothing of triage has been imported or asked before."""
    times = []
    with tempfile.TemporaryDirectory() as home:
        own = {"HOME": home, "XDG_CONFIG_HOME": home, "XDG_STATE_HOME": home, "XDG_RUNTIME_DIR": home}
        environ = {**os.environ, **own, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        settings = Path(home) / "config.toml"
        with contextmanager(place)(settings) if place is not None else nullcontext(row) as shown:
            options = ("--config", str(settings)) if place is not None else ()
            pattern = re.compile(shown)
            for _ in range(runs):
                with running([sys.executable, "-m", "tui.cli", *options, *words], environ) as terminal:
                    terminal.until(lambda lines: any(map(pattern.search, lines)), "the row", 60)
                    times.append(
                        terminal.press("t", lambda lines: any("[sure]" in each for each in lines), "the headline")
                    )
    return tuple(times)


def _container(settings: Path) -> Iterator[str]:
    """A container that fails on the tests' engine; the row that shows it."""
    host = _asked([str(ROOT / "scripts" / "engine"), "start"]).split()[-1]
    environ = {**os.environ, "DOCKER_HOST": host}
    name = f"bench{uuid.uuid4().hex[:6]}"
    settings.write_text(f'[backends.docker]\nkind = "docker"\nhost = "{host}"\n', encoding="utf-8")
    _asked(["docker", "run", "-d", "--name", name, IMAGE, *_FAILS], environ)
    try:
        yield f"{name} .*exited 1"
    finally:
        _asked(["docker", "rm", "-f", "-v", name], environ)


def _pod(settings: Path) -> Iterator[str]:
    """A pod that fails on the tests' cluster, in a namespace of its own; the row that shows it."""
    kubeconfig = _asked([str(ROOT / "scripts" / "cluster"), "start"]).split()[-1]
    name = f"bench{uuid.uuid4().hex[:6]}"
    words = f'kubeconfig = "{kubeconfig}"\nnamespaces = ["{name}"]\n'
    settings.write_text(f'[backends.k8s]\nkind = "kubernetes"\n{words}', encoding="utf-8")
    pod = {"containers": [{"name": "triton", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": _FAILS}]}
    deployment = {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
    }
    asyncio.run(_change(kubeconfig, resource("v1", "namespaces"), {"metadata": {"name": name}}))
    try:
        body = {"metadata": {"name": name}, "spec": deployment}
        asyncio.run(_change(kubeconfig, resource("apps/v1", "deployments", name), body))
        yield f"{name} .*Crash"
    finally:
        asyncio.run(_change(kubeconfig, resource("v1", "namespaces", "", name), None))


async def _change(kubeconfig: str, path: str, body: Mapping[str, object] | None) -> None:
    """Creates `body` there, or deletes what is there."""
    async with opened(Path(kubeconfig)) as api:
        if body is None:
            await api.delete(path)
        else:
            await api.create(path, body)


def _asked(words: Sequence[str], environ: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise NotSeen(f"{' '.join(words[:3])}: {done.stderr}")
    return done.stdout


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
