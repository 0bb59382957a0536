"""By keys: endpoints in the table, traffic, scale and deletion with choices, a failing deployment, no key in sight."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest

from backends.azureml.watch import Pace
from tests.azure import shapes
from tests.azure.emulator import Emulator
from tests.azure.http import Request
from tests.azure.sample import BUILD_FAILED, Sample
from tests.azure.shapes import TENANT
from tests.azure.state import Fault, Script, refuse
from tests.azureml.place import QUICK, backend
from tests.servers import Factory, Running
from tests.tui.pilot import DEADLINE_S, Dashboard, dashboard
from tritonctl.errors import Refused
from tui.widgets.panel import Panel

KEY = "TheKeyThatNobodyMaySee0123456789"


@pytest.fixture
def server(triton: Factory) -> Running:
    return triton(load=("digits",))


@pytest.fixture
def sample(azure: Emulator, server: Running) -> Sample:
    made = Sample(azure)
    model = made.model("text")
    made.endpoint("triton-ep", traffic={"blue": 90, "green": 10}, key=KEY)
    for name in ("blue", "green"):
        made.deployment("triton-ep", name, server=server.http, model=model)
    return made


async def cursor_on(shown: Dashboard, name: str) -> None:
    """Rows move while places are read: it is looked for until it is under the cursor."""
    end = time.monotonic() + DEADLINE_S
    while name not in shown.cursor:
        assert time.monotonic() < end, f"no row {name}:\n{shown.text}"
        await shown.press("home")
        for _ in range(5):
            await asyncio.sleep(0.05)
            if name in shown.cursor:
                return
            await shown.press("down")


async def confirmed(shown: Dashboard, name: str = "") -> None:
    await shown.sees("[ Cancel ]")
    if name:
        await shown.press("tab")
        await shown.type(name)
        await shown.press("enter")
    else:
        await shown.press("tab", "enter")
    await shown.sees("[ Close ]")
    await shown.press("escape")


async def test_the_way_of_a_day(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    """Look, shift the traffic, scale, delete one with its model, and find no key on the screen or in the audit."""
    seen: list[str] = []
    async with dashboard(backend(azure), work=tmp_path, size=(140, 40)) as shown:
        await shown.sees("ws/triton-ep/blue", "ws/triton-ep/green", "90 % of the traffic")
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        seen.append(shown.text)
        await cursor_on(shown, "triton-ep/blue")
        await shown.press("enter")
        await shown.sees("[1 Models]", "digits")
        await shown.command("traffic blue=50 green=50")
        await shown.sees("Traffic of ws/triton-ep: blue 50 %, green 50 %", "now", "blue 90 %, green 10 %")
        seen.append(shown.text)
        await confirmed(shown, "triton-ep")
        await shown.command("scale 2")
        await shown.sees("--instance-count 2")
        await confirmed(shown)
        await shown.command("set requests.concurrent=4")
        await shown.sees("max_concurrent_requests_per_instance=4")
        await confirmed(shown, "triton-ep/blue")
        await shown.press("d")
        await shown.sees("deployment blue", "STANDARD_NC4AS_T4_V3")
        seen.append(shown.text)
        await shown.press("escape")
        await shown.sees("SERVICE")
        await shown.until(lambda: "50 %" in shown.line("triton-ep/green") or "50 %" in shown.notice)
        await cursor_on(shown, "triton-ep/green")
        await shown.press("ctrl+d")
        await shown.sees("Delete ws/triton-ep/green", "endpoint triton-ep", "model text:1, archived", "blue 100 %")
        seen.append(shown.text)
        await confirmed(shown, "triton-ep/green")
        await shown.until(lambda: not shown.line("triton-ep/green"))
        seen.append(shown.text)
    assert azure.state.get(f"{sample.path}/onlineEndpoints/triton-ep/deployments/green") is None
    blue = azure.state.get(f"{sample.path}/onlineEndpoints/triton-ep/deployments/blue")
    assert blue is not None
    assert blue["sku"]["capacity"] == 2
    assert blue["properties"]["requestSettings"]["maxConcurrentRequestsPerInstance"] == 4
    audit = (tmp_path / "audit.jsonl").read_text()
    assert [json.loads(line)["action"] for line in audit.splitlines()] == [
        *("traffic", "scale", "settings", "delete", "delete")
    ]
    for text in (*seen, audit):
        assert KEY not in text


async def test_a_deployment_that_somebody_begins_is_followed_to_its_failure(
    azure: Emulator, sample: Sample, tmp_path: Path
) -> None:
    async with dashboard(backend(azure), work=tmp_path, size=(140, 40)) as shown:
        await shown.sees("ws/triton-ep/blue")
        _begin(azure, sample, Script(2.0, "Failed", BUILD_FAILED))
        await shown.until(lambda: "Creating" in shown.line("triton-ep/red"))
        await shown.until(lambda: "Failed" in shown.line("triton-ep/red"))
        await cursor_on(shown, "triton-ep/red")
        await shown.until(lambda: "ImageBuildFailure: Image building job failed." in shown.notice)
        await shown.press("d")
        await shown.sees("ImageBuildFailed: The image build")


async def test_what_azure_cannot_do_says_why_and_what_would(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    async with dashboard(backend(azure), work=tmp_path, size=(200, 40)) as shown:
        await shown.sees("ws/triton-ep/blue")
        await cursor_on(shown, "triton-ep/blue")
        await shown.press("enter")
        await shown.sees("[1 Models]")
        await shown.command("mode none")
        await shown.until(lambda: "--model-control-mode" in shown.notice)


async def test_read_only_offers_no_change(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    async with dashboard(backend(azure, read_only=True), work=tmp_path) as shown:
        await shown.sees("ws/triton-ep/blue")
        await cursor_on(shown, "triton-ep/blue")
        await shown.press("enter")
        await shown.sees("[1 Models]")
        await shown.command("scale 3")
        await shown.until(lambda: "read-only" in shown.notice)
    assert not [each for each in azure.state.made if each.method in ("PUT", "PATCH", "DELETE")]


async def test_two_hundred_endpoints(azure: Emulator, tmp_path: Path) -> None:
    """All are listed, and can be gone through while their keys are asked for; how quick it is the benchmark tells."""
    Sample(azure).crowd(200)
    azure.state.latency_s = 0.05
    pace = Pace(fast_s=QUICK.fast_s, seen_s=15.0, slow_s=90.0, list_s=15.0)
    async with dashboard(backend(azure, pace), work=tmp_path) as shown:
        await shown.sees("400 services")
        await shown.press("end")
        await shown.until(lambda: "ep-199" in shown.cursor)
        await shown.press("home")
        first = shown.cursor
        await shown.press("down")
        assert shown.cursor != first
    assert azure.state.most_in_flight <= 8


def _begin(azure: Emulator, sample: Sample, script: Script) -> None:
    """Somebody else deploys: an operation of Azure that this dashboard did not start."""
    path = sample.deployment("triton-ep", "red", state="Creating")
    azure.state.scripts.insert(0, ("PUT", ".*", script))
    document = azure.state.get(path)
    assert document is not None

    def finish(well: bool) -> None:
        document["properties"]["provisioningState"] = "Succeeded" if well else "Failed"

    running, _ = azure.state.begin(
        "od", Request("PUT", path, path, {"api-version": "2024-10-01"}, {}, b"", 0), shapes.ML, finish
    )
    document["properties"]["properties"]["AzureAsyncOperationUri"] = running.uri


async def test_the_charts_of_a_deployment_that_azure_measures(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    """Several instances behind one address tell no rates: what Azure Monitor has stands there, with its age."""
    sample.deployment("triton-ep", "blue", server=None, model=sample.model("text"), capacity=2)
    async with dashboard(backend(azure), work=tmp_path, size=(120, 34)) as shown:
        await shown.sees("ws/triton-ep/blue")
        await cursor_on(shown, "triton-ep/blue")
        await shown.press("enter", "3")
        await shown.sees("[3 Metrics]", "requests  120 /min", "GPU  67 %", "Azure Monitor, minutes until", "min ago")
        assert "throughput" not in shown.text, "a chart that nobody can fill"
        assert "unknown: queue, batch, models; :8002" in shown.text


async def test_the_authorities_of_the_environment_are_the_servers_too(
    azure: Emulator, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not Azure's Resource Manager alone: the same proxy stands before what serves."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(azure.ca))
    async with dashboard(backend(azure, ca=None), work=tmp_path, size=(120, 34)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))


def keys_asked_for(azure: Emulator) -> int:
    return len([each for each in azure.state.made if each.path.endswith("/listKeys")])


async def test_keys_are_shown_when_they_are_asked_for_twice_and_go_with_the_panel(
    azure: Emulator, sample: Sample, tmp_path: Path
) -> None:
    secondary = azure.state.keys[f"{sample.path}/onlineEndpoints/triton-ep".lower()][1]
    async with dashboard(backend(azure), work=tmp_path, size=(100, 30)) as shown:
        await shown.sees("ws/triton-ep/blue")
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        before = keys_asked_for(azure)
        await shown.command("keys triton-ep")
        await shown.sees("Keys of ws/triton-ep/blue", "not fetched, and not shown yet", "[ Cancel ]", "[ Show them ]")
        assert KEY not in shown.text
        assert keys_asked_for(azure) == before, "fetched before anybody wanted to see them"
        await shown.press("enter")  # Cancel has the focus
        await shown.loses("[ Cancel ]")
        await shown.command("keys ws/triton-ep/blue")
        await shown.sees("[ Show them ]")
        await shown.press("tab", "enter")
        await shown.sees("primary", KEY, "secondary", secondary, "[ Close ]")
        panel = shown.app.screen.query_one(Panel)
        assert KEY not in repr(panel._lines), "a traceback would tell it"
        await shown.press("escape")
        await shown.loses("[ Close ]")
        assert KEY not in shown.text
        assert KEY not in repr(vars(panel)) + repr(vars(panel._styles_cache)), "kept after it was closed"
    assert not (tmp_path / "audit.jsonl").exists(), "looking at keys changes nothing"


async def test_who_closes_the_panel_early_sees_no_key_afterwards(
    azure: Emulator, sample: Sample, tmp_path: Path
) -> None:
    async with dashboard(backend(azure), work=tmp_path, size=(100, 30)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        azure.state.latency_s = 3.0
        await shown.command("keys triton-ep")
        await shown.sees("[ Show them ]")
        await shown.press("tab", "enter")
        await shown.sees("asking for them")
        await shown.press("escape")
        await shown.loses("[ Close ]")
        await asyncio.sleep(3.5)  # longer than Azure takes
        assert KEY not in shown.text


async def test_a_plan_that_is_still_being_made_does_not_come_over_the_keys(
    azure: Emulator, sample: Sample, tmp_path: Path
) -> None:
    """Its "Do it" would have shown the keys, and done nothing."""
    async with dashboard(backend(azure), work=tmp_path, size=(100, 30)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        azure.state.faults.append(Fault("GET", "deployments/blue$", 1, delay_s=2.0))
        await shown.command("scale triton-ep/blue 3")
        await shown.sees("making the plan")
        shown.app.offer_keys("ws/triton-ep/blue")  # typed it would take longer here than the plan
        await shown.sees("[ Show them ]")
        await asyncio.sleep(3.0)
        assert "[ Show them ]" in shown.text
        assert "--instance-count" not in shown.text
        assert KEY not in shown.text


async def test_keys_that_somebody_left_on_the_screen_are_hidden_again(
    azure: Emulator, sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.screens.base._KEYS_STAY_S", 5.0)
    async with dashboard(backend(azure), work=tmp_path, size=(100, 30)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        await shown.command("keys triton-ep")
        await shown.sees("[ Show them ]")
        await shown.press("tab", "enter")
        await shown.sees("primary", KEY)
        await shown.sees("hidden again", ":keys shows them", "[ Close ]")
        assert KEY not in shown.text


async def test_why_keys_cannot_be_shown_is_said_in_the_panel(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    async with dashboard(backend(azure), work=tmp_path, size=(120, 30)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        azure.state.faults.append(
            Fault("POST", "listKeys", None, refuse(403, "AuthorizationFailed", "may not do 'listkeys/action'"))
        )
        await shown.command("keys triton-ep")
        await shown.sees("[ Show them ]")
        await shown.press("tab", "enter")
        await shown.sees("may not do 'listkeys/action'", "[ Close ]")


async def test_another_key_is_made_by_a_plan(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    path = f"{sample.path}/onlineEndpoints/triton-ep".lower()
    before = azure.state.keys[path]
    async with dashboard(backend(azure), work=tmp_path, size=(120, 34)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        await shown.command("keys triton-ep --regenerate tertiary")
        await shown.until(lambda: "tertiary is no key" in shown.notice)
        await shown.command("keys triton-ep --regenerate secondary")
        await shown.sees("Regenerate the secondary key of ws/triton-ep", "gets 401 at once", "a key cannot be brought")
        assert azure.state.keys[path] == before
        await confirmed(shown, "triton-ep")
        assert azure.state.keys[path][0] == before[0]
        assert azure.state.keys[path][1] != before[1]
        assert azure.state.keys[path][1] not in shown.text
    assert azure.state.keys[path][1] not in (tmp_path / "audit.jsonl").read_text()


async def test_read_only_has_no_way_to_the_keys(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    async with dashboard(backend(azure, read_only=True), work=tmp_path, size=(120, 30)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        for line in ("keys triton-ep", "keys triton-ep --regenerate primary"):
            await shown.command(line)
            await shown.until(lambda: "read-only" in shown.notice)
            assert "[ Cancel ]" not in shown.text
        with pytest.raises(Refused):
            await shown.app.fleet.keys(shown.app.fleet.resolve("ws/triton-ep/blue").service)


async def test_what_may_follow_keys_is_completed(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    async with dashboard(backend(azure), work=tmp_path, size=(120, 30)) as shown:
        await shown.sees("ws/triton-ep/blue")
        complete = shown.app._complete
        assert complete("key") == ["keys"]
        assert list(complete("keys ws/tri")) == [
            *("keys ws/triton-ep", "keys ws/triton-ep/blue", "keys ws/triton-ep/green")
        ]
        assert complete("keys ws/triton-ep --") == ["keys ws/triton-ep --regenerate"]
        assert complete("keys ws/triton-ep --regenerate s") == ["keys ws/triton-ep --regenerate secondary"]


async def test_a_model_is_deployed_by_a_line(azure: Emulator, sample: Sample, server: Running, tmp_path: Path) -> None:
    """A new deployment beside the others, seen in the table at once; then another version of the model in its place."""
    path = f"{sample.path}/onlineEndpoints/triton-ep/deployments/red".lower()
    azure.state.servers[path] = server.http
    azure.state.scripts.append(("PUT", "deployments/red", Script(4.0)))
    sample.model("text", 2)
    async with dashboard(backend(azure, Pace(0.1, 0.3, 1.0, list_s=60.0)), work=tmp_path, size=(140, 44)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        await shown.command("deploy text:1 triton-ep/red --count 2 --concurrent 4")
        await shown.sees("Deploy text:1 as ws/triton-ep/red", "instance_count=2", "=4 ", "/v2/health/ready", "billed")
        assert azure.state.get(path) is None
        await shown.press("tab", "enter")
        await shown.until(lambda: "Creating" in shown.line("◐ ws/triton-ep/red"), "the row, before a list is due")
        await shown.sees("[ Close ]")
        await shown.press("escape")
        made = azure.state.get(path)
        assert made is not None
        assert made["sku"]["capacity"] == 2
        assert made["properties"]["requestSettings"]["maxConcurrentRequestsPerInstance"] == 4
        await cursor_on(shown, "triton-ep/red")
        await shown.press("enter")
        await shown.sees("[1 Models]")
        await shown.command("deploy text:2")
        await shown.sees("Deploy text:2 as ws/triton-ep/red", "model text:1; beside it blue, green")
        await confirmed(shown)
        changed = azure.state.get(path)
        assert changed is not None
        assert changed["properties"]["model"].endswith("/models/text/versions/2")
        assert changed["sku"]["capacity"] == 2, "what was not named stays"


async def test_what_is_no_deployment_is_refused_in_words(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    async with dashboard(backend(azure), work=tmp_path, size=(170, 30)) as shown:
        await shown.sees("ws/triton-ep/blue")
        for line, words in (
            ("deploy", "it needs more"),
            ("deploy text:1 triton-ep/red --cuont 2", "unrecognized arguments: --cuont 2"),
            ("deploy text:1 triton-ep/red --count x", "'x' is not a whole number above 0"),
            ("deploy text:1 red", "'' cannot name an endpoint"),
            ("deploy text:9 triton-ep/red", "text"),
            ("deploy --help", "the following arguments are required"),
        ):
            await shown.command(line)
            await shown.until(lambda words=words: words in shown.notice, words)  # type: ignore[misc]
        complete = shown.app._complete
        assert "deploy text:1 ws/triton-ep/blue" in complete("deploy text:1 ws/")
        assert complete("deploy text:1 ws/triton-ep/red --co") == [
            f"deploy text:1 ws/triton-ep/red {name}" for name in ("--count", "--concurrent", "--compute", "--code")
        ]
        assert complete("deploy text:1 ws/triton-ep/red --auth a") == [
            f"deploy text:1 ws/triton-ep/red --auth {name}" for name in ("aml_token", "aad_token")
        ]
    async with dashboard(backend(azure, read_only=True), work=tmp_path, size=(140, 30)) as shown:
        await shown.sees("ws/triton-ep/blue")
        await shown.command("deploy text:1 triton-ep/red")
        await shown.until(lambda: "read-only" in shown.notice)


LINE = f"az login --tenant {TENANT} --scope https://management.core.windows.net//.default"  # az's own words


async def test_a_wide_header_has_the_line_to_sign_in_itself(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    azure.az.set("expired")
    async with dashboard(backend(azure), work=tmp_path, size=(200, 40)) as shown:
        await shown.until(lambda: f"ws: refused  → {LINE}" in shown.lines[0])


async def test_a_places_page_has_the_line_before_the_place_has_answered(
    azure: Emulator, sample: Sample, tmp_path: Path
) -> None:
    azure.az.set("expired")
    async with dashboard(backend(azure), work=tmp_path, size=(140, 40)) as shown:
        await shown.until(lambda: ":ws tells what to do" in shown.lines[0])
        azure.az.set("hanging")
        await shown.command("ws")
        end = time.monotonic() + 1.0
        while f"→ {LINE}" not in unwrapped(shown):
            assert time.monotonic() < end, shown.text
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_the_line_to_sign_in_again_is_shown_whole(
    azure: Emulator, sample: Sample, tmp_path: Path, size: tuple[int, int]
) -> None:
    azure.az.set("expired")
    async with dashboard(backend(azure), work=tmp_path, size=size) as shown:
        await shown.until(lambda: LINE in unwrapped(shown))
        assert "ws: refused, :ws tells what to do" in shown.lines[0]
        await shown.command("ws")
        await shown.until(lambda: "→ az login" in shown.text)
        assert f"→ {LINE}" in unwrapped(shown)


async def test_a_login_that_is_lost_later_leads_to_the_line(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    place = backend(azure)
    async with dashboard(place, work=tmp_path, size=(80, 24)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        azure.az.set("expired")
        assert place._place is not None
        place._place.arm.login._tokens.clear()
        await shown.until(lambda: "ws: refused, :ws tells what to do" in shown.lines[0])
        await shown.press("P")
        await shown.until(lambda: f"→ {LINE}" in unwrapped(shown))


def unwrapped(shown: Dashboard) -> str:
    """The screen's text with the lines that were broken put together."""
    return " ".join(" ".join(line.split()) for line in shown.lines)


