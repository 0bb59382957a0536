"""The rows of the bench that look at the dashboard: start, keys, idle cost, a slow link, a change at the server."""

from __future__ import annotations

import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.servers import Stage, command
from benchmarks.terminal import NotSeen, Terminal, running

CURSOR = "▌"
SETTLE_S = 6.0  # until charts have their first points and the garbage of the start is gone
LINK_BYTES_PER_S = 8000
_CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d)\s*$")


def first_frame(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    """From before the process is made to the last byte of the frame that names every service, and that has figures."""
    named, figures = [], []
    _warm(stage)
    for _ in range(runs):
        with running(command(), stage.environ()) as terminal:
            named.append(
                terminal.until(lambda lines: _all_named(stage, lines), "every service's name") - terminal.began
            )
            figures.append(
                terminal.until(lambda lines: _all_ready(stage, lines), "every server's state") - terminal.began
            )
    count = len(stage.servers)
    return [
        Figure("start", f"tritonctl to the services' names, {count} servers", "s", tuple(named), 0.5),
        Figure("start", "… to every server's state", "s", tuple(figures)),
    ]


def services_json(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    """The whole process of `tritonctl services -o json`; a first run, which may compile byte-code, is not counted."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        done = subprocess.run(
            command("services", "-o", "json"), env=stage.environ(), capture_output=True, timeout=30, check=True
        )
        times.append(time.perf_counter() - began)
        if done.stdout.count(b'"ready": true') < len(stage.servers):
            raise NotSeen(done.stdout.decode())
    return [Figure("json", f"tritonctl services -o json, {len(stage.servers)} servers", "s", tuple(times[1:]), 0.45)]


def keys(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    """Down and up through the rows, at any phase of the looks, with keys as fast as a person repeats them."""
    tails, medians = [], []
    for _ in range(runs):
        with _settled(stage) as terminal:
            steps = _walk(len(stage.servers), 60 if quick else 200)
            times = press_each(terminal, steps)
        tails.append(p99(times) * 1e3)
        medians.append(statistics.median(times) * 1e3)
    note = f"median {statistics.median(medians):.0f} ms"
    return [
        Figure("keys", f"key press to repaint, {len(stage.servers)} servers, p99", "ms", tuple(tails), 40, note=note)
    ]


def keys_simulated(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    """The same over 1,000 simulated services: rows down with the scrolls they bring, and every tenth key a page."""
    tails, medians = [], []
    for _ in range(runs):
        argv = [sys.executable, "-m", "benchmarks.simulated"]
        with running(argv, stage.environ()) as terminal:
            terminal.until(lambda lines: any("sim/" in line and " ready " in line for line in lines), "the services")
            terminal.watch(SETTLE_S)
            count = 60 if quick else 200
            steps = ["\x1b[6~" if number % 10 == 9 else "j" for number in range(count)]
            times = press_each(terminal, steps)
        tails.append(p99(times) * 1e3)
        medians.append(statistics.median(times) * 1e3)
    note = f"simulated; median {statistics.median(medians):.0f} ms"
    return [
        Figure("keys-1000", "key press to repaint, 1,000 simulated services, p99", "ms", tuple(tails), 60, note=note)
    ]


def idle(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    return _standing(stage, runs, quick, "idle", "the services table", "", (2.0, 100.0, 2.0))


def idle_charts(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    return _standing(stage, runs, quick, "charts", "a service's charts", "\r3", (3.0, None, 8.0))


def _standing(
    stage: Stage, runs: int, quick: bool, row: str, where: str, way: str, bars: tuple[float, float | None, float]
) -> list[Figure]:
    """Nobody touches a key: what it costs to stand there. CPU is the process' own user and system time."""
    window_s = 20.0 if quick else 40.0
    cpu, memory, written = [], [], []
    for _ in range(runs):
        with _settled(stage, way) as terminal:
            before = terminal.cpu_s()
            written.append(terminal.watch(window_s) / window_s / 1e3)
            cpu.append((terminal.cpu_s() - before) / window_s * 100)
            memory.append(terminal.rss_mb())
    return [
        Figure(row, f"standing on {where}: CPU", "% of a core", tuple(cpu), bars[0]),
        Figure(row, "… resident memory", "MB", tuple(memory), bars[1]),
        Figure(row, "… to the terminal", "kB/s", tuple(written), bars[2]),
    ]


def slow_link(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    """The services table read at 8 kB/s; the clock in the header tells how old a frame is.

    The kernel is asked every 10 ms what the main thread is doing (/proc/PID/syscall): it waits for events or it does
    not, and the longest time on end that it does not is the longest stall. The program itself knows nothing of it.
    """
    behind, stalls = [], []
    for _ in range(runs):
        with running(command(), stage.environ()) as terminal:
            link = _Link(terminal)
            link.read(8.0)
            link.begin()
            link.read(20.0 if quick else 60.0)
            behind.append(link.behind_s)
            stalls.append(link.stall_s * 1e3)
    return [
        Figure("slow-link", f"services table at {LINK_BYTES_PER_S / 1e3:g} kB/s: most behind", "s", tuple(behind), 1.0),
        Figure("slow-link", "… longest stall of the event loop", "ms", tuple(stalls), 100, note="in steps of 10 ms"),
    ]


class _Link:
    """Reads the terminal at the link's rate."""

    STEP_S = 0.01

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._syscall = Path(f"/proc/{terminal.process.pid}/syscall")
        self.begin()

    def begin(self) -> None:
        """Forget what was measured so far."""
        self.behind_s = 0.0
        self.stall_s = 0.0
        self._clock = ""

    def read(self, seconds: float) -> None:
        allowed = 0.0
        last = waited = time.perf_counter()
        end = last + seconds
        while last < end:
            time.sleep(self.STEP_S)
            now = time.perf_counter()
            if self._waits():
                # Two looks may lie further apart than a step when this machine is busy: count what was seen only.
                waited = now
            else:
                self.stall_s = max(self.stall_s, now - waited)
            allowed = min(allowed + (now - last) * LINK_BYTES_PER_S, LINK_BYTES_PER_S * 0.1)
            last = now
            if allowed >= 1:
                data = self._terminal.take(0.0, int(allowed))
                allowed -= len(data)
                if data:
                    self._terminal.feed(data)
                    self._see()

    def _see(self) -> None:
        found = _CLOCK.search(self._terminal.lines()[0])
        if found is None or found[0] == self._clock:
            return
        self._clock = found[0]
        hour, minute, second = (int(part) for part in found.groups())
        now = time.time()
        local = time.localtime(now)
        age = (local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + now % 1) - (hour * 3600 + minute * 60 + second)
        # What was written at 14:02:31.9 shows 14:02:31: the clock itself is up to a second old.
        self.behind_s = max(self.behind_s, age % 86_400 - 1.0)

    def _waits(self) -> bool:
        """Whether the main thread waits for events: Linux tells the number of the system call it is in."""
        words = self._syscall.read_text(encoding="ascii").split()
        return words[0] in _EPOLL_WAIT


# epoll_wait and epoll_pwait on x86-64, epoll_pwait on arm64
_EPOLL_WAIT = ("232", "281", "22")


def model_state(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    """A model is loaded and unloaded at the server while its service's page is open; the time until its row says so."""
    server = stage.servers[0]
    delays = []
    chance = random.Random(7)
    with _settled(stage, "\r") as terminal:
        for number in range(8 if quick else 20):
            terminal.watch(chance.uniform(0.0, stage.interval_s))
            load = number % 2 == 1
            stage.change(server, "load" if load else "unload", "echo")
            began = _until_state(stage, load)
            word = "ready" if load else "unavailable|not loaded|unloaded"
            pattern = re.compile(rf"\becho\b.*\b({word})\b")
            delays.append(terminal.until(lambda lines, pattern=pattern: _any(pattern, lines), f"echo {word}") - began)  # type: ignore[misc]
    bar = 1.2 * stage.interval_s
    what = f"a model's state to the screen, {stage.interval_s:g} s between looks, longest of {len(delays)}"
    note = f"median {statistics.median(delays):.2f} s"
    return [Figure("state", what, "s", (max(delays),), bar, note=note)]


def _until_state(stage: Stage, load: bool) -> float:
    """When the server itself first says so. An unload is answered at once and then takes its time, as UNLOADING."""
    wanted = ("READY",) if load else ("UNAVAILABLE", "")
    while stage.state(stage.servers[0], "echo") not in wanted:
        time.sleep(0.01)
    return time.perf_counter()


def _any(pattern: re.Pattern[str], lines: list[str]) -> bool:
    return any(pattern.search(line) for line in lines)


def _all_named(stage: Stage, lines: list[str]) -> bool:
    text = "\n".join(lines)
    return all(name in text for name in stage.services)


def _all_ready(stage: Stage, lines: list[str]) -> bool:
    return all(any(name in line and " ready " in line for line in lines) for name in stage.services)


def _warm(stage: Stage) -> None:
    """Byte-code is compiled and files are in memory."""
    with running(command(), stage.environ()) as terminal:
        terminal.until(lambda lines: _all_ready(stage, lines), "every server's state")


@contextmanager
def _settled(stage: Stage, way: str = "") -> Iterator[Terminal]:
    """The dashboard with every figure in place, after pressing the keys of `way`."""
    with running(command(), stage.environ()) as terminal:
        terminal.until(lambda lines: _all_ready(stage, lines), "every server's state")
        for key in way:
            terminal.send(key)
            terminal.watch(1.0)
        terminal.watch(SETTLE_S)
        yield terminal


def _walk(rows: int, count: int) -> list[str]:
    """Down to the last row, up to the first, and so on; every key moves the cursor."""
    there = ["j"] * (rows - 1) + ["k"] * (rows - 1)
    return [there[number % len(there)] for number in range(count)]


def press_each(terminal: Terminal, steps: list[str], unmoved: int = 0) -> list[float]:
    """Seconds from each key to its repaint. So many keys may move nothing, as one towards the edge does that the
    cursor's row has come to by itself just now; they are not counted."""
    chance = random.Random(3)
    times = []
    for key in steps:
        terminal.watch(chance.uniform(0.03, 0.25))
        before = _under_cursor(terminal.lines())
        moved: Callable[[list[str]], bool] = lambda lines, before=before: _under_cursor(lines) not in ("", before)  # type: ignore[misc]  # noqa: E731
        try:
            times.append(terminal.press(key, moved, f"the cursor on another row after {key!r}", 2.0))
        except NotSeen:
            if not unmoved:
                raise
            unmoved -= 1
    return times


def _under_cursor(lines: list[str]) -> str:
    """The name in the row with the cursor; the figures beside it change by themselves."""
    row = next((line[1:].split() for line in lines if line.startswith(CURSOR)), [])
    return row[1] if len(row) > 1 else ""


def p99(times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * 0.99))]
