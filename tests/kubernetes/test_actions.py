"""Restart, scale and delete as plans: the exact calls, what they cost, what goes along, and what holds them up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.kubernetes.acting import GRACEFUL, PATIENT, acting, do, make_plan, serving, traffic, until
from tests.kubernetes.gate import gate_to
from tests.kubernetes.space import Space, ready
from tritonctl.backend import Capability, Intent
from tritonctl.errors import AlreadySo, OperationFailed, UsageError
from tritonctl.fleet import Fleet
from tritonctl.plan import Plan


def service(space: Space, name: str = "web") -> str:
    return f"k8s/{space.name}/{name}"


def pod_names(space: Space) -> set[str]:
    return {pod["metadata"]["name"] for pod in space.pods("web") if "deletionTimestamp" not in pod["metadata"]}


async def plan_with(fleet: Fleet, service_id: str, action: Capability, value: str, loaded: tuple[str, ...]) -> Plan:
    found = fleet.resolve(service_id).service
    return await fleet.backend_of(found).plan(Intent(action, found, value, loaded))


async def test_a_restart_replaces_every_pod_and_loses_no_request(space: Space) -> None:
    space.triton(
        "web", "--model-control-mode=explicit", "--load-model=one", replicas=2, container=GRACEFUL, pod=PATIENT
    )
    space.service("web")
    await space.until("Deployment", "web", ready(2))
    before = pod_names(space)
    async with acting(space) as fleet, traffic(space, "web") as sent:
        await until(fleet, service(space), serving(2))
        plan = await plan_with(fleet, service(space), Capability.RESTART, "", ("one", "two"))
        assert plan.steps[0].call.endswith(f"-n {space.name} rollout restart deployment/web")
        # What was loaded by hand is not there afterwards, and what would cure that.
        assert any("two" in each and "--load-model=two" in each for each in plan.warnings), plan.warnings
        outcome = await do(plan, space.folder)
        assert outcome.error is None, outcome.error
        assert not before & pod_names(space)
        assert not sent.errors, sent.errors
        assert not sent.without


async def test_scaling_and_its_way_back(space: Space) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready(1))
    async with acting(space) as fleet:
        await until(fleet, service(space), serving(1))
        plan = await make_plan(fleet, service(space), Capability.SCALE, "2")
        assert plan.steps[0].call.endswith("scale deployment/web --replicas=2")
        assert plan.undo.endswith("scale deployment/web --replicas=1")
        assert not plan.typed
        outcome = await do(plan, space.folder)
        assert outcome.error is None, outcome.error
        await until(fleet, service(space), serving(2))
        off = await make_plan(fleet, service(space), Capability.SCALE, "0")
        assert off.typed == f"{space.name}/web"
        outcome = await do(off, space.folder)
        assert outcome.error is None, outcome.error
        await space.until("Deployment", "web", lambda found: not found["status"].get("replicas"))
        with pytest.raises(AlreadySo, match="set to 0 already"):
            await make_plan(fleet, service(space), Capability.SCALE, "0")
        with pytest.raises(UsageError, match="whole number"):
            await make_plan(fleet, service(space), Capability.SCALE, "many")


async def test_a_rollout_that_a_partition_holds_is_not_waited_for(space: Space) -> None:
    held = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}
    space.triton("web", kind="StatefulSet", replicas=2, spec=held)
    await space.until("StatefulSet", "web", ready(2))
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in space.pods("web")}
    async with acting(space) as fleet:
        await until(fleet, service(space), serving(2))
        plan = await make_plan(fleet, service(space), Capability.RESTART)
        assert "its partition keeps 1 of its 2 pods as they are" in plan.warnings
        outcome = await do(plan, space.folder)
        assert outcome.error is None, outcome.error
        after = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in space.pods("web")}
        assert after["web-0"] == before["web-0"]
        assert after["web-1"] != before["web-1"]
        outcome = await do(await make_plan(fleet, service(space), Capability.SCALE, "1"), space.folder)
        assert outcome.error is None, outcome.error
        found = space.get("StatefulSet", "web")
        assert found is not None
        assert found["status"]["currentRevision"] != found["status"]["updateRevision"]
        with pytest.raises(OperationFailed, match="its partition 1 keeps every pod as it is"):
            await make_plan(fleet, service(space), Capability.RESTART)


async def test_a_rollout_that_is_paused_is_not_waited_for_by_a_scale(space: Space) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready(1))
    template = {"metadata": {"annotations": {"example.com/changed": "yes"}}}
    space.patch("Deployment", "web", {"spec": {"paused": True, "template": template}})
    async with acting(space) as fleet:
        await until(fleet, service(space), serving(1))
        outcome = await do(await make_plan(fleet, service(space), Capability.SCALE, "2"), space.folder)
        assert outcome.error is None, outcome.error
        await until(fleet, service(space), serving(2))


async def test_more_replicas_than_the_gpus_allow_are_told_and_undone(space: Space) -> None:
    # A resource of its own: other tests grant and take the node's whole GPUs meanwhile.
    slice_ = "nvidia.com/mig-3g.40gb"
    with space.cluster.gpus(2, slice_):
        space.triton("web", container={"resources": {"limits": {slice_: "1"}}})
        await space.until("Deployment", "web", ready(1))
        async with acting(space, ready_s=8.0) as fleet:
            await until(fleet, service(space), serving(1))
            assert not [
                each
                for each in (await make_plan(fleet, service(space), Capability.SCALE, "2")).warnings
                if "Pending" in each
            ]
            plan = await make_plan(fleet, service(space), Capability.SCALE, "4")
            assert any("allow 1 more pods of 3" in each and slice_ in each for each in plan.warnings)
            outcome = await do(plan, space.folder)
            assert outcome.error is not None
            assert f"Insufficient {slice_}" in outcome.error.answer, outcome.error
            found = space.get("Deployment", "web")
            assert found is not None
            assert found["spec"]["replicas"] == 1
        async with acting(space) as fleet:
            await until(fleet, service(space), serving(1))
            # No GPU for a pod more: a mode switch would not get ready beside the old pod.
            outcome = await do(await make_plan(fleet, service(space), Capability.SCALE, "2"), space.folder)
            assert outcome.error is None, outcome.error
            mode = await make_plan(fleet, service(space), Capability.MODE, "poll")
            assert any(f"no node has {slice_} free" in each for each in mode.warnings), mode.warnings
        space.delete("Deployment", "web", grace_s=0)
        await space.until_gone("Deployment", "web")


async def test_an_autoscaler_that_will_change_it_again_is_named(space: Space) -> None:
    space.triton("web")
    space.apply(autoscaler())
    await space.until("Deployment", "web", ready(1))
    async with acting(space) as fleet:
        await until(fleet, service(space), serving(1))
        plan = await make_plan(fleet, service(space), Capability.SCALE, "3")
        assert any("hpa/web sets the number itself, between 1 and 2" in each for each in plan.warnings), plan.warnings


def autoscaler() -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 2,
        },
    }


def everything(space: Space) -> None:
    """What can belong to a workload, and a second one that shares some of it."""
    space.triton("web")
    space.triton("other", replicas=0, models="models")
    space.models(name="own")
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    space.service("web")
    space.service("unrelated", {"app": "nobody"})
    space.apply(
        autoscaler(),
        {
            "apiVersion": "policy/v1beta1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "front"},
            "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 8000}}}},
        },
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "cache"}, "spec": claim},
    )


async def test_what_belongs_to_it_is_chosen_or_kept(space: Space) -> None:
    everything(space)
    await space.until("Deployment", "web", ready(1))
    async with acting(space) as fleet:
        await until(fleet, service(space), serving(1))
        plan = await make_plan(fleet, service(space), Capability.DELETE)
        choices = {each.id: each for each in plan.choices}
        assert set(choices) == {"svc/web", "hpa/web", "pdb/web", "ing/front", "cm/models"}
        assert not any(each.chosen for each in plan.choices)
        assert "deployment/other uses it too" in choices["cm/models"].why
        assert "ing/front leads to it" in choices["svc/web"].why
        assert any("stays: " in each and "svc/web" in each for each in plan.warnings)
        assert plan.typed == f"{space.name}/web"
        with pytest.raises(UsageError, match="nothing named svc/unrelated"):
            await make_plan(fleet, service(space), Capability.DELETE, options=("svc/unrelated",))
        plan = await make_plan(
            fleet, service(space), Capability.DELETE, options=("svc/web", "hpa/web", "pdb/web", "ing/front")
        )
        calls = "\n".join(step.call for step in plan.steps)
        for words in ("ingress/front", "deployment/web --cascade=foreground", "service/web", "poddisruptionbudget/web"):
            assert f"delete {words}" in calls, calls
        outcome = await do(plan, space.folder)
        assert outcome.error is None, outcome.error
        for kind, name in (
            *(("Deployment", "web"), ("Service", "web"), ("HorizontalPodAutoscaler", "web")),
            *(("PodDisruptionBudget", "web"), ("Ingress", "front")),
        ):
            assert space.get(kind, name) is None, kind
        assert not pod_names(space)
        for kind, name in (("Deployment", "other"), ("ConfigMap", "models"), ("Service", "unrelated")):
            assert space.get(kind, name) is not None, kind


async def test_claims_of_a_stateful_set_and_what_is_in_them(space: Space) -> None:
    template = {
        "metadata": {"name": "cache"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    space.triton("web", kind="StatefulSet", spec={"volumeClaimTemplates": [template]})
    async with acting(space) as fleet:
        await until(fleet, service(space), lambda _: space.get("PersistentVolumeClaim", "cache-web-0") is not None)
        plan = await make_plan(fleet, service(space), Capability.DELETE)
        (claim,) = [each for each in plan.choices if each.id.startswith("pvc/")]
        assert claim.id == "pvc/cache-web-0"
        assert "no volume is bound to it" in claim.why
        outcome = await do(
            await make_plan(fleet, service(space), Capability.DELETE, options=("pvc/cache-web-0",)), space.folder
        )
        assert outcome.error is None, outcome.error
    await space.until_gone("PersistentVolumeClaim", "cache-web-0")


async def test_a_finalizer_that_hangs_is_named(space: Space) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready(1))
    space.patch("Deployment", "web", {"metadata": {"finalizers": ["example.com/never"]}})
    try:
        async with acting(space, ready_s=4.0) as fleet:
            await until(fleet, service(space), serving(1))
            plan = await make_plan(fleet, service(space), Capability.DELETE)
            assert any("example.com/never keeps it there" in each for each in plan.warnings), plan.warnings
            outcome = await do(plan, space.folder)
            assert outcome.error is not None
            assert "the finalizer example.com/never holds it" in outcome.error.answer
    finally:
        space.patch("Deployment", "web", {"metadata": {"finalizers": None}})


async def test_one_of_its_name_that_was_made_anew_is_not_deleted(space: Space) -> None:
    space.triton("web", replicas=0)
    async with acting(space) as fleet:
        await until(fleet, service(space), lambda _: True)
        plan = await make_plan(fleet, service(space), Capability.DELETE)
        space.delete("Deployment", "web")
        await space.until_gone("Deployment", "web")
        space.triton("web", replicas=0, models="models")
        outcome = await do(plan, space.folder)
        assert outcome.error is not None
    assert space.get("Deployment", "web") is not None


async def test_a_conflict_is_read_again_and_a_busy_api_server_waited_for(space: Space) -> None:
    """409 as somebody else writes between the reading and the patch; it is told when that does not end."""
    from backends.kubernetes.changes.change import change
    from backends.kubernetes.changes.kubectl import Target
    from backends.kubernetes.client.api import Api
    from backends.kubernetes.client.kubeconfig import find_access
    from backends.kubernetes.workload import DEPLOYMENTS

    space.triton("web", replicas=0)
    api = Api(find_access(space.cluster.kubeconfig, None, {}, space.folder))
    target = Target(DEPLOYMENTS, space.name, "web")

    def interfering(times: int) -> Any:
        left = times

        def make(_: object) -> dict[str, Any]:
            nonlocal left
            if left:
                left -= 1
                space.patch("Deployment", "web", {"metadata": {"annotations": {"somebody": f"{left}"}}})
            return {"metadata": {"annotations": {"mine": "yes"}}}

        return make

    try:
        found = await change(api, target, interfering(1))
        assert found["metadata"]["annotations"]["mine"] == "yes"
        with pytest.raises(OperationFailed) as caught:
            await change(api, target, interfering(100))
        assert caught.value.status == 409
    finally:
        await api.aclose()


async def test_helm_is_warned_of(space: Space) -> None:
    space.triton(
        "web",
        replicas=0,
        labels={"app.kubernetes.io/managed-by": "Helm"},
        annotations={"meta.helm.sh/release-name": "tr", "meta.helm.sh/release-namespace": "serving"},
    )
    async with acting(space) as fleet:
        await until(fleet, service(space), lambda _: True)
        for action, value in (
            (Capability.MODE, "poll"),
            (Capability.RESTART, ""),
            (Capability.SCALE, "1"),
            (Capability.DELETE, ""),
        ):
            plan = await make_plan(fleet, service(space), action, value)
            assert plan.warnings[0].startswith("Helm's release tr made it: "), plan.warnings
            assert "helm -n serving upgrade tr" in plan.warnings[0]


async def test_two_changes_at_once_leave_one_of_them(space: Space) -> None:
    space.triton("web", replicas=0)
    async with acting(space) as fleet:
        await until(fleet, service(space), lambda _: True)
        first = await make_plan(fleet, service(space), Capability.MODE, "poll")
        second = await make_plan(fleet, service(space), Capability.MODE, "explicit")
        both = [replace(each, steps=each.steps[:1]) for each in (first, second)]
        outcomes = await asyncio.gather(*(do(each, space.folder) for each in both))
        errors = [each.error for each in outcomes if each.error is not None]
        assert len(errors) == 1
        assert "changed by somebody else" in errors[0].answer


async def test_a_pod_that_stands_alone_is_deleted_and_nothing_else(space: Space) -> None:
    space.triton("web", kind="Pod")
    async with acting(space) as fleet:
        await until(fleet, service(space), serving(1))
        for action in (Capability.MODE, Capability.RESTART, Capability.SCALE):
            with pytest.raises(OperationFailed) as caught:
                await make_plan(fleet, service(space), action, "2" if action is Capability.SCALE else "poll")
            assert caught.value.advice
        outcome = await do(await make_plan(fleet, service(space), Capability.DELETE), space.folder)
        assert outcome.error is None, outcome.error
    assert space.get("Pod", "web") is None


async def test_a_busy_api_server_is_waited_for_as_long_as_it_asks(space: Space) -> None:
    space.triton("web", replicas=0)
    async with gate_to(space) as gate, acting(space, gate.kubeconfig) as fleet:
        await until(fleet, service(space), lambda _: True)
        plan = await make_plan(fleet, service(space), Capability.MODE, "poll")
        only = replace(plan, steps=plan.steps[:1])
        gate.answer("PATCH", "/deployments/web$", 429, "TooManyRequests", headers={"Retry-After": "2"}, times=1)
        gate.answer("PATCH", "/deployments/web$", 409, "Conflict", "the object has been modified", times=1)
        outcome = await do(only, space.folder)
        assert outcome.error is None, outcome.error
        asked = gate.asked("PATCH", "/deployments/web$")
        assert len(asked) == 3
        assert asked[1].at - asked[0].at >= 1.9
        # One that would have it wait for longer than a change may take is told.
        gate.answer("PATCH", "/deployments/web$", 429, "TooManyRequests", headers={"Retry-After": "3600"})
        outcome = await do(await make_plan(fleet, service(space), Capability.RESTART), space.folder)
        assert outcome.error is not None
        assert "too busy" in outcome.error.answer


async def test_workloads_that_cannot_keep_every_pod_are_told_of(space: Space) -> None:
    space.triton("web", spec={"strategy": {"type": "Recreate"}})
    space.triton("every", kind="DaemonSet", models="models")
    space.triton("byhand", kind="StatefulSet", models="models", spec={"updateStrategy": {"type": "OnDelete"}})
    space.triton("once", kind="Job", models="models")
    space.triton("held", replicas=0, models="models", spec={"paused": True})
    async with acting(space) as fleet:
        for name in ("web", "every", "byhand", "once", "held"):
            await until(fleet, service(space, name), lambda _: True)
        await until(fleet, service(space, "every"), serving(1))
        recreate = await make_plan(fleet, service(space), Capability.MODE, "poll")
        assert any("Recreate" in each and "nothing serves" in each for each in recreate.warnings)
        plan = await make_plan(fleet, service(space, "every"), Capability.MODE, "poll")
        assert any("ends each pod before the new one starts" in each for each in plan.warnings), plan.warnings
        outcome = await do(plan, space.folder)
        assert outcome.error is None, outcome.error
        await until(fleet, service(space, "every"), lambda each: str(each.control_mode) == "poll" and bool(each.ready))
        for name, words in (("byhand", "OnDelete"), ("once", "Job"), ("held", "paused")):
            with pytest.raises(OperationFailed) as caught:
                await make_plan(fleet, service(space, name), Capability.MODE, "poll")
            assert words in caught.value.answer
            assert caught.value.advice
        with pytest.raises(OperationFailed, match="DaemonSet has one pod on each node"):
            await make_plan(fleet, service(space, "every"), Capability.SCALE, "2")


async def test_what_makes_kubernetes_take_a_pod_for_ready_too_early_is_told(space: Space) -> None:
    space.triton("web", probe=False)
    async with acting(space) as fleet:
        await until(fleet, service(space), lambda _: True)
        plan = await make_plan(fleet, service(space), Capability.RESTART)
        assert any("no readiness probe" in each for each in plan.warnings)
        assert any("no preStop hook" in each for each in plan.warnings)
