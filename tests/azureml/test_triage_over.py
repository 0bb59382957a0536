"""Deployments that are being changed, or whose last failure was mended: triage has no headline for them."""

from __future__ import annotations

from tests.azure.emulator import Emulator
from tests.azure.sample import BUILD_FAILED, Sample
from tests.azure.shapes import GROUP, SUBSCRIPTION
from tests.azure.state import Script
from tests.azureml.place import Place, watched
from tests.azureml.test_watch import under_way
from tritonctl.triage import signatures
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.triage import triage

QUOTA = {"code": "OutOfQuota", "message": "Not enough cores for Standard_NC6s_v3"}


async def diagnose(place: Place) -> Diagnosis:
    return await triage(place.status("ep/blue"), place.backend, signatures.load(None, "azureml"))


async def test_one_that_is_being_updated(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep")
    under_way(azure, sample.deployment("ep", "blue", state="Updating"), Script(seconds=None))
    async with watched(azure) as place:
        await place.until(lambda: "Updating for" in (place.service("ep/blue").platform.reason or ""))
        diagnosis = await diagnose(place)
    assert [(each.id, each.evidence) for each in diagnosis.findings] == []
    assert not diagnosis.healthy


async def test_an_update_that_failed_and_one_that_mended_it(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep")
    path = sample.deployment("ep", "blue")
    under_way(azure, path, Script(seconds=0.0, outcome="Failed", error=QUOTA))
    document = azure.state.get(path)
    assert document is not None
    async with watched(azure) as place:
        await place.until(lambda: place.service("ep/blue").platform.state == "Failed")
        assert [each.id for each in (await diagnose(place)).findings] == ["azure-quota"]
        document["properties"]["provisioningState"] = "Succeeded"  # and the operation that it names is the old one
        await place.shows("ep/blue", "Succeeded")
        assert "azure-quota" not in [each.id for each in (await diagnose(place)).findings]


async def test_nothing_listens_behind_azures_front(azure: Emulator) -> None:
    """The address is Azure's, and nobody's to correct."""
    sample = Sample(azure)
    sample.endpoint("ep")
    sample.deployment("ep", "blue", model=sample.model("text"))
    async with watched(azure, probing=True) as place:
        await place.until(lambda: bool(place.status("ep/blue").replicas[0].looked))
        diagnosis = await diagnose(place)
    headline = diagnosis.headline
    assert headline is not None
    assert headline.id == "nothing-listens-behind-front"
    assert "container does not listen" in headline.title
    assert "connect_failed" in headline.evidence[0].text
    assert headline.next_steps[0] == "tritonctl logs ws/ep/blue"
    assert not any("correct the address" in step for each in diagnosis.findings for step in each.next_steps)


async def test_the_steps_name_the_workspace(azure: Emulator) -> None:
    """A line that is copied can be run as it is."""
    sample = Sample(azure)
    sample.endpoint("ep")
    for name, error in (("blue", BUILD_FAILED), ("red", QUOTA)):
        under_way(
            azure, sample.deployment("ep", name, state="Failed"), Script(seconds=0.0, outcome="Failed", error=error)
        )
    at = f"--resource-group {GROUP} --subscription {SUBSCRIPTION}"
    async with watched(azure) as place:
        steps = []
        for name in ("ep/blue", "ep/red"):
            await place.until(lambda name=name: bool(place.service(name).platform.reason))
            diagnosis = await triage(place.status(name), place.backend, signatures.load(None, "azureml"))
            assert diagnosis.headline is not None
            steps.append(diagnosis.headline.next_steps[0])
    assert steps == [
        f"az ml workspace sync-keys --name ws1 {at}",
        f"az ml compute list-usage --location eastus2 --workspace-name ws1 {at}",
    ]
