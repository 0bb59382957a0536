"""Resource Manager: pages, bounds, throttling, faults, links that lead elsewhere, and what each refusal says."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import pytest

from backends.azure.arm import Arm, path_of
from backends.azure.clouds import Cloud
from backends.azure.connections import Connections
from backends.azure.credentials import Login, LoginLost
from backends.azure.errors import ArmFailed
from tests.azure.clients import API, arm, cloud
from tests.azure.emulator import Emulator
from tests.azure.http import Response
from tests.azure.sample import Sample
from tests.azure.shapes import SUBSCRIPTION
from tests.azure.state import Fault, refuse
from tritonctl.errors import Forbidden, NotFound, OperationFailed, Unreachable

OTHER = "99999999-86f1-41af-91ab-2d7cd011db47"


def throttled(seconds: str) -> Response:
    response = refuse(429, "TooManyRequests", "too many requests")
    response.headers["Retry-After"] = seconds
    return response


async def test_five_hundred_endpoints_come_in_pages(azure: Emulator, workspace: Sample) -> None:
    workspace.crowd(500, 0)
    async with arm(azure) as client:
        pages = [page async for page in client.pages(f"{workspace.path}/onlineEndpoints", API)]
    assert [len(page) for page in pages] == [30] * 16 + [20]
    assert len({each["name"] for page in pages for each in page}) == 500


async def test_no_more_than_eight_at_once(azure: Emulator, workspace: Sample) -> None:
    azure.state.latency_s = 0.05
    workspace.endpoint("the-ep")
    async with arm(azure) as client:
        await asyncio.gather(*(client.get(f"{workspace.path}/onlineEndpoints/the-ep", API) for _ in range(60)))
    assert 2 <= azure.state.most_in_flight <= 8
    assert len(azure.az.calls) == 1


async def test_429_is_obeyed_by_all_requests_together(azure: Emulator, workspace: Sample) -> None:
    azure.state.faults.append(Fault("GET", "onlineEndpoints$", 1, throttled("2")))
    path = f"{workspace.path}/onlineEndpoints"
    async with arm(azure) as client:
        first = asyncio.create_task(client.collect(path, API))
        await _until(lambda: client._quiet_until > time.monotonic())
        told = time.monotonic()
        await asyncio.gather(*(client.collect(path, API) for _ in range(5)), first)
    later = [each for each in azure.state.made if each.at > told]
    assert len(later) == 6
    assert min(each.at for each in later) - azure.state.made[0].at >= 2.0


async def test_429_beyond_the_deadline_is_told_at_once(azure: Emulator, workspace: Sample) -> None:
    azure.state.faults.append(Fault("*", ".*", None, throttled("600")))
    began = time.monotonic()
    async with arm(azure) as client:
        with pytest.raises(OperationFailed, match=r"asks for (600|599) s of quiet") as failed:
            await client.get(workspace.path, API)
        with pytest.raises(OperationFailed):
            await client.get(workspace.path, API)
    assert failed.value.status == 429
    assert time.monotonic() - began < 10
    assert len(azure.state.made) == 1


async def test_a_change_that_was_throttled_is_made_once(azure: Emulator, workspace: Sample) -> None:
    workspace.endpoint("the-ep")
    path = workspace.deployment("the-ep", "blue")
    azure.state.faults.append(Fault("PATCH", ".*", 1, throttled("0.1")))
    async with arm(azure) as client:
        changed = await client.change("PATCH", path, API, {"sku": {"capacity": 3}})
        assert changed.operation is not None
        await client.finish(changed.operation, "scale")
    document = azure.state.get(path)
    assert document is not None
    assert document["sku"]["capacity"] == 3
    assert len(azure.state.requests("PATCH", "blue")) == 2


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_failing_get_is_tried_again(azure: Emulator, workspace: Sample, status: int) -> None:
    busy = Response(status, b"<html>Bad Gateway</html>", {"Retry-After": "0", "Content-Type": "text/html"})
    azure.state.faults.append(Fault("GET", ".*", 2, busy))
    async with arm(azure) as client:
        assert (await client.get(workspace.path, API))["name"] == "ws1"
    assert len(azure.state.made) == 3


@pytest.mark.parametrize("renewed_first", [True, False])
async def test_a_token_is_renewed_beside_the_tries(azure: Emulator, workspace: Sample, renewed_first: bool) -> None:
    """Three times busy, and a token that was revoked: the fourth try is made all the same."""
    busy = Fault("GET", ".*", 3, Response(503, None, {"Retry-After": "0"}))
    stale = Fault("GET", ".*", 1, refuse(401, "ExpiredAuthenticationToken", "it was revoked"))
    azure.state.faults += [stale, busy] if renewed_first else [busy, stale]
    async with arm(azure) as client:
        assert (await client.get(workspace.path, API))["name"] == "ws1"
    assert len(azure.state.made) == 5


async def test_the_time_in_our_own_queue_is_not_azures(azure: Emulator, workspace: Sample) -> None:
    """Nothing was asked yet: only what Azure takes is its own."""
    azure.state.latency_s = 0.4
    async with arm(azure, at_once=2) as client:
        asked = (client.get(workspace.path, API, deadline_s=1.5) for _ in range(16))
        assert len(await asyncio.gather(*asked)) == 16


async def test_a_failing_change_is_not_tried_again(azure: Emulator, workspace: Sample) -> None:
    workspace.endpoint("the-ep")
    azure.state.faults.append(Fault("DELETE", ".*", None, refuse(500, "InternalServerError", "Something broke")))
    async with arm(azure) as client:
        with pytest.raises(ArmFailed, match="Something broke") as failed:
            await client.change("DELETE", f"{workspace.path}/onlineEndpoints/the-ep", API)
    assert failed.value.status == 500
    assert "request id for Microsoft's support" in failed.value.answer
    assert len(azure.state.made) == 1


async def test_a_cut_connection_is_tried_again_for_a_get_alone(azure: Emulator, workspace: Sample) -> None:
    azure.state.faults.append(Fault("GET", ".*", 1, Response(drop=True)))
    async with arm(azure) as client:
        assert await client.get(workspace.path, API)
        azure.state.faults.append(Fault("POST", ".*", None, Response(drop=True)))
        with pytest.raises(Unreachable) as lost:
            await client.change("POST", f"{workspace.path}/onlineEndpoints/the-ep/listKeys", API)
    assert lost.value.kind == "lost"
    assert len(azure.state.requests("POST", ".*")) == 1


async def test_what_hangs_is_given_up_and_holds_nobody(azure: Emulator, workspace: Sample) -> None:
    workspace.endpoint("the-ep")
    azure.state.faults.append(Fault("GET", "the-ep", None, delay_s=30))
    async with arm(azure) as client:
        await client.get(workspace.path, API)
        began = time.monotonic()
        hanging = client.get(f"{workspace.path}/onlineEndpoints/the-ep", API, deadline_s=1.0)
        found = await asyncio.gather(hanging, client.get(workspace.path, API), return_exceptions=True)
    assert time.monotonic() - began < 10
    assert isinstance(found[0], Unreachable)
    assert found[0].kind == "timeout"
    assert isinstance(found[1], dict)


async def test_404_and_403_say_what_to_do(azure: Emulator, workspace: Sample) -> None:
    denied = refuse(
        403,
        "AuthorizationFailed",
        "The client 'nancy@example.com' does not have authorization to perform action "
        f"'Microsoft.MachineLearningServices/workspaces/read' over scope '{workspace.path}'.",
    )
    async with arm(azure) as client:
        for path, words, advice in (
            (f"{workspace.path}x", "ResourceNotFound", "check its name"),
            (workspace.path.replace("triton-rg", "no-rg"), "ResourceGroupNotFound", "az group list"),
            (workspace.path.replace(SUBSCRIPTION, OTHER), "SubscriptionNotFound", "az account list"),
        ):
            with pytest.raises(NotFound, match=words) as missing:
                await client.get(path, API)
            assert advice in missing.value.advice
        azure.state.faults.append(Fault(response=denied))
        with pytest.raises(Forbidden, match="workspaces/read") as refused:
            await client.get(workspace.path, API)
    assert "role that has this action at this scope" in refused.value.advice


async def test_409_brings_the_whole_tree(azure: Emulator, workspace: Sample) -> None:
    workspace.endpoint("the-ep")
    path = f"{workspace.path}/onlineEndpoints/the-ep"
    async with arm(azure) as client:
        await client.change("DELETE", path, API)
        with pytest.raises(ArmFailed) as failed:
            await client.change("DELETE", path, API)
    assert failed.value.status == 409
    assert failed.value.tree.codes == ("Conflict", "AnotherOperationInProgress")
    assert "wait until it is done" in failed.value.advice


async def test_a_revoked_token_is_replaced_once(azure: Emulator, workspace: Sample) -> None:
    async with arm(azure) as client:
        await client.get(workspace.path, API)
        azure.arm.revoked.add(azure.state.made[0].authorization.removeprefix("Bearer "))
        await client.get(workspace.path, API)
        assert len(azure.az.calls) == 2
        azure.state.faults.append(Fault(response=refuse(401, "ExpiredAuthenticationToken", "no"), times=None))
        with pytest.raises(LoginLost) as lost:
            await client.get(workspace.path, API)
    assert "az login" in lost.value.advice


async def test_the_subscriptions_own_tenant_is_learned(azure: Emulator, workspace: Sample) -> None:
    azure.arm.tenant = OTHER
    async with arm(azure) as client:
        assert (await client.get(workspace.path, API))["name"] == "ws1"
        assert client.tenant == OTHER
        await client.get(workspace.path, API)
    assert len(azure.az.calls) == 2
    assert azure.az.calls[1][-2:] == ["--tenant", OTHER]


async def test_a_tenant_that_is_not_to_be_had_is_named_in_the_line(azure: Emulator, workspace: Sample) -> None:
    azure.arm.tenant = OTHER
    login = Login("cli", cloud(azure))
    await login.token(login.cloud.arm_scope)
    azure.az.set("logged out")
    client = Arm(cloud(azure), login)
    with pytest.raises(LoginLost) as lost:
        await client.get(workspace.path, API)
    await client.aclose()
    assert lost.value.advice.endswith(f"az login --tenant {OTHER}")


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/steal",
        "http://localhost:1/x",
        "https://localhost:1/x",
        "https://user@localhost/x",
        "https://[/x",
        "https://localhost:port/x",
        "https://localhost:99999/x",
        "//evil.example/x",
        7,
    ],
)
async def test_a_link_that_leads_elsewhere_is_not_followed(azure: Emulator, workspace: Sample, link: Any) -> None:
    azure.state.faults.append(Fault(edit=lambda body: {**body, "nextLink": link}, path="onlineEndpoints$", times=None))
    async with arm(azure) as client:
        with pytest.raises((Unreachable, NotFound)):
            await client.collect(f"{workspace.path}/onlineEndpoints", API)
    assert len(azure.state.made) <= 2


async def test_pages_that_lead_back_end(azure: Emulator, workspace: Sample) -> None:
    again = f"{azure.base}{workspace.path}/onlineEndpoints?api-version={API}"
    azure.state.faults.append(Fault(edit=lambda body: {**body, "nextLink": again}, times=None))
    async with arm(azure) as client:
        with pytest.raises(Unreachable, match="do not end"):
            await client.collect(f"{workspace.path}/onlineEndpoints", API)
    assert len(azure.state.made) == 2


@pytest.mark.parametrize(
    "body",
    [b"<html>Sign in to the hotel's network</html>", b"[1, 2]", b'{"value": 7}', b"{", b"[" * 100_000, b"\xff\xfe"],
)
async def test_what_is_no_list_of_resource_manager_is_said_to_be_none(
    azure: Emulator, workspace: Sample, body: bytes
) -> None:
    azure.state.faults.append(Fault(response=Response(200, body)))
    async with arm(azure) as client:
        with pytest.raises(Unreachable) as garbage:
            await client.collect(f"{workspace.path}/onlineEndpoints", API)
    assert garbage.value.kind == "garbage"


async def test_null_and_strange_entries_of_a_list_are_left_out(azure: Emulator, workspace: Sample) -> None:
    workspace.endpoint("the-ep")
    azure.state.faults.append(Fault(edit=lambda body: {"value": [None, 7, "x", *body["value"]], "nextLink": None}))
    azure.state.faults.append(Fault(edit=lambda body: {"value": None}))
    async with arm(azure) as client:
        path = f"{workspace.path}/onlineEndpoints"
        assert [each["name"] for each in await client.collect(path, API)] == ["the-ep"]
        assert await client.collect(path, API) == []


async def test_an_answer_without_end_is_cut_off(
    azure: Emulator, workspace: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.azure.connections.MAX_BODY_BYTES", 100_000)
    azure.state.faults.append(Fault(response=Response(200, b'"' + b"x" * 200_000 + b'"')))
    async with arm(azure) as client:
        with pytest.raises(Unreachable) as large:
            await client.get(workspace.path, API)
    assert large.value.kind == "too large"


async def test_a_redirect_is_not_followed(azure: Emulator, workspace: Sample) -> None:
    azure.state.faults.append(Fault(response=Response(302, None, {"Location": "https://evil.example/"})))
    async with arm(azure) as client:
        with pytest.raises(Unreachable, match=r"redirect to https://evil\.example/"):
            await client.get(workspace.path, API)


async def test_a_certificate_of_another_authority_is_refused(azure: Emulator, workspace: Sample) -> None:
    there = cloud(azure)
    stranger = Cloud(
        there.name, there.resource_manager, there.authority, there.aml_resource, there.portal, own=True, ca=None
    )
    client = Arm(stranger, Login("cli", stranger))
    with pytest.raises(Unreachable, match="does not verify") as refused:
        await client.get(workspace.path, API)
    await client.aclose()
    assert "ca = " in refused.value.advice
    assert azure.state.made == []


async def test_the_authority_of_a_proxy_in_the_environment(
    azure: Emulator, workspace: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = cloud(azure)
    plain = Cloud(there.name, there.resource_manager, there.authority, there.aml_resource, there.portal, own=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(azure.ca))
    client = Arm(plain, Login("cli", plain))
    assert await client.get(workspace.path, API)
    await client.aclose()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent.pem")
    client = Arm(plain, Login("cli", plain))
    with pytest.raises(Unreachable, match=r"/nonexistent\.pem"):
        await client.get(workspace.path, API)
    await client.aclose()


async def test_a_manager_that_is_not_there(azure: Emulator) -> None:
    there = cloud(azure)
    gone = Cloud(there.name, "https://localhost:9", there.authority, there.aml_resource, there.portal, own=True)
    client = Arm(gone, Login("cli", gone))
    with pytest.raises(Unreachable, match="nothing listens on localhost:9"):
        await client.get("/subscriptions", API)
    await client.aclose()


def test_a_name_never_becomes_another_path() -> None:
    assert path_of("subscriptions", "../evil?x=1#y", "a b") == "/subscriptions/..%2Fevil%3Fx%3D1%23y/a%20b"


async def test_the_version_and_the_query_go_along(azure: Emulator, workspace: Sample) -> None:
    async with arm(azure) as client:
        await client.get(f"{workspace.path}/models", "2023-08-01-preview", {"listViewType": "All", "$top": 3})
    made = azure.state.made[0]
    assert made.query == {"api-version": "2023-08-01-preview", "listViewType": "All", "$top": "3"}
    assert json.loads(made.body or b"null") is None


async def _until(true: Any, deadline_s: float = 20.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not true():  # noqa: ASYNC110  # it happens in another task
            await asyncio.sleep(0.01)


async def test_what_a_first_request_needs_is_made_beside_the_loop(
    azure: Emulator, workspace: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the authorities takes 20 ms and more, in which no key would be answered."""
    made_in: list[threading.Thread] = []
    real = Connections._read_authorities

    def made(self: Connections) -> Any:
        made_in.append(threading.current_thread())
        return real(self)

    monkeypatch.setattr(Connections, "_read_authorities", made)
    async with arm(azure) as client:
        await asyncio.gather(*(client.get(workspace.path, API) for _ in range(5)))
    assert len(made_in) == 1
    assert made_in[0] is not threading.main_thread()