async def test_a_key_that_somebody_else_made_anew_is_asked_for_when_the_old_one_is_refused(
    azure: Emulator, sample: Sample, tmp_path: Path
) -> None:
    """Not two minutes later: until then a service that is well would stand there as one that nobody reaches."""
    path = f"{sample.path}/onlineEndpoints/triton-ep".lower()
    async with dashboard(backend(azure), work=tmp_path, size=(120, 34)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        before = azure.state.keys[path]
        azure.state.keys[path] = ("MadeElsewhere0123456789", before[1])
        asked = keys_asked_for(azure)
        await shown.until(lambda: keys_asked_for(azure) > asked)
        seen = shown.app.fleet.snapshot.by_id["ws/triton-ep/blue"].seen_at or 0.0
        await shown.until(lambda: (shown.app.fleet.snapshot.by_id["ws/triton-ep/blue"].seen_at or 0.0) > seen + 1.0)
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        # A key that is refused for another reason is not asked for at each look.
        azure.state.keys[path] = before
        await asyncio.sleep(6.0)
        assert keys_asked_for(azure) <= asked + 2


async def test_shares_and_operations_are_seen_beside_whatever_else_is_wrong(
    azure: Emulator, sample: Sample, tmp_path: Path
) -> None:
    async with dashboard(backend(azure), work=tmp_path, size=(80, 24)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        assert "triton-ep/blue  90%" in shown.text
        assert "triton-ep/green  10%" in shown.text
        path = f"{sample.path}/onlineEndpoints/triton-ep"
        azure.state.scripts.insert(0, ("PUT", ".*", Script(60.0)))
        asked = Request("PUT", path, path, {"api-version": "2024-10-01"}, {}, b"", 0)
        running, _ = azure.state.begin("oe", asked, shapes.ML, lambda _well: None)
        document = azure.state.get(path)
        assert document is not None
        document["properties"]["provisioningState"] = "Updating"
        document["properties"]["properties"]["AzureAsyncOperationUri"] = running.uri
        await shown.until(lambda: re.search(r"Updating \d+s", shown.line("triton-ep/blue")) is not None)
        before = re.findall(r"Updating \d+s", shown.text)
        await shown.until(lambda: re.findall(r"Updating \d+s", shown.text) not in ([], before))


async def test_what_a_lost_place_told_is_old(azure: Emulator, sample: Sample, tmp_path: Path) -> None:
    """The servers may answer all the same; what Azure says of them is of the time before."""
    async with dashboard(backend(azure), work=tmp_path, size=(120, 34)) as shown:
        await shown.until(lambda: "ready" in shown.line("triton-ep/blue"))
        azure.state.faults.append(Fault("GET", ".*", None, refuse(403, "AuthorizationFailed", "no longer")))
        await shown.until(lambda: re.search(r"\d+s ago: Suc", shown.line("triton-ep/blue")) is not None)
        azure.state.faults.clear()
        await shown.until(lambda: "ago" not in shown.line("triton-ep/blue"))
