"""What Azure no longer tells, or not of all: what is kept, how it is marked, and when it is asked for again."""

from __future__ import annotations

import asyncio
import time

import pytest

from backends.azureml import meeting as meeting_module
from backends.azureml import place as place_module
from backends.azureml.watch import Pace
from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.azure.state import Fault, refuse
from tests.azureml.place import watched
from tests.commands.process import Tritonctl
from tritonctl.inventory import BackendState, Level
from tritonctl.server.address import Speaks

DENIED = refuse(403, "AuthorizationFailed", "not for you")
LISTS_SELDOM = Pace(fast_s=0.1, seen_s=60.0, slow_s=60.0, list_s=60.0)


@pytest.fixture
def both(azure: Emulator) -> tuple[Sample, Sample]:
    """Two workspaces with an endpoint each."""
    found = (Sample(azure, "one"), Sample(azure, "two"))
    for sample in found:
        sample.endpoint("ep", traffic={"blue": 100}, crowd=True)
        sample.deployment("ep", "blue")
    return found


async def test_a_workspace_that_refuses_hides_no_other(azure: Emulator, both: tuple[Sample, Sample]) -> None:
    azure.state.faults.append(Fault("GET", "workspaces/two/onlineEndpoints", None, DENIED))
    async with watched(azure, workspace=None) as place:
        assert place.names == ["one/ep/blue"]
        told = place.fleet.snapshot.backends[0]
        assert (told.state, told.warning) == (BackendState.CONNECTED, True)
        assert told.detail.startswith("workspace two: AuthorizationFailed: not for you")
        azure.state.faults.clear()
        await place.until(lambda: place.names == ["one/ep/blue", "two/ep/blue"])
        await place.until(lambda: place.fleet.snapshot.backends[0].detail.startswith("login until "))


async def test_what_was_known_of_a_workspace_that_refuses_later_stays_and_is_marked(
    azure: Emulator, both: tuple[Sample, Sample]
) -> None:
    async with watched(azure, workspace=None) as place:
        assert place.names == ["one/ep/blue", "two/ep/blue"]
        azure.state.faults.append(Fault("GET", "workspaces/two/onlineEndpoints$", None, DENIED))
        await place.until(lambda: place.service("two/ep/blue").platform.level is Level.UNKNOWN)
        assert "not for you" in (place.service("two/ep/blue").platform.reason or "")
        assert place.service("one/ep/blue").platform.level is Level.OK
        assert place.fleet.snapshot.backends[0].state is BackendState.CONNECTED
        both[0].deployment("ep", "green")
        await place.until(lambda: place.names == ["one/ep/blue", "one/ep/green", "two/ep/blue"])
        azure.state.faults.clear()
        await place.until(lambda: place.service("two/ep/blue").platform.level is Level.OK)


async def test_where_all_workspaces_refuse_the_place_is_lost(azure: Emulator, both: tuple[Sample, Sample]) -> None:
    async with watched(azure, workspace=None) as place:
        azure.state.faults.append(Fault("GET", "onlineEndpoints$", None, DENIED))
        await place.until(lambda: place.fleet.snapshot.backends[0].state is BackendState.LOST)
        assert place.names == ["one/ep/blue", "two/ep/blue"]


async def test_what_can_no_longer_be_listed_does_not_look_alive(azure: Emulator) -> None:
    """Its last state stays, with its age; and it is asked for again sooner than what is well."""
    sample = Sample(azure)
    for name in ("good", "bad"):
        sample.endpoint(name, traffic={"blue": 100}, crowd=True)
        sample.deployment(name, "blue")
    pace = Pace(fast_s=0.1, seen_s=0.2, slow_s=60.0, list_s=60.0)
    async with watched(azure, pace=pace) as place:
        place.fleet.look_at(["ws/good/blue", "ws/bad/blue"])
        azure.state.faults.append(Fault("GET", "bad/deployments$", None, DENIED))
        await place.until(lambda: place.service("bad/blue").platform.level is Level.UNKNOWN)
        found = place.service("bad/blue").platform
        assert found.state == "Succeeded"
        assert (found.reason or "").startswith("not known for ")
        assert (found.reason or "").endswith("AuthorizationFailed: not for you")
        assert place.service("good/blue").platform.level is Level.OK
        place.fleet.look_at([])
        azure.state.faults.clear()
        await place.until(lambda: place.service("bad/blue").platform.level is Level.OK)


