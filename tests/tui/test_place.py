"""The page of a place: what it has beside its services, by key and by name, and what is said where it tells nothing."""

from __future__ import annotations

from pathlib import Path

from tests.fakes import FakeBackend, FakeTriton, service
from tests.tui.pilot import dashboard
from tritonctl.backend import Section
from tritonctl.errors import Unreachable


class Cluster(FakeBackend):
    free = 3
    fault: Unreachable | None = None

    async def describe_place(self) -> tuple[Section, ...]:
        if self.fault is not None:
            raise self.fault
        return (Section("GPUs", (("node1 nvidia.com/gpu", f"{self.free} of 4 free"),)),)


async def test_a_place_is_opened_by_its_key_and_by_its_name(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("tritonctl.backend.Backend.place_every_s", 0.2)
    async with FakeTriton() as server:
        place = Cluster(service("web", server), name="k8s")
        place.services = {"k8s/web": service("web", server, backend="k8s")}
        async with dashboard(place, FakeBackend(name="bare"), work=tmp_path) as shown:
            await shown.sees("k8s/web")
            await shown.press("P")
            await shown.sees("k8s", "fake, connected", "node1 nvidia.com/gpu  3 of 4 free")
            place.free = 2
            await shown.sees("2 of 4 free")
            place.fault = Unreachable("list nodes", "no answer", kind="timeout")
            await shown.sees("no answer", "2 of 4 free")
            await shown.press("escape")
            await shown.sees("SERVICE")
            await shown.command("describe bare")
            await shown.sees("bare", "it tells nothing beside its services")
            place.fault = None
            await shown.command("k8s")
            await shown.sees("2 of 4 free")
            await shown.press("escape")
            await shown.sees("SERVICE")
