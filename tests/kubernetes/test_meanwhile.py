"""What others do to a cluster between a look and a change, and what a busy API server says, without a cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from backends.kubernetes.changes import actions, rolling, rollout
from backends.kubernetes.changes.ground import Ground
from backends.kubernetes.changes.kubectl import Kubectl, Target
from backends.kubernetes.client import reflector as reflector_module
from backends.kubernetes.client.kinds import DEPLOYMENTS, PODS, Kind
from backends.kubernetes.client.reflector import Reflector
from backends.kubernetes.client.rights import Rights
from backends.kubernetes.lastwords import LastWords
from backends.kubernetes.store import Key, Store
from tests.answering import answer, read_request, responding
from tests.kubernetes.test_api import api_to, document, status
from tests.waiting import until
from tritonctl.backend import Capability, Intent
from tritonctl.errors import OperationFailed, Unreachable
from tritonctl.inventory import Level, Platform, Service

IMAGE = "nvcr.io/nvidia/tritonserver:24.10-py3"
CONTAINER = {"name": "triton", "image": IMAGE, "args": ["tritonserver", "--model-repository=/m"]}


def web(labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "n", "name": "web", "uid": "u", "labels": labels or {}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [CONTAINER]}},
        },
    }


def pod(**status: Any) -> dict[str, Any]:
    meta = {"namespace": "n", "name": "web-1", "uid": "p", "labels": {"app": "web"}}
    return {"metadata": meta, "spec": {"containers": [CONTAINER]}, "status": {"phase": "Running", **status}}


def ground_of(api: Any, value: str = "") -> Ground:
    service = Service("k/n/web", "k", "deployment", "n/web", Platform("2/2", Level.OK))
    intent = Intent(Capability.SCALE, service, value)
    target = Target(DEPLOYMENTS, "n", "web")
    return Ground(api, Rights(api), target, web(), Kubectl(), 5.0, intent=intent, read_only=False)


async def test_a_number_that_somebody_sets_in_the_same_moment_is_not_overwritten() -> None:
    patched: list[str] = []
    now = {"replicas": 2}

    def respond(method: str, target: str) -> bytes:
        if "selfsubjectaccessreviews" in target:
            return document(status={"allowed": True})
        if method == "PATCH":
            patched.append(target)
            now["replicas"] = 5  # somebody else's, which is why this one is refused
            return status(409, "the object has been modified")
        return document(metadata={"resourceVersion": "1"}, spec=now, items=[])

    async with api_to(responding(respond)) as api:
        plan = await actions.scale(ground_of(api, "3"))
        with pytest.raises(OperationFailed, match="changed by somebody else"):
            await plan.steps[0].run()
    assert len(patched) == 1


async def test_a_status_that_changes_meanwhile_holds_no_scale_up() -> None:
    refused = [409, 409, 200]

    def respond(method: str, target: str) -> bytes:
        if "selfsubjectaccessreviews" in target:
            return document(status={"allowed": True})
        if method == "PATCH":
            code = refused.pop(0)
            return status(409, "the object has been modified") if code == 409 else document()
        return document(metadata={"resourceVersion": "1"}, spec={"replicas": 2}, items=[])

    async with api_to(responding(respond)) as api:
        plan = await actions.scale(ground_of(api, "3"))
        assert await plan.steps[0].run() == "set to 3"
    assert not refused


async def test_an_api_server_that_is_away_for_a_moment_undoes_no_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def pods_of(*_: object) -> list[dict[str, Any]]:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise Unreachable("GET pods", "the API server is away")
        return [pod()]

    async def answers(*_: object) -> bool:
        return True

    monkeypatch.setattr(rollout, "pods_of", pods_of)
    monkeypatch.setattr(rolling, "_answers", answers)
    monkeypatch.setattr(rolling, "_LOOK_S", 0.01)
    await rolling._servers_answer(ground_of(None), lambda _: True)
    assert asked == 3


async def test_a_busy_api_server_is_asked_again_for_the_watch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reflector_module, "_BUSY_S", 0.02)
    asked: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, target, _ = await read_request(reader)
            watched = "watch=true" in target
            asked.append("watch" if watched else "list")
            if watched and asked.count("watch") < 3:
                writer.write(status(429, "too many requests"))
            elif watched:
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            else:
                writer.write(answer(json.dumps({"metadata": {"resourceVersion": "7"}, "items": [pod()]})))
            await writer.drain()

    class Kept:
        def put(self, kind: Kind, document: Mapping[str, Any]) -> None: ...

        def remove(self, kind: Kind, namespace: str, name: str) -> None: ...

        def keep_only(self, kind: Kind, namespace: str, names: set[tuple[str, str]]) -> None: ...

    async with api_to(handle) as api:
        task = asyncio.create_task(Reflector(api, PODS, "", Kept()).run())
        await until(lambda: asked.count("watch") == 3)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert asked.count("list") == 1


async def test_a_log_that_its_node_has_no_more_gives_no_last_words() -> None:
    ended = {"exitCode": 1, "reason": "Error", "finishedAt": "2026-01-02T03:04:05Z"}
    states = [{"name": "triton", "restartCount": 1, "state": {}, "lastState": {"terminated": ended}}]
    gone = answer("unable to retrieve container logs for containerd://abc")
    async with api_to(responding(lambda _method, _target: gone)) as api:
        store = Store()
        words = LastWords(api, store)
        store.put(PODS, pod(containerStatuses=states))
        for mark, each, previous in words.unknown():
            await words.read(mark, each, previous)
    (seen,) = store.pods.values()
    assert seen.pod.statuses[0].last is not None
    assert seen.pod.statuses[0].last.message == ""


def test_a_workload_that_gets_another_owner_stands_in_one_place() -> None:
    store = Store()
    store.put(DEPLOYMENTS, web())
    assert store.keys() == {Key("n", "Deployment", "web")}
    store.put(DEPLOYMENTS, web({"serving.kserve.io/inferenceservice": "digits"}))
    assert store.keys() == {Key("n", "InferenceService", "digits")}
