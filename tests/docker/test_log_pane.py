"""The log on the screen: a filter finds what is far above the end, a time and the run before can be chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docker.place import Place, eventually, until
from tests.docker.test_commands import tritonctl
from tests.docker.test_logs import reads
from tests.tui.pilot import Dashboard, dashboard
from tui.widgets.loglines import LogLines

LONG = "echo the needle in it; seq -f 'hay %.0f' 60000; echo the needle at the end; sleep 600"


async def open_log(shown: Dashboard, name: str) -> None:
    await shown.filter(name)
    await shown.until(lambda: name in shown.cursor)
    await shown.press("l")


async def test_a_filter_finds_what_is_not_in_the_tail(place: Place, tmp_path: Path) -> None:
    name = place.run("t", "sh", "-c", LONG, flags=("-l", "tritonctl.server=true"))

    async def written() -> bool:
        return place.docker("logs", "--tail", "1", name) == "the needle at the end"

    await eventually(written)
    async with dashboard(place.backend(), work=tmp_path) as shown:
        await open_log(shown, name)
        await shown.sees("the needle at the end")
        log = shown.app.screen.query_one(LogLines)
        assert "hay 10\n" not in log.text(), "only its end is read"
        await shown.filter("needle")
        await shown.sees("the needle in it", "the needle at the end")
        await shown.sees("2 lines · 2 match")  # and none that says that some were lost
        await shown.press("escape")
        await shown.sees("hay 60000", "the needle at the end")
        await shown.loses("the needle in it")


def only_log_in(folder: Path) -> Path:
    (found,) = folder.glob("tritonctl-log-*.txt")
    return found


async def test_what_is_read_of_a_log_is_saved_to_a_file_of_its_readers_own(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = place.run("t", "sh", "-c", r"printf 'a\033[2Jb\n'; sleep 600", flags=("-l", "tritonctl.server=true"))
    monkeypatch.chdir(tmp_path)
    async with dashboard(place.backend(), work=tmp_path) as shown:
        await open_log(shown, name)
        await shown.sees("following · 1 line")
        await shown.press("ctrl+s")
        await shown.until(lambda: "saved 1 line to" in shown.notice)
    saved = only_log_in(tmp_path)
    assert saved.stat().st_mode & 0o777 == 0o600
    assert "\x1b" not in saved.read_text()
    assert saved.read_text().startswith("a")


async def test_only_what_was_written_since(place: Place, tmp_path: Path) -> None:
    name = place.run(
        "t", "sh", "-c", "echo before; sleep 5; echo now; sleep 600", flags=("-l", "tritonctl.server=true", "--init")
    )
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: True)
        await eventually(lambda: reads(fleet, status, lambda texts: texts == ["before", "now"]))
    said = json.loads(tritonctl(place, "logs", place.service(name), "--since", "3s", "-o", "json"))
    assert [each["text"] for each in said] == ["now"]
    assert tritonctl(place, "logs", place.service(name), "--since", "1h30m").split() == ["before", "now"]
    tritonctl(place, "logs", place.service(name), "--since", "yesterday", code=2)
    async with dashboard(place.backend(), work=tmp_path) as shown:
        await open_log(shown, name)
        await shown.sees("before", "now")
        place.docker("restart", "-t", "0", name)
        await shown.press("a")
        await shown.type("1s")
        await shown.press("enter")
        await shown.until(lambda: "last 1s" in shown.notice)
        await shown.until(lambda: not any(line.strip() == "now" for line in shown.lines))
        await shown.press("a")
        await shown.type("soon")
        await shown.press("enter")
        await shown.until(lambda: "write 30s, 10m, 2h or 1d" in shown.notice)
        await shown.press("a", "enter")
        await shown.until(lambda: any(line.strip() == "before" for line in shown.lines))


async def test_the_run_before_the_last_restart(place: Place, tmp_path: Path) -> None:
    script = "echo $(cat /n 2>/dev/null) run; echo again >> /n; sleep 600"
    name = place.run("t", "sh", "-c", script, flags=("-l", "tritonctl.server=true", "--init"))
    async with place.fleet() as fleet:
        status = await until(fleet, place.service(name), lambda each: True)
        await eventually(lambda: reads(fleet, status, lambda texts: texts == ["run"]))
        place.docker("restart", "-t", "0", name)
        await eventually(lambda: reads(fleet, status, lambda texts: texts == ["again run"]))
    async with dashboard(place.backend(), work=tmp_path) as shown:
        await open_log(shown, name)
        await shown.sees("again run")
        await shown.press("p")
        await shown.sees("the end of the run before; p shows the present one")
        await shown.until(lambda: any(line.strip() == "run" for line in shown.lines))
        assert "again run" not in shown.text
        await shown.press("p")
        await shown.sees("again run")


async def test_a_container_that_is_made_anew_under_its_open_log(place: Place, tmp_path: Path) -> None:
    words = ("sh", "-c", "echo the first one; exec tritonserver --model-repository=/models")
    mount = ("-v", f"{place.models}:/models:ro", "--shm-size=64m")
    name = place.run("t", *words, flags=mount)
    async with dashboard(place.backend(), work=tmp_path) as shown:
        await open_log(shown, name)
        await shown.sees("Started HTTPService")
        log = shown.app.screen.query_one(LogLines)
        assert "the first one" in log.text()
        place.docker("rm", "-f", name)
        await shown.sees("the log ends here")
        place.run("t", *(word.replace("first", "second") for word in words), flags=mount)
        await shown.until(lambda: "the second one" in log.text())
        assert "the first one" not in log.text()
