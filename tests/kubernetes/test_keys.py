"""The same way by keys alone: find a service, read why a model failed, load on both pods, switch, delete."""

from __future__ import annotations

import json

from backends.kubernetes.backend import KubernetesBackend
from tests.kubernetes.acting import GRACEFUL, PATIENT, traffic
from tests.kubernetes.space import BROKEN, Space, ready
from tests.servers import IDENTITY
from tests.tui import pilot
from tests.tui.pilot import dashboard

_LONG_S = 120.0


async def test_from_finding_to_deleting(space: Space) -> None:
    space.models({"broken": BROKEN, "one": IDENTITY, "two": IDENTITY})
    # Else a load that fails takes both pods out of the traffic: their readiness is the server's own.
    flags = ("--model-control-mode=explicit", "--load-model=one", "--strict-readiness=false")
    space.triton("web", *flags, replicas=2, container=GRACEFUL, pod=PATIENT)
    space.service("web")
    await space.until("Deployment", "web", ready(2))
    place = KubernetesBackend(space.settings(), ready_s=60.0)
    size = (180, 50)
    async with dashboard(place, work=space.folder, size=size, interval_s=0.5, deadline_s=5.0) as shown:
        await shown.sees(f"k8s/{space.name}/web", "ready")
        await shown.until(lambda: "2/2" in shown.line(f"{space.name}/web"))
        await shown.press("enter")
        await shown.sees("[1 Models]", "broken", "one", "two")

        # It fails on both pods, and says why.
        await shown.press("home", "down", "L")
        await shown.sees("Load broken on", "create --raw", "▌[ Cancel ]")
        await shown.press("tab", "enter")
        await shown.sees("[ Close ]", "torchaudio")
        await shown.press("escape")
        await shown.until(lambda: "✖" in shown.line("broken"))

        await shown.press("end", "L")
        await shown.sees("Load two on", "--load-model=two", "▌[ Cancel ]")
        await shown.press("tab", "enter")
        await shown.sees("[ Close ]", "done in")
        await shown.press("escape")
        await shown.until(lambda: "ready" in shown.line("two") and "2/2" in shown.line("two"))

        async with traffic(space, "web") as sent:
            await shown.command("mode explicit")
            await shown.sees("Switch k8s/", "patch deployment/web", "--load-model=two", "▌[ Cancel ]")
            await shown.press("tab", "enter")
            await long(shown, "[ Close ]", "done in")
            assert not sent.errors, sent.errors
            assert not sent.without
        await shown.press("escape")
        await shown.until(lambda: "ready" in shown.line("two") and "2/2" in shown.line("two"))
        # What the pods before them failed to load, the new ones never tried.
        await shown.until(lambda: "not loaded" in shown.line("broken") and "✖" not in shown.line("broken"))

        await shown.press("ctrl+d")
        await shown.sees("Delete k8s/", "Service web", "ConfigMap models", "[ ]")
        # From the field for the name up over the last choice to the first.
        await shown.press("up", "up", "space")
        await shown.sees("[x]   Service web", "delete service/web")
        await shown.type(f"{space.name}/web")
        await shown.press("down", "down", "tab", "enter")
        await long(shown, "[ Close ]", "done in")
    assert space.get("Deployment", "web") is None
    assert space.get("Service", "web") is None
    assert space.get("ConfigMap", "models") is not None
    calls = [json.loads(line)["call"] for line in (space.folder / "audit.jsonl").read_text().splitlines()]
    assert any("delete deployment/web" in call for call in calls)


async def long(shown: pilot.Dashboard, *texts: str) -> None:
    """As `sees`, for what takes a rollout."""
    for text in texts:
        for _ in range(int(_LONG_S / pilot.DEADLINE_S)):
            try:
                await shown.sees(text)
                break
            except AssertionError:
                continue
        assert text in shown.text, shown.text
