"""The row `docker`: the dashboard over a real engine with 50 containers, 20 of which run a real tritonserver."""

from __future__ import annotations

import http.client
import os
import random
import re
import socket
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.dashboard import SETTLE_S
from benchmarks.figure import Figure
from benchmarks.servers import ROOT, Stage, command
from benchmarks.terminal import NotSeen, Terminal, running

IMAGE = os.environ.get("TRITONCTL_TEST_IMAGE", "tritonserver:24.10-py3")
TRITON, OTHERS = 20, 30
ENGINE = "2"  # not that of the tests: nothing else runs there
SIZE = (120, 60)
_START_S = 300.0


def rows_of(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    """First frame, standing cost, and a container that is killed."""
    with _crowd() as crowd:
        return [*_start(crowd, stage, runs), *_stand(crowd, stage, runs, quick), _killed(crowd, stage, quick)]


@dataclass(frozen=True)
class Crowd:
    """`mark` is what the names of this run's containers begin with."""

    host: str
    mark: str
    settings: Path

    def command(self) -> list[str]:
        return command("--config", str(self.settings))

    def docker(self, *words: str) -> str:
        environ = {**os.environ, "DOCKER_HOST": self.host}
        done = subprocess.run(
            ["docker", *words], env=environ, capture_output=True, text=True, timeout=_START_S, check=False
        )
        if done.returncode:
            raise NotSeen(f"docker {words[0]}: {done.stderr}")
        return done.stdout

    def kill(self, name: str) -> float:
        """The perf_counter time just before the engine is asked."""
        connection = http.client.HTTPConnection("docker", timeout=20)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.host.removeprefix("unix://"))
        try:
            began = time.perf_counter()
            connection.request("POST", f"/containers/{name}/kill")
            if connection.getresponse().status != 204:
                raise NotSeen(f"{name} could not be killed")
            return began
        finally:
            connection.close()

    @property
    def other_image(self) -> str:
        """The same under a name that is not Triton's."""
        return f"{self.mark}:other"

    @property
    def tritons(self) -> list[str]:
        return [f"{self.mark}-t{number:02}" for number in range(TRITON)]


def _start(crowd: Crowd, stage: Stage, runs: int) -> list[Figure]:
    times = []
    for _ in range(runs + 1):
        with running(crowd.command(), stage.environ(), size=SIZE) as terminal:
            at = terminal.until(lambda lines: _named(crowd, lines), "the services")
            times.append(at - terminal.began)
    what = f"tritonctl to the services of an engine with {TRITON + OTHERS} containers"
    return [Figure("docker", what, "s", tuple(times[1:]), 0.7, note=f"{TRITON} run Triton")]


def _stand(crowd: Crowd, stage: Stage, runs: int, quick: bool) -> list[Figure]:
    window_s = 20.0 if quick else 40.0
    cpu, memory, written = [], [], []
    for _ in range(runs):
        with running(crowd.command(), stage.environ(), size=SIZE) as terminal:
            terminal.until(lambda lines: _ready(crowd, lines), "every server's state")
            terminal.watch(SETTLE_S * 2)
            before = terminal.cpu_s()
            written.append(terminal.watch(window_s) / window_s / 1e3)
            cpu.append((terminal.cpu_s() - before) / window_s * 100)
            memory.append(terminal.rss_mb())
    return [
        Figure("docker", f"… standing on the services table, {TRITON} in view: CPU", "% of a core", tuple(cpu), 3.0),
        Figure("docker", "… resident memory", "MB", tuple(memory)),
        Figure("docker", "… to the terminal", "kB/s", tuple(written)),
    ]


def _killed(crowd: Crowd, stage: Stage, quick: bool) -> Figure:
    chance = random.Random(5)
    delays = []
    with running(crowd.command(), stage.environ(), size=SIZE) as terminal:
        terminal.until(lambda lines: _ready(crowd, lines), "every server's state")
        terminal.watch(SETTLE_S)
        for name in chance.sample(crowd.tritons, 5 if quick else 15):
            terminal.watch(chance.uniform(0.3, 1.5))
            began = crowd.kill(name)
            delays.append(_until_dead(terminal, name) - began)
    what = "… a container killed → its new state on screen"
    note = f"longest of {len(delays)}: {1e3 * max(delays):.0f} ms"
    return Figure("docker", what, "ms", (1e3 * statistics.median(delays),), 150, note=note)


def _until_dead(terminal: Terminal, name: str) -> float:
    pattern = re.compile(rf"/{name} .*\bexited 137\b")
    return terminal.until(lambda lines: any(pattern.search(line) for line in lines), f"{name} exited")


def _named(crowd: Crowd, lines: list[str]) -> bool:
    text = "\n".join(lines)
    return all(f"/{name} " in text for name in crowd.tritons)


def _ready(crowd: Crowd, lines: list[str]) -> bool:
    return all(any(f"/{name} " in line and " ready " in line for line in lines) for name in crowd.tritons)


@contextmanager
def _crowd() -> Iterator[Crowd]:
    """Real servers without a model: what is measured is the dashboard."""
    done = subprocess.run(
        [ROOT / "scripts" / "engine", "start"],
        env={**os.environ, "TRITONCTL_ENGINE": ENGINE},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if done.returncode:
        raise NotSeen(f"scripts/engine start: {done.stderr}")
    with tempfile.TemporaryDirectory(prefix="tritonctl-bench-") as name:
        folder = Path(name)
        (folder / "models").mkdir()
        crowd = Crowd(done.stdout.split()[-1], f"bench{uuid.uuid4().hex[:6]}", folder / "config.toml")
        crowd.settings.write_text(f'[backends.docker]\nkind = "docker"\nhost = "{crowd.host}"\n', encoding="utf-8")
        made: list[str] = []
        try:
            _make(crowd, folder, made)
            yield crowd
        finally:
            if made:
                crowd.docker("rm", "-f", "-v", *made)
                crowd.docker("rmi", crowd.other_image)


def _make(crowd: Crowd, folder: Path, made: list[str]) -> None:
    server = ("tritonserver", "--model-repository=/models", "--model-control-mode=explicit")
    crowd.docker("tag", IMAGE, crowd.other_image)
    kinds: Sequence[tuple[str, str, tuple[str, ...]]] = (
        *((name, IMAGE, server) for name in crowd.tritons),
        *((f"{crowd.mark}-o{number:02}", crowd.other_image, ("sleep", "7200")) for number in range(OTHERS)),
    )
    for name, image, words in kinds:
        made.append(name)
        crowd.docker("run", "-d", "--name", name, "-v", f"{folder}/models:/models:ro", image, *words)
