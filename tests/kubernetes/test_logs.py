"""Logs of any container, of the run before, and followed over cuts, restarts and new pods without a line lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from backends.kubernetes.backend import KubernetesBackend
from tests.kubernetes.acting import acting, serving, until
from tests.kubernetes.gate import gate_to
from tests.kubernetes.space import Space, ready, rule
from tests.tui.pilot import dashboard
from tests.waiting import until as become
from tritonctl.backend import LogLine
from tritonctl.errors import Forbidden, NotFound, OperationFailed, UsageError
from tritonctl.fleet import Fleet

# Not Triton, but said to be by its label: it writes what a test can count.
COUNTS = "i=0; while [ $i -lt {most} ]; do echo line $i; i=$((i+1)); sleep 0.01; done; {end}"


def counter(space: Space, name: str = "web", *, most: int = 100_000, end: str = "sleep 1000", **pod: Any) -> str:
    command = ["sh", "-c", COUNTS.format(most=most, end=end)]
    space.triton(name, kind="Pod", labels={"tritonctl.server": "true"}, command=command, probe=False, **pod)
    return f"k8s/{space.name}/{name}"


async def lines_of(fleet: Fleet, service: str, **asked: Any) -> list[LogLine]:
    found = fleet.resolve(service).service
    batches: Any = fleet.backend_of(found).logs(found, **asked)
    return [line async for batch in batches for line in batch]


def following(fleet: Fleet, service: str, tail: int = 100_000) -> AsyncIterator[Sequence[LogLine]]:
    found = fleet.resolve(service).service
    return fleet.backend_of(found).logs(found, follow=True, tail=tail)


class Reader:
    """Takes what a log brings, until it is cancelled."""

    def __init__(self, batches: AsyncIterator[Sequence[LogLine]]) -> None:
        self.lines: list[LogLine] = []
        self.task = asyncio.create_task(self._read(batches))

    async def _read(self, batches: Any) -> None:
        async with aclosing(batches) as reading:
            async for batch in reading:
                self.lines += batch

    def count(self) -> int:
        return len(self.lines)

    async def stop(self) -> list[str]:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        return [line.text for line in self.lines]


async def test_no_line_is_lost_or_told_twice_over_cuts(space: Space) -> None:
    service = counter(space)
    await space.until("Pod", "web", lambda pod: bool(pod["status"].get("phase") == "Running"))
    async with gate_to(space) as gate, acting(space, gate.kubeconfig) as fleet:
        await until(fleet, service, lambda each: bool(each.replicas))
        reader = Reader(following(fleet, service))
        for _ in range(3):
            before = reader.count()
            await become(lambda before=before: reader.count() > before + 100)  # type: ignore[misc]
            assert gate.cut(r"/log$")
        before = reader.count()
        await become(lambda: reader.count() > before + 100)
        texts = await reader.stop()
    assert texts == [f"line {number}" for number in range(len(texts))]


async def test_a_container_that_starts_anew_is_followed_on(space: Space) -> None:
    """Its second run stays."""
    scratch = {"volumes": [*space.pod_spec()["volumes"], {"name": "scratch", "emptyDir": {}}]}
    mounts = [{"name": "scratch", "mountPath": "/scratch"}]
    end = "[ -e /scratch/once ] && sleep 1000; touch /scratch/once; exit 3"
    service = counter(space, most=50, end=end, pod=scratch, container={"volumeMounts": mounts})
    run = [f"line {number}" for number in range(50)]
    async with acting(space) as fleet:
        await until(fleet, service, lambda each: bool(each.replicas))
        reader = Reader(following(fleet, service))
        await become(lambda: reader.count() >= 100, 90.0)
        assert await reader.stop() == [*run, *run]
        assert [line.text for line in await lines_of(fleet, service)] == run
        assert [line.text for line in await lines_of(fleet, service, previous=True)] == run


async def test_init_containers_other_containers_and_what_there_is_not(space: Space) -> None:
    extra = {
        "initContainers": [
            {"name": "fetch", "image": space.pod_spec()["containers"][0]["image"], "command": ["echo", "fetched"]}
        ]
    }
    service = counter(space, most=3, pod=extra)
    async with acting(space) as fleet:
        await until(fleet, service, lambda each: bool(each.replicas))

        async def all_there() -> bool:
            return len(await lines_of(fleet, service)) == 4

        await space.until("Pod", "web", lambda pod: bool(pod["status"].get("phase") == "Running"))
        await become(all_there)
        lines = await lines_of(fleet, service)
        assert [(line.replica, line.text) for line in lines] == [
            ("web/fetch", "fetched"),
            *(("web", f"line {number}") for number in range(3)),
        ]
        assert all(line.at for line in lines)
        assert [line.text for line in await lines_of(fleet, service, replica="web/fetch")] == ["fetched"]
        assert [line.text for line in await lines_of(fleet, service, replica="web", tail=1)] == ["fetched", "line 2"]
        with pytest.raises(UsageError) as caught:
            await lines_of(fleet, service, replica="web/nothing")
        assert "fetch, triton" in caught.value.advice
        with pytest.raises(NotFound):
            await lines_of(fleet, service, replica="gone")
        with pytest.raises(OperationFailed, match="run once only"):
            await lines_of(fleet, service, replica="web/triton", previous=True)


async def test_by_keys_any_container_and_its_run_before(space: Space) -> None:
    """The server's log alone does not tell why what runs before or beside it fails."""
    image = space.pod_spec()["containers"][0]["image"]
    says = "[ -e /scratch/once ] && echo now it runs && sleep 1000; touch /scratch/once; echo it fails first; exit 3"
    beside = {"name": "beside", "image": image, "command": ["sh", "-c", says]}
    beside["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
    extra = {
        "initContainers": [{"name": "fetch", "image": image, "command": ["echo", "fetched"]}],
        "containers": [*space.pod_spec()["containers"], beside],
        "volumes": [*space.pod_spec()["volumes"], {"name": "scratch", "emptyDir": {}}],
    }
    space.triton("web", kind="Pod", pod=extra)
    service = f"k8s/{space.name}/web"

    def twice(pod: Any) -> bool:
        return any(each["restartCount"] > 0 for each in pod["status"].get("containerStatuses", ()))

    await space.until("Pod", "web", twice)
    async with dashboard(KubernetesBackend(space.settings()), work=space.folder, size=(80, 24)) as shown:
        await shown.sees("web")
        await shown.command(f"logs {service}")
        await shown.sees("Started Metrics Service")
        await shown.press("c")
        await shown.sees("LOG OF", "init: Completed exit 0", "server: running", "beside: running")
        await shown.press("down", "enter")
        await shown.sees("fetched")
        assert "Started" not in shown.text
        await shown.press("c")
        await shown.until(lambda: "running, 1 restart, before: exit 3" in shown.line("web/beside"))
        await shown.press("end", "enter")
        await shown.sees("now it runs")
        assert "Started" not in shown.text
        assert "web/beside" in shown.lines[0]
        await shown.press("p")
        await shown.sees("the run before", "it fails first", "the end of the run before")
        assert "now it runs" not in shown.text


async def test_a_pod_deleted_under_it_and_the_one_in_its_place(space: Space) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready(1))
    service = f"k8s/{space.name}/web"
    async with acting(space) as fleet:
        await until(fleet, service, serving(1))
        first = fleet.resolve(service).replicas[0].replica.name
        reader = Reader(following(fleet, service))
        await become(lambda: any("Started HTTPService" in line.text for line in reader.lines))
        space.delete("Pod", first, grace_s=0)

        def second_has_begun() -> bool:
            return any(line.replica != first and "Started HTTPService" in line.text for line in reader.lines)

        await become(second_has_begun, 90.0)
        await reader.stop()
    later = [line.text for line in reader.lines if line.replica != first]
    # From its first line on, which tritonserver writes of its pinned memory.
    assert "pinned_memory_manager" in later[0] or "CUDA" in later[0].upper(), later[:3]


