"""A switch of the control mode patches a workload's own command, loses no request, and goes back when it must."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.kubernetes.acting import GRACEFUL, PATIENT, acting, do, make_plan, serving, traffic, until
from tests.kubernetes.space import BROKEN, SLOW, Space, ready, rule
from tests.servers import IDENTITY
from tritonctl.backend import Capability
from tritonctl.errors import AlreadySo, Forbidden, OperationFailed
from tritonctl.inventory import ControlMode
from tritonctl.server import control


def service(space: Space, name: str = "web") -> str:
    return f"k8s/{space.name}/{name}"


def words(space: Space, name: str = "web") -> list[str]:
    found = space.get("Deployment", name)
    assert found is not None
    container = found["spec"]["template"]["spec"]["containers"][0]
    return [*container.get("command", ()), *container.get("args", ())]


async def test_no_request_is_lost(space: Space) -> None:
    """Two replicas, a client that sends throughout, and a model that was loaded at run time stays loaded."""
    space.triton(
        "web", "--model-control-mode=explicit", "--load-model=one", replicas=2, container=GRACEFUL, pod=PATIENT
    )
    space.service("web")
    await space.until("Deployment", "web", ready(2))
    async with acting(space) as fleet, traffic(space, "web") as sent:
        await until(fleet, service(space), serving(2))
        plan = await make_plan(fleet, service(space), Capability.MODE, "poll")
        assert plan.steps[0].call.startswith("kubectl ")
        assert f"-n {space.name} patch deployment/web" in plan.steps[0].call
        assert "--model-control-mode=poll" in plan.steps[0].call
        assert "rollout status deployment/web" in plan.steps[1].call
        before = sent.answered.total()
        outcome = await do(plan, space.folder)
        assert outcome.error is None, outcome.error
        await until(
            fleet,
            service(space),
            lambda each: serving(2)(each) and each.control_mode is ControlMode.POLL and each.counts.ready == 2,
        )
        assert sent.answered.total() > before + 20
        back = await do(await make_plan(fleet, service(space), Capability.MODE, "explicit"), space.folder)
        assert back.error is None, back.error
        await until(
            fleet,
            service(space),
            lambda each: serving(2)(each) and each.control_mode is ControlMode.EXPLICIT and each.counts.ready == 2,
        )
        assert not sent.errors, sent.errors
        assert not sent.without
    assert words(space)[-3:] == ["--model-control-mode=explicit", "--load-model=one", "--load-model=two"]


async def test_a_model_that_fails_undoes_it_and_the_old_pods_serve_throughout(space: Space) -> None:
    space.models({"one": IDENTITY, "broken": BROKEN})
    space.triton(
        "web", "--model-control-mode=explicit", "--load-model=one", replicas=2, container=GRACEFUL, pod=PATIENT
    )
    space.service("web")
    await space.until("Deployment", "web", ready(2))
    pods = {pod["metadata"]["uid"] for pod in space.pods("web")}
    old = words(space)
    async with acting(space) as fleet, traffic(space, "web") as sent:
        await until(fleet, service(space), serving(2))
        outcome = await do(await make_plan(fleet, service(space), Capability.MODE, "none"), space.folder)
        assert isinstance(outcome.error, OperationFailed)
        assert "torchaudio" in outcome.error.answer, outcome.error
        assert "undoing it failed" not in outcome.error.answer
        await until(fleet, service(space), serving(2))
        assert not sent.errors, sent.errors
        assert not sent.without
    assert words(space) == old
    assert {pod["metadata"]["uid"] for pod in space.pods("web") if "deletionTimestamp" not in pod["metadata"]} == pods


async def test_one_that_is_not_ready_in_time_is_undone(space: Space) -> None:
    space.models({"one": IDENTITY, "slow": SLOW.format(seconds=600)})
    space.triton("web", "--model-control-mode=explicit", "--load-model=one")
    await space.until("Deployment", "web", ready(1))
    old = words(space)
    async with acting(space, ready_s=15.0) as fleet:
        await until(fleet, service(space), serving(1))
        outcome = await do(await make_plan(fleet, service(space), Capability.MODE, "none"), space.folder)
        assert outcome.error is not None
        assert "not ready within 15 s" in outcome.error.answer
        await until(fleet, service(space), serving(1))
    assert words(space) == old


async def test_flags_inside_a_shell_string(space: Space) -> None:
    space.triton("web", "--model-control-mode", "none", shell=True, replicas=1)
    await space.until("Deployment", "web", ready(1))
    before = words(space)
    assert before[:2] == ["sh", "-c"]
    async with acting(space) as fleet:
        await until(fleet, service(space), serving(1))
        outcome = await do(await make_plan(fleet, service(space), Capability.MODE, "explicit"), space.folder)
        assert outcome.error is None, outcome.error
        await until(
            fleet,
            service(space),
            lambda each: serving(1)(each) and each.control_mode is ControlMode.EXPLICIT and each.counts.ready == 2,
        )
    flags = "--model-control-mode=explicit --load-model=one --load-model=two"
    assert words(space) == ["sh", "-c", before[2].replace("--model-control-mode none", flags)]


async def test_a_strategy_that_lets_pods_drop_is_tightened_for_the_time_and_set_back(space: Space) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    space.triton("web", container=GRACEFUL, pod=PATIENT, spec={"strategy": strategy})
    space.service("web")
    await space.until("Deployment", "web", ready(1))
    async with acting(space) as fleet, traffic(space, "web") as sent:
        await until(fleet, service(space), serving(1))
        plan = await make_plan(fleet, service(space), Capability.MODE, "explicit")
        assert any("maxUnavailable 0" in warning for warning in plan.warnings)
        outcome = await do(plan, space.folder)
        assert outcome.error is None, outcome.error
        await until(fleet, service(space), serving(1))
        assert not sent.errors, sent.errors
        assert not sent.without
    found = space.get("Deployment", "web")
    assert found is not None
    assert found["spec"]["strategy"] == strategy


async def test_a_stateful_set_goes_back_though_its_new_pod_never_gets_ready(space: Space) -> None:
    space.models({"one": IDENTITY, "broken": BROKEN})
    space.triton("web", "--model-control-mode=explicit", "--load-model=one", kind="StatefulSet", replicas=2)
    await space.until("StatefulSet", "web", ready(2))
    async with acting(space) as fleet:
        await until(fleet, service(space), serving(2))
        plan = await make_plan(fleet, service(space), Capability.MODE, "none")
        assert any("one of its 2 pods is away" in warning for warning in plan.warnings)
        outcome = await do(plan, space.folder)
        assert outcome.error is not None
        assert "torchaudio" in outcome.error.answer, outcome.error
        assert "undoing it failed" not in outcome.error.answer
        await until(fleet, service(space), serving(2))
    await space.until("StatefulSet", "web", ready(2))


async def test_explicit_again_writes_down_what_is_loaded(space: Space) -> None:
    space.triton("web", "--model-control-mode=explicit", "--load-model=one")
    await space.until("Deployment", "web", ready(1))
    async with acting(space) as fleet:
        status = await until(fleet, service(space), serving(1))
        with pytest.raises(AlreadySo, match="in control mode explicit already"):
            await make_plan(fleet, service(space), Capability.MODE, "explicit")
        load = await control.plan_load(status, "two")
        assert any("--load-model=two" in warning for warning in load.warnings), load.warnings
        assert "kubectl" in load.steps[0].call
        loaded = await do(load, space.folder)
        assert loaded.error is None, loaded.error
        outcome = await do(await make_plan(fleet, service(space), Capability.MODE, "explicit"), space.folder)
        assert outcome.error is None, outcome.error
    assert words(space)[-2:] == ["--load-model=one", "--load-model=two"]


async def test_who_may_not_patch_is_told_the_right(space: Space) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready(1))
    reader = space.user(
        [
            rule("get list watch", "pods"),
            rule("get list watch", "deployments replicasets statefulsets daemonsets", "apps"),
            rule("get create", "pods/proxy"),
        ]
    )
    async with acting(space, reader) as fleet:
        await until(fleet, service(space), serving(1))
        for action, value, right in (
            (Capability.MODE, "explicit", "patch deployments.apps in"),
            (Capability.RESTART, "", "patch deployments.apps in"),
            (Capability.SCALE, "2", "patch deployments.apps/scale"),
            (Capability.DELETE, "", "delete deployments.apps"),
        ):
            with pytest.raises(Forbidden) as caught:
                await make_plan(fleet, service(space), action, value)
            assert f"you may not {right}" in caught.value.answer
            assert "kubectl create role" in caught.value.advice


async def test_without_a_readiness_probe_the_servers_themselves_are_asked(space: Space) -> None:
    space.models({"one": IDENTITY, "broken": BROKEN})
    space.triton("web", "--model-control-mode=explicit", "--load-model=one", probe=False)
    await space.until("Deployment", "web", ready(1))
    old = words(space)
    async with acting(space) as fleet:
        await until(fleet, service(space), serving(1))
        plan = await make_plan(fleet, service(space), Capability.MODE, "none")
        assert any("no readiness probe" in warning for warning in plan.warnings)
        outcome = await do(plan, space.folder)
        assert outcome.error is not None
        assert "torchaudio" in outcome.error.answer
        await until(fleet, service(space), serving(1))
    assert words(space) == old


async def test_somebody_else_who_sets_it_back_is_noticed(space: Space) -> None:
    """As KServe's controller does: the switch must not be told as done."""
    space.triton("web", "--model-control-mode=explicit", "--load-model=one")
    await space.until("Deployment", "web", ready(1))
    found = space.get("Deployment", "web")
    assert found is not None
    args = found["spec"]["template"]["spec"]["containers"][0]["args"]
    async with acting(space) as fleet:
        await until(fleet, service(space), serving(1))
        plan = await make_plan(fleet, service(space), Capability.MODE, "none")
        first, *rest = plan.steps

        async def patched_and_set_back() -> str:
            said = await first.run()
            containers = [{"name": "triton", "args": args}]
            body = {"spec": {"template": {"spec": {"containers": containers}}}}
            space.patch("Deployment", "web", body, "application/strategic-merge-patch+json")
            return said

        outcome = await do(replace(plan, steps=(replace(first, run=patched_and_set_back), *rest)), space.folder)
        assert outcome.error is not None
        assert "set back" in outcome.error.answer
    assert "--model-control-mode=explicit" in words(space)
