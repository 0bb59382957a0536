"""The whole way by commands alone: find a service, read why a model failed, load, switch the mode, infer, delete."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.kubernetes.acting import GRACEFUL, PATIENT, traffic
from tests.kubernetes.cluster import ROOT
from tests.kubernetes.space import BROKEN, Space, ready
from tests.servers import IDENTITY


async def tritonctl(space: Space, *words: str, code: int = 0) -> str:
    """What it prints. Its home is the test's, and its settings name this namespace."""
    settings = space.folder / "config" / "tritonctl" / "config.toml"
    if not settings.exists():
        settings.parent.mkdir(parents=True)
        place = f'kind = "kubernetes"\nkubeconfig = "{space.cluster.kubeconfig}"\nnamespaces = ["{space.name}"]'
        settings.write_text(f"[backends.k8s]\n{place}\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRITONCTL_", "KUBECONFIG"))}
    own = {"XDG_CONFIG_HOME": str(space.folder / "config"), "XDG_STATE_HOME": str(space.folder / "state")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tui.cli", "--backend", "k8s", *words),
        cwd=ROOT,
        env={**kept, **own},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(180):
            out, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == code, f"{words}: {out.decode()} {said.decode()}"
    return out.decode() if code == 0 else said.decode()


async def document(space: Space, *words: str) -> Any:
    return json.loads(await tritonctl(space, *words, "-o", "json", "--timeout", "90"))


async def test_from_finding_to_deleting(space: Space) -> None:
    space.models({"one": IDENTITY, "two": IDENTITY, "broken": BROKEN})
    # Else a load that fails takes both pods out of the traffic: their readiness is the server's own.
    flags = ("--model-control-mode=explicit", "--load-model=one", "--strict-readiness=false")
    space.triton("web", *flags, replicas=2, container=GRACEFUL, pod=PATIENT)
    space.service("web")
    await space.until("Deployment", "web", ready(2))
    service = f"k8s/{space.name}/web"
    (listed,) = await document(space, "services")
    assert (listed["id"], listed["kind"]) == (service, "deployment")
    assert listed["replicas"] == {"ready": 2, "total": 2}
    assert (listed["server"]["ready"], listed["server"]["control_mode"]) == (True, "explicit")

    # A model fails, and its reason is the server's own; the plan names both pods.
    plan = await document(space, "load", service, "broken", "--dry-run")
    assert len(plan["steps"]) == 2
    assert all("create --raw" in step["call"] and "kubectl --kubeconfig " in step["call"] for step in plan["steps"])
    assert "torchaudio" in await tritonctl(space, "load", service, "broken", "--yes", code=1)
    models = {each["name"]: each for each in await document(space, "models", service)}
    assert "No module named 'torchaudio'" in models["broken"]["reason"]
    assert len(models["broken"]["replicas"]) == 2

    done = await document(space, "load", service, "two", "--yes")
    assert [step["state"] for step in done["steps"]] == ["done", "done"]
    models = {each["name"]: each for each in await document(space, "models", service)}
    assert [each["state"] for each in models["two"]["replicas"]] == ["READY", "READY"]

    answer = await document(space, "infer", service, "two", "--input", "IN=[[1,2,3,4]]")
    assert answer["error"] is None
    assert answer["outputs"][0]["data"] == [1, 2, 3, 4]

    # What the failed model left is gone with the old pods, and what was loaded by hand is carried over.
    async with traffic(space, "web") as sent:
        dry = await document(space, "mode", service, "explicit", "--dry-run")
        assert "--load-model=two" in dry["steps"][0]["call"]
        before = [pod["metadata"]["uid"] for pod in space.pods("web")]
        done = await document(space, "mode", service, "explicit", "--yes")
        assert {step["state"] for step in done["steps"]} == {"done"}
        assert not sent.errors, sent.errors
        assert not sent.without
    assert not set(before) & {pod["metadata"]["uid"] for pod in running(space)}
    await tritonctl(space, "wait", service, "--for", "model=two", "--timeout", "60")
    assert "Started HTTPService" in await tritonctl(space, "logs", service)
    kinds = {each["kind"] for each in await document(space, "events", service)}
    assert {"ScalingReplicaSet", "Revision", "Started"} <= kinds

    document_ = await document(space, "delete", service, "--dry-run")
    offered = {each["id"]: each["chosen"] for each in document_["choices"]}
    assert offered == {"svc/web": False, "cm/models": False}
    await tritonctl(space, "delete", service, "--read-only", "--yes", code=6)
    await tritonctl(space, "delete", service, "--with", "svc/web", "--yes", "--timeout", "120")
    assert space.get("Deployment", "web") is None
    assert space.get("Service", "web") is None
    assert space.get("ConfigMap", "models") is not None
    assert await document(space, "services") == []
    audit = (space.folder / "state" / "tritonctl" / "audit.jsonl").read_text()
    assert "delete deployment/web" in audit
    assert secrets_of(space.cluster.kubeconfig) not in audit


def running(space: Space) -> list[dict[str, Any]]:
    return [pod for pod in space.pods("web") if "deletionTimestamp" not in pod["metadata"]]


def secrets_of(kubeconfig: Path) -> str:
    """A piece of the key that the kubeconfig holds or names."""
    text = kubeconfig.read_text()
    return next(line.split()[-1] for line in text.splitlines() if "client-key" in line or "token:" in line)[-40:]


async def test_the_cluster_is_described_by_its_name(space: Space) -> None:
    """The node is there at once, and not only after somebody has watched for a while."""
    found = await document(space, "describe", "k8s")
    sections = {each["heading"]: {row["name"]: row["value"] for row in each["rows"]} for each in found["sections"]}
    assert sections["nodes"]["ready"]
    assert sections[f"node {space.cluster.node}"]["state"] == "ready"
    nowhere = space.write_kubeconfig("nowhere", {}, server="https://127.0.0.1:9")
    lost = space.folder / "lost.toml"
    lost.write_text(f'[backends.k8s]\nkind = "kubernetes"\nkubeconfig = "{nowhere}"\n')
    assert "nothing listens" in await tritonctl(space, "--config", str(lost), "describe", "k8s", code=5)
