"""What was wrong a moment ago, is tried again, or only takes its time: no headline on the way, on a real cluster."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.kubernetes.clinic import Clinic, fleet_of, headline
from tests.kubernetes.cluster import Object
from tests.kubernetes.space import SLOW, Space, ready
from tritonctl.server.client import ServerClient
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.stages import Stage, StageState

LOADS = SLOW.format(seconds=8)


def nothing(diagnosis: Diagnosis) -> bool:
    return diagnosis.findings == ()


def runs(pod: Object) -> bool:
    return any("running" in each.get("state", {}) for each in pod["status"].get("containerStatuses", ()))


def restarted(pod: Object) -> bool:
    return runs(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 1


def rung(diagnosis: Diagnosis, stage: Stage) -> StageState:
    return next(each.state for each in diagnosis.stages if each.stage is stage)


async def test_a_second_replica_that_loads_slowly(space: Space) -> None:
    space.triton("web", models=space.models({"slow": LOADS}))
    await space.until("Deployment", "web", ready())
    async with fleet_of(space) as fleet:
        clinic = Clinic(space, fleet)
        await clinic.until("web", lambda each: each.healthy, nothing)
        space.patch("Deployment", "web", {"spec": {"replicas": 2}})
        await clinic.until("web", lambda each: each.healthy and len(each.evidence.replicas) == 2, nothing)


async def test_a_container_that_ended_once_and_loads_again(space: Space) -> None:
    """Killed from outside; its own log before says nothing of it, and the next run takes its time."""
    spec: dict[str, Any] = space.pod_spec(shell=True, models=space.models({"slow": LOADS}))
    triton = spec["containers"][0]
    # The first run says what would be a cause, and ends; it did so an hour ago as well as a minute ago.
    broken = 'echo "error: creating server: Internal - failed to stat file /nowhere" >&2; exit 1'
    triton["command"][2] = f"test -f /scratch/seen || {{ touch /scratch/seen; {broken}; }}; {triton['command'][2]}"
    triton["volumeMounts"].append({"name": "scratch", "mountPath": "/scratch"})
    spec["volumes"].append({"name": "scratch", "emptyDir": {}})
    space.triton("web", pod=spec)
    async with fleet_of(space) as fleet:
        clinic = Clinic(space, fleet)
        await space.until_pod("web", restarted)
        await asyncio.sleep(1.0)  # for the watch
        await clinic.until("web", lambda each: each.healthy, nothing)


async def test_a_model_loaded_by_hand_while_its_readiness_probe_looks_on(space: Space) -> None:
    models = space.models({"slow": LOADS, "slower": LOADS})
    space.triton("web", "--model-control-mode=explicit", "--load-model=slow", models=models)
    await space.until("Deployment", "web", ready())
    async with fleet_of(space) as fleet:
        clinic = Clinic(space, fleet)
        diagnosis = await clinic.until("web", lambda each: each.healthy, nothing)
        address = diagnosis.evidence.replicas[0].replica.address
        assert address is not None
        async with ServerClient(address, timeout_s=60.0) as client:
            load = asyncio.create_task(client.load("slower"))
            seen = []
            while not load.done():
                diagnosis = await clinic.diagnose("web")
                seen.append([(each.id, each.evidence) for each in diagnosis.findings])
            await load
        assert [each for each in seen if each] == []
        assert len(seen) > 2
        events = [piece.text for piece in diagnosis.evidence.pieces]
        assert any("statuscode: 400" in text for text in events), "the probe has seen it"
        await clinic.until("web", lambda each: each.healthy, nothing)


async def test_a_config_map_that_comes_late(space: Space) -> None:
    spec = space.pod_spec(models=space.models({"slow": LOADS}))
    spec["volumes"].append({"name": "more", "configMap": {"name": "late"}})
    spec["containers"][0]["volumeMounts"].append({"name": "more", "mountPath": "/more"})
    space.triton("web", pod=spec)
    async with fleet_of(space) as fleet:
        clinic = Clinic(space, fleet)
        diagnosis = await clinic.until("web", lambda each: headline(each) == "mount-failed", deadline_s=60)
        assert rung(diagnosis, Stage.SCHEDULED) is StageState.DONE
        space.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {}})
        await space.until_pod("web", runs, 120)
        await asyncio.sleep(1.0)
        await clinic.until("web", lambda each: each.healthy, nothing)


async def test_a_quota_that_was_raised(space: Space) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "pods"}}
    space.apply({**quota, "spec": {"hard": {"pods": "0"}}})
    space.triton("web", models=space.models({"slow": LOADS}))
    async with fleet_of(space) as fleet:
        clinic = Clinic(space, fleet)
        await clinic.until("web", lambda each: headline(each) == "quota")
        space.patch("ResourceQuota", "pods", {"spec": {"hard": {"pods": "9"}}})
        await space.until_pod("web", runs, 90)
        await asyncio.sleep(1.0)
        await clinic.until("web", lambda each: each.healthy, nothing)


async def test_an_init_container_that_succeeds_at_its_second_try(space: Space) -> None:
    spec = space.pod_spec(models=space.models({"slow": LOADS}))
    script = "test -f /scratch/seen || { touch /scratch/seen; echo 'no route to the store' >&2; exit 1; }"
    image = spec["containers"][0]["image"]
    first = {"name": "fetch", "image": image, "command": ["sh", "-c", script], "imagePullPolicy": "IfNotPresent"}
    spec["initContainers"] = [{**first, "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}]
    spec["volumes"].append({"name": "scratch", "emptyDir": {}})
    space.triton("web", pod=spec)
    async with fleet_of(space) as fleet:
        clinic = Clinic(space, fleet)
        await space.until_pod("web", runs)
        await asyncio.sleep(1.0)
        await clinic.until("web", lambda each: each.healthy, nothing)


def _said_by_the_autoscaler(space: Space, pod: str, reason: str, text: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    space.apply(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{pod}.{reason.lower()}"},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": space.name},
            "reason": reason,
            "message": text,
            "type": "Normal",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": "cluster-autoscaler"},
        }
    )


async def test_a_pod_for_which_a_node_is_being_added(space: Space) -> None:
    """The autoscaler's words as it writes them; there is none on this cluster."""
    space.triton("web", gpus=64)
    async with fleet_of(space) as fleet:
        clinic = Clinic(space, fleet)
        await clinic.until("web", lambda each: headline(each) == "no-gpu-free")
        pod = space.pods("web")[0]["metadata"]["name"]
        words = "pod triggered scale-up: [{aks-gpu-vmss 0->1 (max: 3)}]"
        await asyncio.sleep(1.1)  # Kubernetes' times are whole seconds
        _said_by_the_autoscaler(space, pod, "TriggeredScaleUp", words)
        diagnosis = await clinic.until("web", nothing)
        assert rung(diagnosis, Stage.SCHEDULED) is StageState.UNDER_WAY
        await asyncio.sleep(1.1)
        words = "pod didn't trigger scale-up: 1 max node group size reached"
        _said_by_the_autoscaler(space, pod, "NotTriggerScaleUp", words)
        await clinic.until("web", lambda each: headline(each) == "no-gpu-free")


async def test_what_was_passed_is_done_in_the_ladder_of_one_that_ends_without_a_word(space: Space) -> None:
    spec = space.pod_spec(shell=True)
    spec["containers"][0]["command"][2] = f"test -f /nowhere && {spec['containers'][0]['command'][2]}; exit 7"
    space.triton("web", pod=spec)
    async with fleet_of(space) as fleet:
        diagnosis = await Clinic(space, fleet).until(
            "web", lambda each: any(one.replica.restarts for one in each.evidence.replicas) and not nothing(each)
        )
    for stage in (Stage.ACCEPTED, Stage.SCHEDULED, Stage.IMAGE, Stage.MOUNTS):
        assert rung(diagnosis, stage) is StageState.DONE
