"""The row `cluster`: the dashboard over a Kubernetes of 1,000 pods, 200 of which serve Triton.

The API server, the controllers and one Triton pod are real. The other pods are objects that no kubelet runs: their
scheduler does not exist, their status is written here, and those that are Triton's have the address of the real one.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import statistics
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.kubernetes.client.api import Api
from backends.kubernetes.client.kubeconfig import find_access
from backends.kubernetes.client.objects import mapping, rows, text
from backends.kubernetes.client.paths import resource
from benchmarks.dashboard import SETTLE_S
from benchmarks.figure import Figure
from benchmarks.servers import ROOT, Stage, command
from benchmarks.terminal import NotSeen, Terminal, running
from tritonctl.errors import TritonctlError

IMAGE = os.environ.get("TRITONCTL_TEST_IMAGE", "tritonserver:24.10-py3")
TRITON = (100, 2)  # deployments, pods of each
OTHERS = (40, 20)
_TOGETHER = 16
_MADE_S = 300.0
_MADE = re.compile(r"\b2/2\b")


def rows_of(stage: Stage, runs: int, quick: bool) -> list[Figure]:
    """First frame, standing cost, and a pod that is killed."""
    try:
        with _crowd() as crowd:
            return [*_start(crowd, stage, runs), *_stand(crowd, stage, runs, quick), _killed(crowd, stage, quick)]
    except TritonctlError as error:  # the cluster went away
        raise NotSeen(str(error)) from None


@dataclass
class Crowd:
    """`namespaces` are this run's own."""

    kubeconfig: Path
    namespaces: tuple[str, ...]
    settings: Path

    def command(self) -> list[str]:
        return command("--config", str(self.settings))

    def kill(self, chance: random.Random, before: set[str]) -> tuple[str, float]:
        """The service that loses a pod, none of `before`, and the perf_counter time just before it is asked for."""
        return asyncio.run(self._kill(chance, before))

    async def _kill(self, chance: random.Random, before: set[str]) -> tuple[str, float]:
        async with opened(self.kubeconfig) as api:
            pods = await api.list(resource("v1", "pods", self.namespaces[0]), {"labelSelector": "app"})
            ready = [each for each in pods if text(mapping(each, "status"), "phase") == "Running"]
            whole = [each for each in ready[:60] if _app(each) not in before]
            meta = mapping(chance.choice(whole), "metadata")
            began = time.perf_counter()
            await api.delete(resource("v1", "pods", text(meta, "namespace"), text(meta, "name")))
            return text(mapping(meta, "labels"), "app"), began


def _app(pod: dict[str, Any]) -> str:
    return text(mapping(mapping(pod, "metadata"), "labels"), "app")


def _start(crowd: Crowd, stage: Stage, runs: int) -> list[Figure]:
    times = []
    for _ in range(runs + 1):
        with running(crowd.command(), stage.environ()) as terminal:
            times.append(terminal.until(_listed, "the services") - terminal.began)
    what = "tritonctl to the services of a cluster of 1,000 pods"
    return [Figure("cluster", what, "s", tuple(times[1:]), 1.5, note="200 pods serve Triton")]


def _stand(crowd: Crowd, stage: Stage, runs: int, quick: bool) -> list[Figure]:
    window_s = 20.0 if quick else 40.0
    cpu, memory = [], []
    for _ in range(runs):
        with running(crowd.command(), stage.environ()) as terminal:
            terminal.until(_listed, "the services")
            terminal.watch(SETTLE_S * 2)
            before = terminal.cpu_s()
            terminal.watch(window_s)
            cpu.append((terminal.cpu_s() - before) / window_s * 100)
            memory.append(terminal.rss_mb())
    return [
        Figure("cluster", "… standing on the services table: CPU", "% of a core", tuple(cpu), 4.0),
        Figure("cluster", "… resident memory", "MB", tuple(memory), 160.0),
    ]


def _killed(crowd: Crowd, stage: Stage, quick: bool) -> Figure:
    chance = random.Random(5)
    delays: list[float] = []
    killed: set[str] = set()
    with running(crowd.command(), stage.environ()) as terminal:
        terminal.until(_listed, "the services")
        terminal.watch(SETTLE_S)
        for _ in range(4 if quick else 12):
            terminal.send("g")  # to the top: the worst is there, and the cursor stays with its service
            terminal.watch(chance.uniform(0.5, 1.5))
            service, began = crowd.kill(chance, killed)
            killed.add(service)
            delays.append(_until_lost(terminal, service) - began)
    note = f"longest of {len(delays)}: {max(delays):.2f} s"
    return Figure("cluster", "… a pod killed → on screen", "s", (statistics.median(delays),), 0.3, note=note)


def _until_lost(terminal: Terminal, service: str) -> float:
    pattern = re.compile(rf"/{service} .*\b1/2\b")
    return terminal.until(lambda lines: any(pattern.search(line) for line in lines), f"{service} with a pod less")


def _listed(lines: list[str]) -> bool:
    """The screen shows them, below what others run on this cluster and what fails there."""
    return sum("/triton-" in line and bool(_MADE.search(line)) for line in lines) > 8


