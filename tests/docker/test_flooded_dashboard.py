"""The dashboard, a process of its own, while the log on its screen is flooded: keys are answered, memory is bounded."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.docker.hands import choose
from tests.docker.place import Place
from tests.docker.test_logs import FLOOD
from tests.tui.process import running


@pytest.mark.alone
async def test_keys_are_answered_while_a_log_is_flooded(place: Place, tmp_path: Path) -> None:
    flood = FLOOD.replace("LENGTH", "15999").replace("time.sleep(2)", "input()")
    flags = ("-i", "--log-opt", "max-size=3g", "-l", "tritonctl.server=true")
    name = place.run("flood", "python3", "-c", flood, flags=flags)
    async with running(home=tmp_path, DOCKER_HOST=place.host) as shown:
        await choose(shown, name)
        shown.type("l")
        await shown.sees("following")
        process = psutil.Process(shown.child.pid)
        before = process.memory_info().rss
        place.docker("exec", name, "sh", "-c", "echo > /proc/1/fd/0")
        await shown.sees("xxxxxxxx")
        took, most = [], before
        for _ in range(8):
            shown.type("?")
            took.append(await shown.until(lambda: "the keys that work here" in shown.text))
            shown.type("\x1b")
            took.append(await shown.until(lambda: "xxxxxxxx" in shown.text))
            most = max(most, process.memory_info().rss)
        await shown.sees("wrote ")
        most = max(most, process.memory_info().rss)
        print(f"keys under a flood, s: {sorted(took)}; {(most - before) / 2**20:.0f} MiB more")
        assert sorted(took)[len(took) // 2] < 0.5
        assert max(took) < 2.0
        assert most - before < 200 * 2**20
