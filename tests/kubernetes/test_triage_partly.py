"""What goes wrong while the rest serves, or is seen by somebody who may not see everything."""

from __future__ import annotations

import pytest

from tests.diagnosis import causes, quoted
from tests.kubernetes.clinic import UNDECIDED, Clinic, fleet_of, headline
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.failures import NOWHERE
from tests.kubernetes.space import Space, ready, rule
from tritonctl.inventory import Level


async def test_a_rollout_that_gets_stuck_while_the_old_pods_serve(space: Space) -> None:
    keep = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    space.triton("web", spec={"progressDeadlineSeconds": 3, "strategy": keep})
    await space.until("Deployment", "web", ready())
    async with fleet_of(space) as fleet:
        clinic = Clinic(space, fleet)
        await clinic.until("web", lambda each: each.healthy)
        image = {"spec": {"template": {"spec": {"containers": [{"name": "triton", "image": NOWHERE}]}}}}
        space.patch("Deployment", "web", image, "application/strategic-merge-patch+json")
        diagnosis = await clinic.until(
            "web",
            lambda each: headline(each) == "image-pull" and "stuck" in each.evidence.status.service.platform.state,
            lambda each: headline(each) in {"", "image-pull", *UNDECIDED},
        )
    assert set(causes(diagnosis)) == {"image-pull"}
    assert diagnosis.evidence.status.service.platform.level is Level.DEGRADED
    assert [each.ready for each in diagnosis.evidence.replicas].count(True) == 1


@pytest.mark.alone
async def test_a_taint_that_the_pods_do_not_tolerate(space: Space, cluster: Cluster) -> None:
    taint = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}
    with cluster.node_patch({"spec": {"taints": [taint]}}, {"spec": {"taints": None}}):
        space.triton("web")
        async with fleet_of(space) as fleet:
            diagnosis = await Clinic(space, fleet).until(
                "web", lambda each: headline(each) == "taint", lambda each: headline(each) in {"", *UNDECIDED}
            )
    assert "{sku: gpu}" in quoted(diagnosis)
    assert causes(diagnosis) == ["taint"]


async def test_what_the_user_may_not_read_is_named_and_the_rest_suffices(space: Space) -> None:
    looks = [rule("get list watch", "pods"), rule("get list watch", "deployments replicasets", "apps")]
    reader = space.settings(space.user(looks))
    space.triton("web", container={"image": NOWHERE})
    async with fleet_of(space, reader) as fleet:
        diagnosis = await Clinic(space, fleet).until("web", lambda each: headline(each) == "image-pull")
    missing = {each.what: each.why for each in diagnosis.evidence.missing}
    assert 'cannot list resource "events"' in missing["events"]
    assert causes(diagnosis) == ["image-pull"]


async def test_a_finalizer_that_nobody_takes_off(space: Space) -> None:
    space.triton("web", kind="Pod")
    space.patch("Pod", "web", {"metadata": {"finalizers": ["example.com/hold"]}})
    space.delete("Pod", "web")
    try:
        async with fleet_of(space) as fleet:
            diagnosis = await Clinic(space, fleet).until("web", lambda each: headline(each) == "stuck-terminating")
        assert "example.com/hold" in quoted(diagnosis)
    finally:
        space.patch("Pod", "web", {"metadata": {"finalizers": None}})
