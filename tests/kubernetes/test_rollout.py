"""When a workload has rolled out, and when it is scaled, without a cluster: as `kubectl rollout status` tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backends.kubernetes.changes import actions, rollout
from backends.kubernetes.changes.kubectl import Target
from backends.kubernetes.client.kinds import DEPLOYMENTS, STATEFUL_SETS
from tests.answering import responding
from tests.kubernetes.test_api import api_to, document
from tests.kubernetes.test_meanwhile import ground_of, web
from tritonctl.errors import OperationFailed

SET, DEPLOYMENT = Target(STATEFUL_SETS, "n", "web"), Target(DEPLOYMENTS, "n", "web")
PENDING = {"currentRevision": "web-1", "updateRevision": "web-2"}


def workload(spec: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"generation": 4},
        "spec": {"replicas": 3, **spec},
        "status": {"observedGeneration": 4, "replicas": 3, "readyReplicas": 3, "availableReplicas": 3, **status},
    }


def partition(number: int) -> dict[str, Any]:
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": number}}}


ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}


@pytest.mark.parametrize(
    ("found", "rolled", "scaled"),
    [
        (workload(partition(0), **PENDING, updatedReplicas=2), False, True),
        (workload(partition(0), updatedReplicas=3), True, True),
        (workload(partition(2), **PENDING, updatedReplicas=1), True, True),
        (workload(partition(2), **PENDING), False, True),
        (workload(partition(9), **PENDING), True, True),
        (workload(partition(2), **PENDING, updatedReplicas=1, readyReplicas=2), False, False),
        (workload(partition(2), **PENDING, updatedReplicas=1, replicas=4), False, False),
        (workload(partition(2), **PENDING, updatedReplicas=1, observedGeneration=3), False, False),
        (workload(ON_DELETE, **PENDING, updatedReplicas=1), False, True),
        (workload(ON_DELETE, **PENDING, updatedReplicas=1, readyReplicas=2), False, False),
    ],
)
def test_a_stateful_set(found: dict[str, Any], rolled: bool, scaled: bool) -> None:
    assert (rollout.rolled_out(SET, found), rollout.scaled(SET, found)) == (rolled, scaled)


@pytest.mark.parametrize(
    ("found", "rolled", "scaled"),
    [
        (workload({}, updatedReplicas=3), True, True),
        (workload({}, updatedReplicas=2), False, False),
        (workload({"paused": True}), False, True),
        (workload({"paused": True}, availableReplicas=2), False, False),
        (workload({"paused": True}, replicas=4), False, False),
        (workload({"paused": True}, replicas=4, updatedReplicas=1), False, True),
        (workload({"paused": True}, observedGeneration=3), False, False),
    ],
)
def test_a_deployment(found: dict[str, Any], rolled: bool, scaled: bool) -> None:
    assert (rollout.rolled_out(DEPLOYMENT, found), rollout.scaled(DEPLOYMENT, found)) == (rolled, scaled)


async def test_a_paused_deployment_whose_template_changed_is_scaled() -> None:
    paused = {**web()["spec"], "paused": True}

    def respond(_method: str, target: str) -> bytes:
        if "selfsubjectaccessreviews" in target:
            return document(status={"allowed": True})
        found = workload({**paused, "replicas": 3})
        return document(**found, items=[])

    async with api_to(responding(respond)) as api:
        ground = replace(ground_of(api, "3"), document={**web(), "spec": paused}, ready_s=0.5)
        plan = await actions.scale(ground)
        assert plan.steps[1].call.endswith(
            "wait deployment/web '--for=jsonpath={.status.readyReplicas}=3' --timeout=0.5s"
        )
        assert await plan.steps[1].run() == "3 of 3 ready"


async def test_a_restart_that_would_replace_no_pod_is_refused() -> None:
    ground = replace(ground_of(None), target=SET, document={**web(), "spec": {**web()["spec"], **partition(2)}})
    with pytest.raises(OperationFailed, match="its partition 2 keeps every pod as it is"):
        await actions.restart(ground)