async def test_what_failed_or_is_under_way_is_not_called_better_where_it_is_no_longer_told(azure: Emulator) -> None:
    """Who waits for it to settle goes by its level."""
    sample = Sample(azure)
    for name, state in (("bad", "Failed"), ("busy", "Updating")):
        sample.endpoint(name, crowd=True)
        sample.deployment(name, "blue", state=state)
    async with watched(azure) as place:
        azure.state.faults.append(Fault("GET", "/deployments$", None, DENIED))
        await place.until(lambda: "not known for" in (place.service("bad/blue").platform.reason or ""))
        await place.until(lambda: "not known for" in (place.service("busy/blue").platform.reason or ""))
        assert place.service("bad/blue").platform.level is Level.FAILED
        assert place.service("busy/blue").platform.level is Level.CHANGING


async def test_who_hurries_while_the_list_is_under_way_gets_another_one(azure: Emulator) -> None:
    """What was changed meanwhile is not in the one that runs."""
    sample = Sample(azure)
    sample.endpoint("ep", crowd=True)
    async with watched(azure, pace=LISTS_SELDOM) as place:
        watch = place.backend._watch
        assert watch is not None
        workspace = watch.workspaces[0]
        azure.state.faults.append(Fault("GET", "onlineEndpoints$", 1, edit=_late(sample, azure), delay_s=0.5))
        asked = len(azure.state.requests("GET", "onlineEndpoints$"))
        watch.hurry(workspace, "ep")
        await place.until(lambda: len(azure.state.requests("GET", "onlineEndpoints$")) == asked + 1)
        watch.hurry(workspace, "ep")
        await place.until(lambda: "new" in place.names)


def _late(sample: Sample, azure: Emulator) -> object:
    """The list as it was when it was asked for; the endpoint is made while it is on its way."""

    def edit(body: object) -> object:
        sample.endpoint("new", crowd=True)
        return body

    return edit


async def test_a_key_that_is_regenerated_while_it_is_asked_for_is_asked_for_again(azure: Emulator) -> None:
    sample = Sample(azure)
    path = sample.endpoint("ep", traffic={"blue": 100}, crowd=True, key="OldKey0123456789")
    sample.deployment("ep", "blue", model=sample.model("m"))
    answer = refuse(200, "", "")
    answer.body = {"primaryKey": "OldKey0123456789", "secondaryKey": "Other0123456789"}
    azure.state.faults.append(Fault("POST", "listKeys", 1, answer, delay_s=0.5))
    async with watched(azure, pace=LISTS_SELDOM) as place:
        watch = place.backend._watch
        assert watch is not None
        await place.until(lambda: len(azure.state.requests("POST", "listKeys")) == 1)
        azure.state.keys[path.lower()] = ("NewKey0123456789", "Other0123456789")
        watch.forget_access(watch.workspaces[0], "ep")

        def header() -> str:
            address = place.service("ep/blue").replicas[0].address
            return address.headers["Authorization"].reveal() if address is not None else ""

        await place.until(lambda: header() != "")
        await place.until(lambda: header() == "Bearer NewKey0123456789")


