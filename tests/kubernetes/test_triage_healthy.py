"""Deployments that are well, or merely slow or off on purpose: from their first moment on, triage finds nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kubernetes.clinic import Clinic, fleet_of
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.space import SLOW, Space, ready
from tritonctl.inventory import Level
from tritonctl.triage.diagnose import Diagnosis

LOADS = SLOW.format(seconds=6)


def _probe(path: str, **numbers: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": 8000}, "periodSeconds": 1, **numbers}


def _slow(space: Space, name: str, **container: Any) -> None:
    space.triton(name, models=space.models({"slow": LOADS}, name=f"{name}-models"), container=container)


def _slow_with_startup_probe(space: Space, name: str) -> None:
    startup = _probe("/v2/health/live", failureThreshold=120)
    _slow(space, name, startupProbe=startup, livenessProbe=_probe("/v2/health/live", failureThreshold=3))


def _restarted_once(space: Space, name: str) -> None:
    """Its first run fails, as where a share is mounted too late."""
    spec = space.pod_spec(shell=True)
    triton = spec["containers"][0]
    once = "test -f /scratch/seen || { touch /scratch/seen; exit 1; }"
    triton["command"][2] = f"{once}; {triton['command'][2]}"
    triton["volumeMounts"].append({"name": "scratch", "mountPath": "/scratch"})
    spec["volumes"].append({"name": "scratch", "emptyDir": {}})
    space.triton(name, pod=spec)


def _job(space: Space, name: str) -> None:
    space.triton(
        name,
        kind="Job",
        probe=False,
        container={"command": ["sh", "-c", "tritonserver --help >&2 || true"], "args": []},
    )


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[Space, str], object]
    level: Level = Level.OK
    before: frozenset[str] = frozenset()  # what may be said before it is well


CASES = (
    Case("plain", lambda space, name: space.triton(name, replicas=2)),
    Case("slow-load", _slow),
    Case("slow-load-with-probes", _slow_with_startup_probe),
    Case("explicit-and-empty", lambda space, name: space.triton(name, "--model-control-mode=explicit")),
    Case("scaled-to-zero", lambda space, name: space.triton(name, replicas=0), Level.OFF),
    Case("job-that-is-done", _job, Level.OFF),
    Case("restarted-once", _restarted_once, before=frozenset(("nothing-known", "crash-loop"))),
    Case("bare-pod", lambda space, name: space.triton(name, kind="Pod")),
    Case("in-a-set", lambda space, name: space.triton(name, kind="StatefulSet")),
)


@pytest.fixture(scope="module")
def ward(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    space = Space(cluster, tmp_path_factory.mktemp("ward"))
    try:
        space.start()
        for case in CASES:
            case.make(space, case.name)
        yield space
    finally:
        space.clear()


def _found(diagnosis: Diagnosis) -> set[str]:
    return {each.id for each in diagnosis.findings}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_nothing_is_found_against_it(ward: Space, case: Case) -> None:
    async with fleet_of(ward) as fleet:
        clinic = Clinic(ward, fleet)

        def well(diagnosis: Diagnosis) -> bool:
            level = diagnosis.evidence.status.service.platform.level
            return level is case.level and (case.level is Level.OFF or diagnosis.healthy) and not diagnosis.findings

        diagnosis = await clinic.until(case.name, well, lambda each: _found(each) <= case.before)
        assert _found(diagnosis) == set()
        assert [each for each in diagnosis.evidence.missing if "log" in each.what and "Forbidden" in each.why] == []


async def test_a_rolling_update_is_no_fault(space: Space) -> None:
    space.triton("web", replicas=2, models=space.models({"slow": SLOW.format(seconds=2)}))
    await space.until("Deployment", "web", ready(2))
    async with fleet_of(space) as fleet:
        clinic = Clinic(space, fleet)
        await clinic.until("web", lambda each: each.healthy, lambda each: not each.findings)
        space.patch("Deployment", "web", {"spec": {"template": {"metadata": {"annotations": {"again": "1"}}}}})
        states = []

        def done(diagnosis: Diagnosis) -> bool:
            states.append(diagnosis.evidence.status.service.platform.state)
            return diagnosis.healthy and "rolling" not in states[-1] and any("rolling" in each for each in states)

        await clinic.until("web", done, lambda each: not each.findings)