@contextmanager
def _crowd() -> Iterator[Crowd]:
    """Raises NotSeen where there is no cluster."""
    given = os.environ.get("TRITONCTL_TEST_KUBECONFIG")
    if given is None:
        found = subprocess.run([ROOT / "scripts" / "cluster", "start"], capture_output=True, text=True, check=False)
        if found.returncode != 0:
            raise NotSeen(f"no cluster: {found.stderr.strip()}")
        given = found.stdout.strip().splitlines()[-1]
    kubeconfig = Path(given)
    mark = uuid.uuid4().hex[:6]
    namespaces = (f"bench-{mark}-triton", f"bench-{mark}-others")
    settings = kubeconfig.parent / f"bench-{mark}.toml"
    settings.write_text(f'[backends.k8s]\nkind = "kubernetes"\nkubeconfig = "{kubeconfig}"\n', encoding="utf-8")
    try:
        asyncio.run(_make(kubeconfig, namespaces))
        yield Crowd(kubeconfig, namespaces, settings)
    finally:
        settings.unlink()
        asyncio.run(_clear(kubeconfig, namespaces))


class opened:
    def __init__(self, kubeconfig: Path) -> None:
        self._api = Api(find_access(kubeconfig, None, os.environ, Path.home()))

    async def __aenter__(self) -> Api:
        return self._api

    async def __aexit__(self, *_: object) -> None:
        await self._api.aclose()


async def _make(kubeconfig: Path, namespaces: tuple[str, ...]) -> None:
    async with opened(kubeconfig) as api:
        for name in namespaces:
            await api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        await _until_accounts(api, namespaces)
        await api.create(resource("v1", "pods", namespaces[0]), _real())
        triton = [_deployment(f"triton-{number:03}", TRITON[1], True) for number in range(TRITON[0])]
        others = [_deployment(f"other-{number:03}", OTHERS[1], False) for number in range(OTHERS[0])]
        for namespace, bodies in zip(namespaces, (triton, others), strict=True):
            for body in bodies:
                await api.create(resource("apps/v1", "deployments", namespace), body)
        address = await _address(api, namespaces[0])
        counts = (TRITON[0] * TRITON[1], OTHERS[0] * OTHERS[1])
        for namespace, count in zip(namespaces, counts, strict=True):
            await _run_all(api, namespace, count, address)


async def _until_accounts(api: Api, namespaces: tuple[str, ...]) -> None:
    """No pod can be made in a namespace before its default account is there."""
    for namespace in namespaces:
        path = resource("v1", "serviceaccounts", namespace, "default")
        while True:
            with suppress(TritonctlError):
                if rows(await api.get(path), "secrets"):
                    break
            await asyncio.sleep(0.1)


def _real() -> dict[str, Any]:
    container = {
        "name": "triton",
        "image": IMAGE,
        "command": ["sh", "-c", "mkdir -p /models && exec tritonserver --model-repository=/models"],
    }
    return {"metadata": {"name": "real"}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}


async def _address(api: Api, namespace: str) -> str:
    for _ in range(600):
        found = text(mapping(await api.get(resource("v1", "pods", namespace, "real")), "status"), "podIP")
        if found:
            return found
        await asyncio.sleep(0.1)
    raise NotSeen("the one real Triton pod did not start")


def _deployment(name: str, count: int, triton: bool) -> dict[str, Any]:
    """A pod of it is about as large as those of a chart: 5 kB."""
    words = ["tritonserver", "--model-repository=/models", "--model-control-mode=explicit"]
    container: dict[str, Any] = {
        "name": "triton" if triton else "web",
        "image": IMAGE if triton else "registry.example/web:1.2.3",
        "args": words if triton else ["serve", "--port=8080"],
        "env": [{"name": f"SETTING_{number}", "value": "v" * 40} for number in range(20)],
        "ports": [{"name": "http", "containerPort": 8000 if triton else 8080}],
        "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": 8000}},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    labels = {"app": name, "app.kubernetes.io/managed-by": "Helm", "team": "models"}
    template = {
        "metadata": {"labels": labels, "annotations": {"checksum/config": "0" * 64}},
        "spec": {"schedulerName": "bench", "containers": [container]},
    }
    spec = {"replicas": count, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


async def _run_all(api: Api, namespace: str, count: int, address: str) -> None:
    """Waits until the controllers have made every pod, and writes each one's status as a kubelet would."""
    began = time.monotonic()
    done: set[str] = set()
    while len(done) < count:
        if time.monotonic() - began > _MADE_S:
            raise NotSeen(f"{len(done)} of {count} pods were made in {_MADE_S:.0f} s")
        names = [text(mapping(each, "metadata"), "name") for each in await _made(api, namespace)]
        new = [name for name in names if name not in done]
        limit = asyncio.Semaphore(_TOGETHER)
        await asyncio.gather(*(_run(api, namespace, name, address, limit) for name in new))
        done.update(new)
        await asyncio.sleep(0.5)


async def _made(api: Api, namespace: str) -> list[dict[str, Any]]:
    return await api.list(resource("v1", "pods", namespace), {"labelSelector": "app"})


async def _run(api: Api, namespace: str, name: str, address: str, limit: asyncio.Semaphore) -> None:
    container = "triton" if name.startswith("triton") else "web"
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": since,
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": since}
            for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
        ],
        "containerStatuses": [
            {
                "name": container,
                "ready": True,
                "started": True,
                "restartCount": 0,
                "image": IMAGE,
                "imageID": "docker://sha256:" + "0" * 64,
                "containerID": "docker://" + "1" * 64,
                "state": {"running": {"startedAt": since}},
            }
        ],
    }
    async with limit:
        await api.patch(resource("v1", "pods", namespace, name, "status"), {"status": status})


async def _clear(kubeconfig: Path, namespaces: tuple[str, ...]) -> None:
    async with opened(kubeconfig) as api:
        for name in namespaces:
            with suppress(TritonctlError):
                await api.delete(resource("v1", "namespaces", "", name))