async def test_a_model_that_is_not_found_once_is_asked_for_again(
    azure: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (place_module, meeting_module):
        monkeypatch.setattr(module, "AGAIN_S", 0.3)
    sample = Sample(azure)
    sample.endpoint("ep", traffic={"blue": 100}, crowd=True)
    sample.deployment("ep", "blue", model=sample.model("m", kind="custom_model"))
    gone = Fault("GET", "models/m/versions/1", None, refuse(404, "ResourceNotFound", "it is not there"))
    azure.state.faults.append(gone)
    async with watched(azure) as place:

        def speaks() -> Speaks | None:
            address = place.service("ep/blue").replicas[0].address
            return address.protocol if address is not None else None

        await place.until(lambda: speaks() is Speaks.TRITON)
        azure.state.faults.remove(gone)
        await place.until(lambda: speaks() is Speaks.SCORE)


async def test_a_list_that_breaks_off_takes_nothing_away(azure: Emulator) -> None:
    """Its second page fails, at the first list of all and later."""
    sample = Sample(azure)
    other = Sample(azure, "ws2")
    for name in ("a-ep", "b-ep", "c-ep"):
        sample.endpoint(name, crowd=True)
    other.endpoint("d-ep", crowd=True)
    azure.state.page_size = 2
    broken = Fault("GET", "ws1/onlineEndpoints$", None, edit=lambda body: {**body, "nextLink": "https://evil.example/"})
    azure.state.faults.append(broken)
    async with watched(azure, workspace=None) as place:
        assert place.names == ["ws1/a-ep", "ws1/b-ep", "ws2/d-ep"]
        azure.state.faults.clear()
        await place.until(lambda: "ws1/c-ep" in place.names)
        azure.state.faults.append(broken)
        await place.until(lambda: place.fleet.snapshot.backends[0].warning)
        await asyncio.sleep(0.5)
        assert place.names == ["ws1/a-ep", "ws1/b-ep", "ws1/c-ep", "ws2/d-ep"]


@pytest.mark.parametrize("ails", ["deployment", "endpoint"])
def test_waiting_for_what_went_wrong_ends_with_1(azure: Emulator, tritonctl: Tritonctl, ails: str) -> None:
    """Cancelled, or left behind by an operation of its endpoint that failed: it is over, and not well."""
    sample = Sample(azure)
    path = sample.endpoint("ep", traffic={"blue": 100}, crowd=True)
    sample.deployment("ep", "blue", state="Canceled" if ails == "deployment" else "Succeeded")
    if ails == "endpoint":
        document = azure.state.get(path)
        assert document is not None
        document["properties"]["provisioningState"] = "Failed"
    ended = tritonctl("wait", "ep/blue", "--for", "settled", code=1)
    assert ("Canceled" if ails == "deployment" else "its endpoint is Failed") in ended.err


def test_waiting_for_a_deployment_that_failed_ends_at_once(azure: Emulator, tritonctl: Tritonctl) -> None:
    sample = Sample(azure)
    sample.endpoint("ep", traffic={}, crowd=True)
    sample.deployment("ep", "blue", state="Failed")
    began = time.monotonic()
    ended = tritonctl("wait", "ep/blue", "--for", "ready", "--timeout", "60", code=1)
    assert time.monotonic() - began < 40
    assert "nothing starts it again by itself" in ended.err
    assert "tritonctl triage" in ended.err
    assert "tritonctl start" not in ended.err, "Azure has no such thing"
    assert f"{azure.base}/#resource/subscriptions/" in tritonctl("describe", "ep/blue").out


def test_a_workspaces_name_means_none_of_its_endpoints(azure: Emulator, tritonctl: Tritonctl) -> None:
    """Not even where one that is empty stands right under it: its key would be made anew."""
    for name in ("one", "two"):
        sample = Sample(azure, name)
        sample.endpoint(f"{name}-a-ep", crowd=True)
        sample.endpoint(f"{name}-b-ep", crowd=True)
    tritonctl.settings(azure.config({"ws": "one"}, {}).replace('workspace = "one"', ""))
    assert "one/one-a-ep" in tritonctl("services").out
    changes = (("keys", "one", "--regenerate", "primary", "--yes"), ("traffic", "one", "blue=100", "--yes"))
    for words in (*changes, ("keys", "ws"), ("infer", "one", "m")):
        assert "no such service" in tritonctl(*words, code=3).err
    assert not azure.state.requests("POST", "regenerateKeys")
