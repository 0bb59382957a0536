"""The gate before the API server passes everything on, and breaks what it is told to break."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl

import httpx
import pytest

from tests.kubernetes.gate import Gate, gate_to
from tests.kubernetes.space import Space, rule


def client_of(gate: Gate) -> httpx.AsyncClient:
    config = json.loads(gate.kubeconfig.read_text(encoding="utf-8"))
    place = config["clusters"][0]["cluster"]
    user = config["users"][0]["user"]
    trust = ssl.create_default_context(cadata=base64.b64decode(place["certificate-authority-data"]).decode())
    headers = {"Authorization": f"Bearer {user['token']}"} if user else {}
    return httpx.AsyncClient(base_url=place["server"], verify=trust, headers=headers, trust_env=False, timeout=10)


async def test_requests_pass_and_are_seen_and_answers_can_be_made_up(space: Space) -> None:
    async with gate_to(space) as gate, client_of(gate) as client:
        where = f"/api/v1/namespaces/{space.name}/configmaps"
        made = await client.post(where, json={"metadata": {"name": "a"}, "data": {"k": "v" * 200_000}})
        assert made.status_code == 201
        gate.answer("GET", "/configmaps$", 429, "TooManyRequests", headers={"Retry-After": "1"}, times=1)
        refused = await client.get(where)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert len((await client.get(where, params={"limit": "5"})).json()["items"]) >= 1
        assert [(each.method, each.query) for each in gate.asked("GET", "configmaps")] == [
            ("GET", {}),
            ("GET", {"limit": "5"}),
        ]


async def test_a_watch_that_is_cut_breaks_and_one_that_is_held_is_silent(space: Space) -> None:
    async with gate_to(space) as gate, client_of(gate) as client:
        where = f"/api/v1/namespaces/{space.name}/pods"
        async with client.stream("GET", where, params={"watch": "1"}) as watch:
            lines = watch.aiter_lines()
            gate.hold()
            space.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": space.pod_spec()})
            waiting = asyncio.ensure_future(anext(lines))
            done, _ = await asyncio.wait([waiting], timeout=0.5)
            assert not done
            gate.open()
            assert json.loads(await waiting)["object"]["metadata"]["name"] == "p"
            assert gate.cut("/pods$") == 1
            with pytest.raises(httpx.TransportError):
                async for _ in lines:
                    pass
        gate.shut()
        with pytest.raises(httpx.TransportError):
            await client.get(where)


async def test_a_token_goes_through_as_it_is(space: Space) -> None:
    token = space.account("reader", [rule("get list", "pods")])
    async with gate_to(space, {"token": token}) as gate, client_of(gate) as client:
        assert (await client.get(f"/api/v1/namespaces/{space.name}/pods")).status_code == 200
        assert (await client.get(f"/api/v1/namespaces/{space.name}/secrets")).status_code == 403
