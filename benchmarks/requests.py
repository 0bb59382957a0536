"""The rows of the bench about test requests: the first answer, and a load against NVIDIA's perf_analyzer."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from backends.embedded.server import SAMPLES, EmbeddedServer, Options
from benchmarks.figure import Figure
from benchmarks.servers import Stage, command
from benchmarks.terminal import NotSeen

if TYPE_CHECKING:
    from tui.panes.request import RequestPane

PERF_ANALYZER = "perf_analyzer"
MODEL = "add_sub"
WIDE = 16
_LIBRARIES = ("libb64.so.0d", "libcudart.so.12")
IDENTITY = "identity"
_IDENTITY = """
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        back = [pb.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("OUT", each)]) for each in back]
"""
_IDENTITY_CONFIG = """
backend: "python"
input { name: "IN" data_type: TYPE_FP32 dims: [ -1, -1 ] }
output { name: "OUT" data_type: TYPE_FP32 dims: [ -1, -1 ] }
"""
LARGE_SIDE = 4096  # of a square of FP32: 64 MB


def path_of_perf_analyzer() -> str | None:
    """On PATH, or where TRITONCTL_PERF_ANALYZER says. tritonclient's wheel of 2.50.0 carries it, that of 2.73.0 not."""
    return os.environ.get("TRITONCTL_PERF_ANALYZER") or shutil.which(PERF_ANALYZER)


@contextmanager
def alone() -> Iterator[tuple[Stage, EmbeddedServer]]:
    """One server without traffic: what is measured is its only client."""
    folder = Path(tempfile.mkdtemp(prefix="tritonctl-bench-"))
    repository = folder / "repository"
    shutil.copytree(SAMPLES / MODEL, repository / MODEL)
    version = repository / IDENTITY / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(_IDENTITY)
    (repository / IDENTITY / "config.pbtxt").write_text(_IDENTITY_CONFIG)
    server = EmbeddedServer(Options(repository=repository, control_mode="none"))
    try:
        with asyncio.Runner() as runner:
            try:
                runner.run(server.start())
                runner.run(server.wait_live(60.0))
                yield Stage(folder, (server,), 2.0), server
            finally:
                runner.run(server.stop())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def figures(runs: int, quick: bool) -> list[Figure]:
    with alone() as (stage, server):
        found = [first_answer(stage, server, runs)]
        analyzer = path_of_perf_analyzer()
        if analyzer is not None:
            found += against(stage, server, analyzer, runs, 2.0 if quick else 5.0)
        found.append(asyncio.run(large(server, runs)))
    return found


def _infer(stage: Stage, server: EmbeddedServer, *words: str) -> subprocess.CompletedProcess[bytes]:
    ports = server.ports
    url = f"http://127.0.0.1:{ports.http}"
    settings = stage.folder / "config.toml"
    settings.write_text(
        f'[backends.b]\nkind = "urls"\nservers = [{{ name = "s", http = "{url}", grpc = "127.0.0.1:{ports.grpc}" }}]\n'
    )
    argv = command("--config", str(settings), "infer", "b/s", MODEL, "-o", "json", *words)
    done = subprocess.run(argv, env=stage.environ(), capture_output=True, timeout=120, check=False)
    if done.returncode:
        raise NotSeen(done.stderr.decode("utf-8", "replace")[-500:])
    return done


