"""Events of a workload, its ReplicaSets, its pods and its claims stand in one time line, with what the pods tell."""

from __future__ import annotations

import pytest

from backends.kubernetes.timeline import About, event_of, merged
from tests.kubernetes.acting import acting, do, make_plan, serving, until
from tests.kubernetes.space import BROKEN, Space, ready, rule
from tests.waiting import until as become
from tritonctl.backend import Capability, Event
from tritonctl.errors import Forbidden
from tritonctl.fleet import Fleet

WEB = About(frozenset({("Deployment", "web")}), (("Pod", "web-"),))


async def events(fleet: Fleet, service: str) -> tuple[Event, ...]:
    found = fleet.resolve(service).service
    return await fleet.backend_of(found).events(found)


async def test_from_the_workload_to_the_container_of_a_pod_that_is_gone(space: Space) -> None:
    space.triton("web")
    space.triton("other", replicas=0, models="models")
    await space.until("Deployment", "web", ready(1))
    service = f"k8s/{space.name}/web"
    async with acting(space) as fleet:
        status = await until(fleet, service, serving(1))
        first = status.replicas[0].replica.name
        outcome = await do(await make_plan(fleet, service, Capability.RESTART), space.folder)
        assert outcome.error is None, outcome.error
        await space.until_gone("Pod", first)
        found = await events(fleet, service)
        assert [event.at for event in found] == sorted(event.at for event in found)
        about = {(event.kind, event.text.partition("/")[0]) for event in found}
        assert {
            *(("ScalingReplicaSet", "deployment"), ("SuccessfulCreate", "replicaset"), ("Revision", "replicaset")),
            *(("Scheduled", "pod"), ("Killing", "pod"), ("Started", "pod"), ("Ready", "pod")),
        } <= about, about
        assert any(f"pod/{first}" in event.text for event in found)
        assert not any("other" in event.text for event in found)


async def test_ends_and_claims(space: Space) -> None:
    space.models({"one": BROKEN})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    space.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "cache"}, "spec": claim})
    space.triton("web", models="models")
    space.triton("waits", kind="Pod", models="models", pod={"volumes": with_claim(space)})
    async with acting(space) as fleet:
        service = f"k8s/{space.name}/web"

        async def ended_twice() -> bool:
            found = [event for event in await events(fleet, service) if event.kind in ("Ended", "BackOff")]
            return any("ended with 1" in each.text and each.warning for each in found) and any(
                "(×" in each.text for each in found
            )

        await until(fleet, service, lambda each: any((one.replica.restarts or 0) > 1 for one in each.replicas))
        await become(ended_twice, 90.0)

        async def claim_is_told() -> bool:
            found = await events(fleet, f"k8s/{space.name}/waits")
            return any(event.text.startswith("persistentvolumeclaim/cache: ") for event in found)

        await become(claim_is_told, 60.0)


def with_claim(space: Space) -> list[object]:
    return [*space.pod_spec(models="models")["volumes"], {"name": "c", "persistentVolumeClaim": {"claimName": "cache"}}]


async def test_the_right_that_lacks_is_named(space: Space) -> None:
    space.triton("web", kind="Pod")
    async with acting(space, space.user([rule("get list watch", "pods")])) as fleet:
        service = f"k8s/{space.name}/web"
        await until(fleet, service, lambda _: True)
        with pytest.raises(Forbidden) as caught:
            await events(fleet, service)
        assert "list events" in caught.value.advice


def test_a_series_counts_and_spans() -> None:
    raw = {
        "involvedObject": {"kind": "Pod", "name": "web-1", "fieldPath": "spec.containers{triton}"},
        "reason": "BackOff",
        "message": "Back-off restarting\n failed container",
        "type": "Warning",
        "count": 12,
        "firstTimestamp": "2026-11-21T04:00:00Z",
        "lastTimestamp": "2026-11-21T04:10:00Z",
    }
    found = event_of(raw, WEB)
    assert found is not None
    assert found.text == "pod/web-1 triton: Back-off restarting failed container (×12 in 10 min)"
    assert found.warning
    assert event_of({**raw, "involvedObject": {"kind": "Pod", "name": "website"}}, WEB) is None
    newer = {
        "involvedObject": {"kind": "Pod", "name": "web-1"},
        "eventTime": "2026-11-21T04:00:00.123456Z",
        "series": {"count": 3, "lastObservedTime": "2026-11-21T04:00:30.123456Z"},
        "note": "",
    }
    again = event_of(newer, WEB)
    assert again is not None
    assert "(×3 in 30 s)" in again.text
    assert event_of({"involvedObject": {"kind": "Pod", "name": "web-1"}}, WEB) is None


def test_what_both_tell_is_told_once() -> None:
    event = Event(100.0, "Started", "pod/web-1 triton: Started container triton")
    state = Event(100.7, "Started", "pod/web-1 triton: runs")
    earlier = Event(50.0, "Started", "pod/web-1 triton: ran")
    assert merged([event], [state, earlier]) == (earlier, event)
