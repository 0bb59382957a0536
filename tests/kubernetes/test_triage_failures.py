"""Deployments that fail for real: triage names the cause, quotes what proves it, and never names another one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.diagnosis import causes, quoted
from tests.kubernetes.clinic import UNDECIDED, Clinic, fleet_of, headline
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.failures import FAILURES, Failure
from tests.kubernetes.space import Space


@pytest.fixture(scope="module")
def ward(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """One namespace in which all of them fail side by side."""
    space = Space(cluster, tmp_path_factory.mktemp("ward"))
    try:
        space.start()
        for failure in FAILURES:
            failure.make(space, failure.name)
        yield space
    finally:
        space.clear()


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
async def test_the_headline_is_the_cause(ward: Space, failure: Failure) -> None:
    right = {failure.headline, *failure.also}
    async with fleet_of(ward) as fleet:
        diagnosis = await Clinic(ward, fleet).until(
            failure.name,
            lambda each: headline(each) == failure.headline and failure.proof in quoted(each),
            lambda each: headline(each) in {"", *right, *UNDECIDED},
            failure.deadline_s,
        )
    assert set(causes(diagnosis)) <= right
    assert diagnosis.headline is not None
    # The steps can be copied: they name this namespace, and no placeholder is left in them.
    steps = "\n".join(diagnosis.headline.next_steps)
    assert ward.name in steps or f"k8s/{ward.name}/{failure.name}" in steps or "kubectl get" in steps
    assert not re.search(r"\b(NAMESPACE|REPLICA|WORKLOAD|POD|KIND|NAME)\b", steps), steps
    assert diagnosis.headline.doc.startswith("https://")
    assert diagnosis.evidence.seconds < 4