async def test_one_that_has_not_started_tells_why(space: Space) -> None:
    container = {"image": "nowhere.invalid/tritonserver:1", "imagePullPolicy": "Never"}
    space.triton("web", kind="Pod", container=container)
    service = f"k8s/{space.name}/web"
    async with acting(space) as fleet:
        await until(fleet, service, lambda each: "ErrImageNeverPull" in str(each.service.platform))
        with pytest.raises(OperationFailed) as caught:
            await lines_of(fleet, service)
        assert "waiting to start" in caught.value.answer


async def test_the_right_that_lacks_is_named(space: Space) -> None:
    service = counter(space, most=3)
    await space.until("Pod", "web", lambda pod: bool(pod["status"].get("phase") == "Running"))
    reader = space.user([rule("get list watch", "pods")])
    async with acting(space, reader) as fleet:
        await until(fleet, service, lambda each: bool(each.replicas))
        for follow in (False, True):
            with pytest.raises(Forbidden) as caught:
                await lines_of(fleet, service, follow=follow)
            assert "get pods/log" in caught.value.advice


async def test_a_reader_that_is_slower_than_the_log_gets_every_line(space: Space) -> None:
    command = ["sh", "-c", "seq 1 60000; sleep 1000"]
    space.triton("web", kind="Pod", labels={"tritonctl.server": "true"}, command=command, probe=False)
    service = f"k8s/{space.name}/web"
    await space.until("Pod", "web", lambda pod: bool(pod["status"].get("phase") == "Running"))
    async with acting(space) as fleet:
        await until(fleet, service, lambda each: bool(each.replicas))
        texts: list[str] = []
        async with aclosing(following(fleet, service)) as reading:  # type: ignore[type-var]
            async with asyncio.timeout(60):
                async for batch in reading:
                    texts += [line.text for line in batch]
                    if len(texts) >= 60000:
                        break
                    await asyncio.sleep(0.02)
    assert texts == [str(number) for number in range(1, 60001)]