def first_answer(stage: Stage, server: EmbeddedServer, runs: int) -> Figure:
    """The whole process; a first run, which may compile byte-code, is not counted."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        done = _infer(stage, server)
        times.append(time.perf_counter() - began)
        if json.loads(done.stdout)["error"] is not None:
            raise NotSeen(done.stdout.decode())
    return Figure("infer", "tritonctl infer on a running server, by gRPC", "s", tuple(times[1:]), 0.6)


def against(stage: Stage, server: EmbeddedServer, analyzer: str, runs: int, seconds: float) -> list[Figure]:
    """The same model, one after the other in the same minute."""
    medians: list[tuple[float, float]] = []
    wide: list[tuple[float, float]] = []
    with _libraries() as path:
        for _ in range(runs):
            for concurrency, pairs in ((1, medians), (WIDE, wide)):
                theirs = _analyze(analyzer, path, server, concurrency, seconds)
                words = ("--concurrency", str(concurrency), "--duration", str(seconds), "--yes")
                ours = json.loads(_infer(stage, server, *words).stdout)
                if concurrency == 1:
                    pairs.append((ours["latency_us"]["p50"], theirs[1]))
                else:
                    pairs.append((ours["requests_per_s"], theirs[0]))
    latency = f"last {medians[-1][0]:.0f} µs against {medians[-1][1]:.0f} µs"
    rate = f"last {wide[-1][0]:.0f}/s against {wide[-1][1]:.0f}/s"
    return [
        Figure(
            "load",
            "median latency against perf_analyzer, gRPC, one at a time",
            "times",
            tuple(a / b for a, b in medians),
            1.1,
            note=latency,
        ),
        Figure(
            "load",
            f"… throughput of {WIDE} at once, from one process",
            "times",
            tuple(a / b for a, b in wide),
            0.5,
            at_least=True,
            note=rate,
        ),
    ]


def _analyze(
    analyzer: str, libraries: Path, server: EmbeddedServer, concurrency: int, seconds: float
) -> tuple[float, float]:
    """Requests a second and the median in µs, as perf_analyzer's own table says."""
    with tempfile.NamedTemporaryFile(suffix=".csv") as table:
        argv = [analyzer, "-m", MODEL, "-u", f"127.0.0.1:{server.ports.grpc}", "-i", "grpc"]
        argv += [
            "--concurrency-range",
            str(concurrency),
            "-p",
            str(int(seconds * 1000)),
            "-s",
            "900",
            "-r",
            "3",
        ]  # a busy machine is never stable; the median of several runs is taken
        argv += [*(["--async"] if concurrency > 1 else []), "-f", table.name]
        environ = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
        done = subprocess.run(argv, env=environ, capture_output=True, timeout=180, check=False)
        rows = list(csv.DictReader(Path(table.name).read_text().splitlines()))
    if not rows:
        raise NotSeen(f"perf_analyzer: {(done.stdout + done.stderr).decode('utf-8', 'replace')[-500:]}")
    return float(rows[0]["Inferences/Second"]), float(rows[0]["p50 latency"])


@contextmanager
def _libraries() -> Iterator[Path]:
    """What perf_analyzer links to, under the names that it looks for: PyTriton's wheel has them under hashed ones."""
    spec = find_spec("pytriton")
    origin = Path(spec.origin).parent.parent / "nvidia_pytriton.libs" if spec and spec.origin else None
    with tempfile.TemporaryDirectory() as folder:
        for name in _LIBRARIES:
            stem, _, version = name.partition(".so.")
            real = next(iter(sorted(origin.glob(f"{stem}-*.so.{version}*"))), None) if origin else None
            if real is not None:
                (Path(folder) / name).symlink_to(real)
        yield Path(folder)


async def large(server: EmbeddedServer, runs: int) -> Figure:
    """The longest that a tensor of 64 MB, sent and shown in the dashboard, holds up the screen."""
    import numpy as np

    from backends.urls import UrlsBackend
    from tritonctl.fleet import Fleet
    from tritonctl.plan import AuditLog
    from tritonctl.server.address import ServerAddress
    from tritonctl.settings_servers import ServerSettings
    from tritonctl.workbench.form import Form
    from tui.app import TritonctlApp
    from tui.messages import OpenModel
    from tui.panes.request import RequestPane

    ports = server.ports
    address = ServerAddress(f"http://127.0.0.1:{ports.http}", grpc=f"127.0.0.1:{ports.grpc}")
    longest = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.npy"
        await asyncio.to_thread(np.save, file, np.random.default_rng(0).random((LARGE_SIDE, LARGE_SIDE), np.float32))
        async with Fleet([UrlsBackend("u", [ServerSettings("t", "bench", address)])], probing=False) as fleet:
            app = TritonctlApp(fleet, AuditLog(Path(folder) / "audit"), theme="textual-dark")
            async with app.run_test(size=(110, 36)) as pilot:
                while not fleet.snapshot.services or not fleet.snapshot.services[0].ready:
                    await pilot.pause(0.05)
                app.post_message(OpenModel("u/t", IDENTITY, "request"))
                while not app.screen.query(RequestPane) or app.screen.query_one(RequestPane).schema is None:
                    await pilot.pause(0.05)
                pane = app.screen.query_one(RequestPane)
                pane.draft.form = Form({"IN": f"@{file}"})
                for _ in range(runs + 1):
                    longest.append(await _lag_of_one(pane))
    return Figure("large", "64 MB sent and shown in the dashboard: longest pause", "ms", tuple(longest[1:]), 100)


async def _lag_of_one(pane: RequestPane) -> float:
    """Milliseconds: the longest in which the loop did nothing else from the send to the answer shown."""
    from tui.widgets.sheet import Heading

    longest, before = 0.0, pane.answer
    pane.action_send()
    last = time.perf_counter()
    while pane.busy or pane.answer is before:
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last - 0.001), now
    if pane.answer[0] != Heading("answer"):
        raise NotSeen(str(pane.answer))
    return longest * 1e3
