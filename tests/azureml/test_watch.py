"""What the dashboard is told of a workspace: states and reasons, what changes, what is refused, how often is asked."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from backends.azureml import meeting as meeting_module
from backends.azureml import place as place_module
from backends.azureml.watch import Pace
from tests.azure.emulator import Emulator
from tests.azure.http import Response
from tests.azure.sample import Sample, full
from tests.azure.shapes import TENANT
from tests.azure.state import Fault, Script, refuse
from tests.azureml.place import backend, watched
from tests.waiting import until
from tritonctl.backend import Capability
from tritonctl.fleet import Fleet
from tritonctl.inventory import BackendState, Level
from tritonctl.server.address import Speaks

SLOW = Pace(fast_s=0.1, seen_s=60.0, slow_s=60.0, list_s=60.0)


async def test_everything_is_listed_with_its_state(azure: Emulator) -> None:
    full(azure)
    async with watched(azure) as place:
        assert place.names == [
            *("broken-ep/blue", "custom-ep/main", "k8s-ep/blue", "score-ep/main", "triton-ep/blue", "triton-ep/green")
        ]
        blue = place.service("triton-ep/blue")
        assert (blue.id, blue.kind, blue.backend) == ("ws/triton-ep/blue", "azureml", "ws")
        assert (blue.platform.state, blue.platform.level) == ("Succeeded", Level.OK)
        assert blue.platform.reason == "90 % of the traffic"
        assert place.service("triton-ep/green").platform.reason == "10 % of the traffic"
        broken = place.service("broken-ep/blue").platform
        assert (broken.state, broken.level) == ("Failed", Level.FAILED)
        assert broken.reason == "ImageBuildFailure: Image building job failed."


async def test_the_way_to_each_server(azure: Emulator) -> None:
    """Key, AML token and Entra token; the chosen deployment; the router's path on Kubernetes; /score for a script."""
    full(azure)
    async with watched(azure) as place:
        await place.until(
            lambda: all(not each.service.replicas[0].address_pending for each in place.fleet.snapshot.services)
        )
        address = place.service("triton-ep/blue").replicas[0].address
        assert address is not None
        assert address.headers["azureml-model-deployment"].reveal() == "blue"
        assert address.headers["Authorization"].reveal() == "Bearer triton-epPrimaryKey0123456789abcdef"
        assert not address.http.endswith("/score")
        kubernetes = place.service("k8s-ep/blue").replicas[0].address
        assert kubernetes is not None
        assert kubernetes.http.endswith("/api/v1/endpoint/k8s-ep")
        script = place.service("score-ep/main").replicas[0].address
        assert script is not None
        assert (script.protocol, script.http.rpartition("/")[2]) == (Speaks.SCORE, "score")
        token = place.service("custom-ep/main").replicas[0].address
        assert token is not None
        assert token.headers["Authorization"].reveal().removeprefix("Bearer ") in azure.state.endpoint_tokens


