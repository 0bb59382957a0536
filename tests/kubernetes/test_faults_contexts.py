"""Contexts that hang or lead nowhere, among good ones of the same kubeconfig."""

from __future__ import annotations

import json
import time
from pathlib import Path

from backends.kubernetes.backend import KubernetesBackend
from tests.kubernetes.acting import until, until_snapshot
from tests.kubernetes.space import Space, condition, rule
from tritonctl.fleet import Fleet
from tritonctl.inventory import BackendState
from tritonctl.settings_backends import KubernetesSettings

LOOK = [
    rule("get list watch", "pods services events configmaps"),
    rule("get list watch", "deployments replicasets statefulsets daemonsets", "apps"),
    rule("get list watch", "jobs", "batch"),
    rule("get", "pods/log"),
]


async def test_good_contexts_are_not_held_up_by_one_that_hangs_and_one_that_leads_nowhere(
    space: Space, tmp_path: Path
) -> None:
    """Three good ones in one kubeconfig with a plugin that never ends and an address where nobody is."""
    hang = tmp_path / "hang"
    hang.write_text("#!/bin/sh\nexec sleep 300\n")
    hang.chmod(0o755)
    config = json.loads(space.write_kubeconfig("base", {"token": space.account("reader", LOOK)}).read_text())
    good = config["contexts"][0]["context"]
    login = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(hang)}
    config["users"].append({"name": "hangs", "user": {"exec": login}})
    config["clusters"].append({"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}})
    contexts = dict.fromkeys(("a", "b", "c"), good)
    contexts |= {"hangs": {**good, "user": "hangs"}, "nowhere": {**good, "cluster": "nowhere"}}
    config["contexts"] = [{"name": name, "context": each} for name, each in contexts.items()]
    file = tmp_path / "config"
    file.write_text(json.dumps(config))
    space.triton("web", kind="Pod")
    await space.until("Pod", "web", condition("Ready"))
    backends = [
        KubernetesBackend(
            KubernetesSettings(name=name, where="test", kubeconfig=file, context=name, namespaces=(space.name,))
        )
        for name in contexts
    ]
    began = time.monotonic()
    async with Fleet(backends, probing=False) as fleet:
        for name in ("a", "b", "c"):
            await until(fleet, f"{name}/{space.name}/web", lambda each: each.service.platform.state == "Running")
        assert time.monotonic() - began < 5
        states = {each.name: each.state for each in fleet.snapshot.backends}
        assert states["hangs"] is BackendState.CONNECTING
        snapshot = await until_snapshot(
            fleet, lambda now: {each.name: each.state for each in now.backends}["nowhere"] is BackendState.LOST
        )
        assert [each for each in snapshot.services if each.service.backend in ("hangs", "nowhere")] == []
