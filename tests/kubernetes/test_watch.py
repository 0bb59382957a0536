"""Everything that happens in a cluster is shown at once, once, and after every kind of interruption."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.kubernetes.client.kinds import PODS
from tests.answering import free_port
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.gate import gate_to
from tests.kubernetes.space import BROKEN, Space, condition, ready
from tests.kubernetes.watching import Watched, platform, until, until_snapshot, watched
from tests.waiting import until as become
from tritonctl.fleet import Fleet
from tritonctl.inventory import BackendState, ControlMode, Level
from tritonctl.settings_backends import KubernetesSettings

# Its image says that it is Triton; nothing of it can fail.
IDLE: dict[str, Any] = {"container": {"command": ["sleep", "300"], "args": []}, "probe": False}


# Literally of the API server of 1.20.
TOO_OLD: dict[str, Any] = {
    "type": "ERROR",
    "object": {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "too old resource version: 1 (2)",
        "reason": "Expired",
        "code": 410,
    },
}


def _first_since(space: Space, version: str) -> dict[str, Any]:
    """The first event of a watch of all pods from there."""
    query = {"watch": "1", "resourceVersion": version, "timeoutSeconds": "5"}
    with space.cluster.client.stream("GET", "/api/v1/pods", params=query) as answer:
        found = json.loads(next(answer.iter_lines()))
    assert isinstance(found, dict)
    return found


def key(space: Space, name: str = "web") -> str:
    return f"k8s/{space.name}/{name}"


async def test_a_deployments_life_is_seen(space: Space) -> None:
    async with watched(space.settings(), probing=True) as seen:
        assert seen.fleet.snapshot.services == ()
        space.triton("web", "--model-control-mode=explicit", "--load-model=one", replicas=2)
        status = await until(seen.fleet, key(space), platform("2/2"))
        assert (status.service.kind, status.level) == ("deployment", Level.OK)
        status = await until(seen.fleet, key(space), lambda each: each.ready is True and each.counts.ready == 1)
        assert status.control_mode is ControlMode.EXPLICIT
        first = status.service.replicas[0]
        assert (first.node, first.restarts, first.last_exit, first.gpus) == (space.cluster.node, 0, None, 0)
        assert first.started_at is not None
        assert abs(first.started_at - time.time()) < 120
        space.delete("Pod", first.name, grace_s=0)
        await until(seen.fleet, key(space), lambda each: first.name not in [one.replica.name for one in each.replicas])
        await until(seen.fleet, key(space), platform("2/2"))
        space.patch("Deployment", "web", {"spec": {"replicas": 0}})
        status = await until(seen.fleet, key(space), platform("scaled to 0"))
        assert status.level is Level.OFF
        space.delete("Deployment", "web")
        await until_snapshot(seen.fleet, lambda snapshot: key(space) not in snapshot.by_id)


async def test_every_kind_of_workload_is_one_service_with_its_pods(space: Space) -> None:
    for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"):
        space.triton(kind.lower(), kind=kind, shell=kind == "Job")  # type: ignore[arg-type]
    async with watched(space.settings()) as seen:
        for kind in ("deployment", "statefulset", "daemonset", "job", "pod"):
            status = await until(seen.fleet, key(space, kind), lambda each: each.service.platform.level is Level.OK)
            assert status.service.kind == kind
            assert len(status.replicas) == 1
            assert status.replicas[0].replica.address is not None
            assert status.replicas[0].replica.control_mode is ControlMode.NONE
        assert len(seen.fleet.snapshot.services) == 5


@pytest.mark.alone
async def test_a_kill_is_on_screen_at_once(space: Space) -> None:
    space.triton("web", replicas=2, **IDLE)
    async with watched(space.settings()) as seen:
        await until(seen.fleet, key(space), platform("2/2"))
        took = []
        for _ in range(5):
            status = await until(seen.fleet, key(space), platform("2/2"))
            victim = status.replicas[0].replica.name
            began = time.monotonic()
            deleting = asyncio.create_task(asyncio.to_thread(space.delete, "Pod", victim, grace_s=0))
            await until(seen.fleet, key(space), lambda each: victim not in [one.replica.name for one in each.replicas])  # noqa: B023
            took.append(time.monotonic() - began)
            await deleting
        # From before the request to the API server, whose own time is in it, to the snapshot.
        print("pod deleted → snapshot, s:", sorted(took))
        assert sorted(took)[2] < 1.5


async def test_failures_are_told_in_the_platforms_words(space: Space) -> None:
    space.models({"bad": BROKEN}, name="bad")
    space.triton("crash", models="bad", kind="StatefulSet")
    space.triton("pull", container={"image": "registry.invalid/tritonserver:1", "imagePullPolicy": "Always"})
    space.triton("gpu", gpus=3)
    space.triton("hungry", command=("sh", "-c", "tritonserver --help > /dev/null; exec tail /dev/zero"), probe=False,
                 container={"resources": {"limits": {"memory": "40Mi"}}})  # fmt: skip
    async with watched(space.settings()) as seen:
        status = await until(seen.fleet, key(space, "gpu"), lambda each: "Insufficient nvidia.com/gpu" in each.note)
        assert (status.service.platform.state, status.level) == ("0/1 pending", Level.FAILED)
        status = await until(seen.fleet, key(space, "crash"), platform("0/1 CrashLoopBackOff"), 90)
        status = await until(seen.fleet, key(space, "crash"), lambda each: "torchaudio" in each.note)
        assert status.note.startswith("triton: bad: ")
        assert "(exit 1)" in status.note
        assert "torchaudio" in (status.replicas[0].replica.last_exit or "")
        assert (status.replicas[0].replica.restarts or 0) > 0
        status = await until(seen.fleet, key(space, "pull"), platform("0/1 ImagePullBackOff"), 90)
        assert status.level is Level.FAILED
        status = await until(
            seen.fleet, key(space, "hungry"), lambda each: "OOMKilled" in (each.replicas[0].replica.last_exit or ""), 90
        )
        assert status.replicas[0].replica.last_exit == "OOMKilled exit 137"


async def test_a_rollout_is_seen_on_its_way(space: Space) -> None:
    space.triton("web", replicas=2)
    await space.until("Deployment", "web", ready(2))
    async with watched(space.settings()) as seen:
        states: list[str] = []

        async def note() -> None:
            snapshot = seen.fleet.snapshot
            while True:
                states.append(snapshot.by_id[key(space)].service.platform.state)
                snapshot = await seen.fleet.changed(snapshot)

        noting = asyncio.create_task(note())
        space.patch("Deployment", "web", {"spec": {"template": {"metadata": {"annotations": {"new": "1"}}}}})
        await until(seen.fleet, key(space), lambda each: each.service.platform.state.endswith(" rolling"))
        await until(seen.fleet, key(space), platform("2/2"))
        noting.cancel()
        assert "2/2 rolling" in states


def _names(seen: Watched) -> set[str]:
    return {each.id.rpartition("/")[2] for each in seen.fleet.snapshot.services}


def _pod(space: Space, name: str) -> None:
    space.triton(name, kind="Pod", **IDLE)


async def test_a_watch_that_is_cut_goes_on_from_where_it_was(space: Space) -> None:
    async with gate_to(space) as gate:
        _pod(space, "a")
        async with watched(space.settings(gate.kubeconfig)) as seen:
            assert _names(seen) == {"a"}
            for name in ("b", "c"):
                assert gate.cut("/pods$") == 1
                _pod(space, name)
                await until(seen.fleet, key(space, name), lambda _: True)
            space.delete("Pod", "a", grace_s=0)
            gate.cut()
            await until_snapshot(seen.fleet, lambda _: _names(seen) == {"b", "c"})
            assert seen.fleet.snapshot.backends[0].state is BackendState.CONNECTED
            watches = [each for each in gate.asked("GET", "/pods$") if each.watch]
            assert len(watches) >= 4
            assert all(each.query["allowWatchBookmarks"] == "true" for each in watches)
            lists = [each for each in gate.asked("GET", "/pods$") if not each.watch]
            assert len(lists) == 1, "it was listed again"


async def test_a_version_that_is_forgotten_is_listed_anew_without_a_gap(space: Space) -> None:
    async with gate_to(space) as gate:
        for name in ("a", "b"):
            _pod(space, name)
        async with watched(space.settings(gate.kubeconfig)) as seen:
            changes: list[set[str]] = []
            assert _names(seen) == {"a", "b"}
            pods = next(each for each in seen.watch.reflectors if each.kind is PODS)
            gate.answer("GET", "/pods$", 410, "Expired", "too old resource version: 1 (2)", times=1)
            space.delete("Pod", "a", grace_s=0)
            gate.cut("/pods$")
            _pod(space, "c")
            before = seen.fleet.snapshot
            while changes[-1:] != [{"b", "c"}]:
                before = await asyncio.wait_for(seen.fleet.changed(before), 30)
                changes.append(_names(seen))
            assert all("b" in each for each in changes), changes  # what stayed was never gone
            assert pods.lists == 2


async def test_an_event_of_an_error_in_the_stream_is_survived(space: Space) -> None:
    """The API server of 1.20 says it so, with HTTP 200, where a version is older than its cache.

    One that was started with an empty etcd, and since then was told of few pods, still has every event since version 1
    in its cache: then its words come from the gate.
    """
    async with gate_to(space) as gate:
        _pod(space, "a")
        told = _first_since(space, "1")
        async with watched(space.settings(gate.kubeconfig)) as seen:
            pods = next(each for each in seen.watch.reflectors if each.kind is PODS)
            pods._version = "1"
            if told["type"] != "ERROR":
                gate.tell("/pods$", TOO_OLD, times=1)
            else:
                assert told["object"]["code"] == TOO_OLD["object"]["code"]
            gate.cut("/pods$")
            _pod(space, "b")
            await until(seen.fleet, key(space, "b"), lambda _: True)
            await become(lambda: pods.lists == 2)
            assert seen.fleet.snapshot.backends[0].state is BackendState.CONNECTED


async def test_an_api_server_that_is_away_is_told_and_found_again(space: Space) -> None:
    async with gate_to(space) as gate:
        _pod(space, "a")
        async with watched(space.settings(gate.kubeconfig)) as seen:
            gate.shut()
            await until_snapshot(seen.fleet, lambda now: now.backends[0].state is BackendState.LOST)
            assert _names(seen) == {"a"}  # the last that was known stays
            _pod(space, "b")
            space.delete("Pod", "a", grace_s=0)
            await asyncio.sleep(1.0)
            gate.open()
            await until_snapshot(seen.fleet, lambda now: now.backends[0].state is BackendState.CONNECTED, 60)
            await until_snapshot(seen.fleet, lambda _: _names(seen) == {"b"})
            lists = [each for each in gate.asked("GET", "/pods$") if not each.watch]
            assert len(lists) == 1, "it was listed again"


async def test_a_network_that_swallows_everything_is_noticed(space: Space, monkeypatch: Any) -> None:
    monkeypatch.setattr("backends.kubernetes.watch._PING_S", 0.5)
    monkeypatch.setattr("backends.kubernetes.watch._PING_DEADLINE_S", 0.5)
    async with gate_to(space) as gate:
        _pod(space, "a")
        async with watched(space.settings(gate.kubeconfig)) as seen:
            gate.hold()
            await until_snapshot(seen.fleet, lambda now: now.backends[0].state is BackendState.LOST)
            assert "no answer" in seen.status
            _pod(space, "b")
            gate.open()
            await until(seen.fleet, key(space, "b"), lambda _: True, 60)


async def test_nothing_is_asked_while_nothing_happens(space: Space) -> None:
    async with gate_to(space) as gate:
        _pod(space, "a")
        await space.until("Pod", "a", condition("Ready"))
        async with watched(space.settings(gate.kubeconfig)) as seen:
            await until(seen.fleet, key(space, "a"), platform("Running"))
            await asyncio.sleep(1.0)  # what the first frame brings along, the rights, is asked for
            gate.seen.clear()
            await asyncio.sleep(4.0)
            assert [f"{each.method} {each.path}" for each in gate.seen if each.path != "/version"] == []
            scopes = [each for each in gate._writers.values() if each is not None and each.watch]
            assert len({each.path for each in scopes}) == len(scopes), "two watches of one kind"


async def test_a_context_that_leads_nowhere_delays_no_other(space: Space) -> None:
    nowhere = space.write_kubeconfig("nowhere", {}, server=f"https://127.0.0.1:{free_port()}")
    async with gate_to(space) as silent:
        silent.hold()
        files = {"good": None, "nowhere": nowhere, "silent": silent.kubeconfig, "absent": Path("/nowhere/config")}
        settings = [replace(space.settings(file), name=name) for name, file in files.items()]
        _pod(space, "a")
        from backends.kubernetes.backend import KubernetesBackend

        async with Fleet([KubernetesBackend(each) for each in settings], probing=False) as fleet:
            began = time.monotonic()
            await until(fleet, f"good/{space.name}/a", lambda _: True)
            assert time.monotonic() - began < 5
            states = {each.name: each for each in fleet.snapshot.backends}
            assert states["good"].state is BackendState.CONNECTED
            await until_snapshot(fleet, lambda now: all(e.state is not BackendState.CONNECTING for e in now.backends))
            states = {each.name: each for each in fleet.snapshot.backends}
            assert "nothing listens on nowhere" in states["nowhere"].detail
            assert "no answer" in states["silent"].detail
            assert "/nowhere/config does not exist" in states["absent"].detail


async def test_a_kubeconfig_that_leads_elsewhere_now_is_followed(space: Space, cluster: Cluster) -> None:
    file = space.write_kubeconfig("moving", {}, server=f"https://127.0.0.1:{free_port()}")
    _pod(space, "a")
    settings = KubernetesSettings(name="k8s", where="test", kubeconfig=file, namespaces=(space.name,))
    async with watched(settings) as seen:
        assert seen.fleet.snapshot.backends[0].state is BackendState.LOST
        file.write_text(cluster.kubeconfig.read_text())
        await until(seen.fleet, key(space, "a"), lambda _: True, 60)