async def test_no_secret_in_what_is_printed_of_a_service(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep", key="TheVeryKey")
    sample.deployment("ep", "blue", model=sample.model("m"))
    async with watched(azure) as place:
        await place.until(lambda: place.service("ep/blue").replicas[0].address is not None)
        assert "TheVeryKey" not in repr(place.service("ep/blue"))


async def test_what_somebody_else_changes_is_seen(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep", traffic={"blue": 100})
    sample.deployment("ep", "blue")
    async with watched(azure) as place:
        endpoint = azure.state.get(f"{sample.path}/onlineEndpoints/ep")
        assert endpoint is not None
        endpoint["properties"]["traffic"] = {"blue": 40, "green": 60}
        sample.deployment("ep", "green")
        await place.until(lambda: place.service("ep/green").platform.reason == "60 % of the traffic")
        azure.state.remove(f"{sample.path}/onlineEndpoints/ep/deployments/blue")
        await place.until(lambda: place.names == ["ep/green"])
        azure.state.remove(f"{sample.path}/onlineEndpoints/ep")
        await place.until(lambda: place.names == [])


async def test_an_operation_started_elsewhere_shows_how_long_it_takes(azure: Emulator) -> None:
    """It is found by the URI on the resource: also after a restart, and of somebody else."""
    sample = Sample(azure)
    sample.endpoint("ep")
    path = sample.deployment("ep", "blue", state="Updating")
    under_way(azure, path, Script(seconds=None))
    async with watched(azure) as place:
        await place.until(lambda: "Updating for" in (place.service("ep/blue").platform.reason or ""))
        assert place.service("ep/blue").platform.level is Level.CHANGING
        first = place.service("ep/blue").platform.reason
        await place.until(lambda: place.service("ep/blue").platform.reason != first)
    next(iter(azure.state.operations.values())).script.seconds = 0.0
    async with watched(azure) as place:
        await place.shows("ep/blue", "Succeeded")


async def test_a_deployment_that_is_being_made_has_no_server_yet(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep")
    under_way(azure, sample.deployment("ep", "blue", state="Creating"), Script(seconds=None))
    async with watched(azure) as place:
        replica = place.service("ep/blue").replicas[0]
        assert (replica.address, replica.address_pending) == (None, False)
        await place.until(lambda: "Creating for" in place.status("ep/blue").note)


@pytest.mark.parametrize(
    ("state", "level"),
    [
        ("Canceled", Level.DEGRADED),
        ("Deleting", Level.CHANGING),
        ("Scaling", Level.CHANGING),
        ("Pondering", Level.UNKNOWN),
    ],
)
async def test_states(azure: Emulator, state: str, level: Level) -> None:
    sample = Sample(azure)
    sample.endpoint("ep")
    sample.deployment("ep", "blue", state=state)
    async with watched(azure) as place:
        assert (place.service("ep/blue").platform.state, place.service("ep/blue").platform.level) == (state, level)


async def test_an_operation_that_azure_has_forgotten_says_so(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep")
    path = sample.deployment("ep", "blue", state="Failed")
    under_way(azure, path, Script())
    azure.state.operations.clear()
    async with watched(azure) as place:
        assert "Azure no longer knows why" in (place.service("ep/blue").platform.reason or "")


async def test_an_endpoint_without_a_deployment_is_there(azure: Emulator) -> None:
    Sample(azure).endpoint("ep")
    async with watched(azure) as place:
        assert place.names == ["ep"]
        assert place.service("ep").platform.level is Level.OFF
        assert "nothing is billed" in (place.service("ep").platform.reason or "")


async def test_without_the_right_to_list_keys_the_rest_is_told(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep", traffic={"blue": 100})
    sample.deployment("ep", "blue", model=sample.model("m"))
    denied = refuse(403, "AuthorizationFailed", "does not have authorization to perform action 'listkeys/action'")
    azure.state.faults.append(Fault("POST", "listKeys", None, denied))
    async with watched(azure) as place:
        await place.until(lambda: "may not be read" in place.status("ep/blue").note)
        assert place.service("ep/blue").platform.state == "Succeeded"


async def test_a_right_that_is_granted_later_is_noticed(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is Triton its model's type tells: a model that may not be read is not taken for one for ever."""
    for module in (place_module, meeting_module):
        monkeypatch.setattr(module, "AGAIN_S", 0.5)
    sample = Sample(azure)
    sample.endpoint("ep", traffic={"blue": 100})
    sample.deployment("ep", "blue", model=sample.model("m", kind="custom_model"))
    denied = Fault("GET", "models/m/versions/1", None, refuse(403, "AuthorizationFailed", "no models/read"))
    azure.state.faults.append(denied)

    def asked() -> int:
        return len(azure.state.requests("GET", "models/m/versions/1"))

    async with watched(azure) as place:

        def speaks() -> Speaks | None:
            address = place.service("ep/blue").replicas[0].address
            return address.protocol if address is not None else None

        await place.until(lambda: speaks() is Speaks.TRITON)
        await place.until(lambda: asked() >= 2)
        assert speaks() is Speaks.TRITON
        azure.state.faults.remove(denied)
        await place.until(lambda: speaks() is Speaks.SCORE)
        told = asked()
        await asyncio.sleep(1.0)
        assert asked() == told, "what is known is asked for again"


async def test_one_endpoint_that_cannot_be_listed_hides_no_other(azure: Emulator) -> None:
    sample = Sample(azure)
    for name in ("good", "bad"):
        sample.endpoint(name, crowd=True)
        sample.deployment(name, "blue")
    azure.state.faults.append(Fault("GET", "bad/deployments", None, refuse(403, "AuthorizationFailed", "not for you")))
    async with watched(azure) as place:
        assert place.names == ["bad", "good/blue"]
        assert "not for you" in (place.service("bad").platform.reason or "")


async def test_null_and_absent_fields_are_tolerated(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep")
    sample.deployment("ep", "blue")

    def emptied(body: Any) -> Any:
        for each in body["value"]:
            each |= {"sku": None, "tags": None, "systemData": None}
            each["properties"] = {"provisioningState": "Succeeded", "scaleSettings": None, "model": None}
        return body

    azure.state.faults.append(Fault("GET", "onlineEndpoints", None, edit=emptied))
    async with watched(azure) as place:
        assert place.names == ["ep/blue"]
        await place.until(lambda: not place.service("ep/blue").replicas[0].address_pending)
        assert place.service("ep/blue").replicas[0].no_address == "its endpoint has no scoring address yet"


async def test_429_is_obeyed_and_at_most_eight_requests_are_under_way(azure: Emulator) -> None:
    """By all that wait for their turn, too: a hundred are queued when the refusal comes."""
    Sample(azure).crowd(120)
    azure.state.page_size = 200
    azure.state.latency_s = 0.02
    slow_down = Response(429, {"error": {"code": "TooManyRequests", "message": "later"}}, {"Retry-After": "3"})
    azure.state.faults.append(Fault("GET", "ep-010/deployments", 1, slow_down))
    async with watched(azure, pace=SLOW) as place:
        assert len(place.names) == 240
    assert 2 < azure.state.most_in_flight <= 8
    refused = next(each for each in azure.state.made if "ep-010/deployments" in each.path)
    times = [refused.at, *(each.at for each in azure.state.made if each.at > refused.at)]
    before = [number for number, at in enumerate(times[1:]) if at - times[number] > 1.5]
    assert before, "somebody asked again before Azure wanted it"
    assert before[0] <= 24, "more than what was under way, and sent while the refusal was"


async def test_a_list_that_takes_long_is_shown_as_it_comes(azure: Emulator) -> None:
    """And who needs all of it waits: only then is the place connected."""
    Sample(azure).crowd(60)
    azure.state.latency_s = 0.15
    async with Fleet([backend(azure, SLOW)], probing=False) as fleet:
        await until(lambda: bool(fleet.snapshot.services), 60.0)
        assert len(fleet.snapshot.services) < 120
        assert fleet.snapshot.backends[0].state is BackendState.CONNECTING
        await until(lambda: fleet.snapshot.backends[0].state is BackendState.CONNECTED, 60.0)
        assert len(fleet.snapshot.services) == 120


async def test_what_nobody_looks_at_is_seldom_asked_for(azure: Emulator) -> None:
    sample = Sample(azure)
    for name in ("seen", "unseen"):
        sample.endpoint(name, crowd=True)
        sample.deployment(name, "blue")
    pace = Pace(fast_s=0.1, seen_s=0.2, slow_s=60.0, list_s=0.2)
    async with watched(azure, pace=pace) as place:
        place.fleet.look_at(["ws/seen/blue"])
        before = len(azure.state.requests("GET", "/seen/deployments"))
        unseen = len(azure.state.requests("GET", "/unseen/deployments"))
        await place.until(lambda: len(azure.state.requests("GET", "/seen/deployments")) >= before + 5)
        assert len(azure.state.requests("GET", "/unseen/deployments")) <= unseen + 1


async def test_the_keys_of_what_is_looked_at_come_first(azure: Emulator) -> None:
    """A command about one endpoint asks for no other's key."""
    Sample(azure).crowd(20, 1)
    async with watched(azure, pace=SLOW) as place:
        place.fleet.look_at(())
        place.fleet.start_probing("ws/ep-013/blue")
        await place.until(lambda: place.service("ep-013/blue").replicas[0].address is not None)
    asked = [each.path.split("/")[-2] for each in azure.state.requests("POST", "listKeys")]
    assert "ep-013" in asked
    assert len(asked) < 12, asked


async def test_workspace_that_is_lost_keeps_what_was_known_and_comes_back(azure: Emulator) -> None:
    sample = Sample(azure)
    sample.endpoint("ep")
    sample.deployment("ep", "blue")
    async with watched(azure) as place:
        fault = Fault("GET", "onlineEndpoints$", None, refuse(404, "ResourceNotFound", "no such workspace"))
        azure.state.faults.append(fault)
        await place.until(lambda: place.fleet.snapshot.backends[0].state is BackendState.LOST)
        assert "no such workspace" in place.fleet.snapshot.backends[0].detail
        assert place.names == ["ep/blue"]
        tries = len(azure.state.requests("GET", "onlineEndpoints$"))
        await place.until(lambda: len(azure.state.requests("GET", "onlineEndpoints$")) > tries + 1)
        # Nothing says that it is gone: what is known of it is at hand while the list is asked for again and again.
        assert await place.backend.describe(place.service("ep/blue"))
        assert (await place.plan(Capability.SCALE, "ep/blue", value="2")).steps
        azure.state.faults.clear()
        await place.until(lambda: place.fleet.snapshot.backends[0].state is BackendState.CONNECTED)
        await place.until(lambda: place.fleet.snapshot.backends[0].detail.startswith("login until "))
        sample.deployment("ep", "green")
        await place.until(lambda: place.names == ["ep/blue", "ep/green"])


async def test_a_lost_login_says_what_to_type(azure: Emulator) -> None:
    Sample(azure)
    azure.az.set("logged out")
    async with watched(azure) as place:
        backend = place.fleet.snapshot.backends[0]
        assert backend.state is BackendState.LOST
        assert "az login" in backend.advice


async def test_a_code_to_sign_in_with_is_told_and_waited_for(azure: Emulator) -> None:
    Sample(azure).endpoint("ep", crowd=True)
    place = backend(azure, credential="device_code", tenant=TENANT)
    async with Fleet([place], probing=False) as fleet:
        await until(lambda: "EZ4UTEXGR" in fleet.snapshot.backends[0].detail, 60.0)
        waiting = fleet.snapshot.backends[0]
        assert (waiting.state, waiting.warning) == (BackendState.CONNECTING, True)
        assert waiting.detail == "sign in with EZ4UTEXGR at microsoft.com/devicelogin"
        assert "open https://microsoft.com/devicelogin and enter the code EZ4UTEXGR" in waiting.advice
        azure.entra.approved = True
        await until(lambda: fleet.snapshot.backends[0].state is BackendState.CONNECTED, 60.0)
        assert [each.service.name for each in fleet.snapshot.services] == ["ep"]


async def test_the_header_tells_how_long_the_login_lasts(azure: Emulator) -> None:
    Sample(azure).endpoint("ep", crowd=True)
    async with watched(azure) as place:
        await place.until(lambda: place.fleet.snapshot.backends[0].detail.startswith("login until "))


async def test_leaving_leaves_no_task(azure: Emulator) -> None:
    full(azure)
    azure.state.latency_s = 0.05
    before = asyncio.all_tasks()
    async with watched(azure):
        pass
    began = time.monotonic()
    while asyncio.all_tasks() - before:
        assert time.monotonic() - began < 5, asyncio.all_tasks() - before
        await asyncio.sleep(0.01)


def under_way(azure: Emulator, path: str, script: Script) -> None:
    """An operation on the resource that somebody else has begun."""
    from tests.azure import shapes
    from tests.azure.http import Request

    azure.state.scripts.insert(0, ("PUT", ".*", script))
    request = Request("PUT", path, path, {"api-version": "2024-10-01"}, {}, b"", 0)
    document = azure.state.get(path)
    assert document is not None

    def finish(well: bool) -> None:
        document["properties"]["provisioningState"] = "Succeeded" if well else "Failed"

    running, _ = azure.state.begin("od", request, shapes.ML, finish)
    document["properties"]["properties"]["AzureAsyncOperationUri"] = running.uri
