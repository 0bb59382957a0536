"""The commands over an AKS cluster: a process of their own, the emulated Resource Manager, a real Kubernetes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.azure.clouds import AKS_SERVER
from tests.aks.test_real_cluster import READS
from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.azure.state import Script
from tests.components import ROOT
from tests.kubernetes.space import Space, ready


class Commands:
    """`tritonctl` with the emulator's settings."""

    def __init__(self, azure: Emulator, folder: Path, namespace: str | None = None) -> None:
        config = azure.config({}, {"prod": "prod-aks"})
        if namespace is not None:
            config = config.replace("\nsubscription", f'\nnamespaces = ["{namespace}"]\nsubscription')
        self._file = folder / "config.toml"
        self._file.write_text(config, encoding="utf-8")
        self._environ = {**os.environ, "XDG_STATE_HOME": str(folder), "HOME": str(folder)}
        self.audit = folder / "tritonctl" / "audit.jsonl"

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tui.cli", "--config", str(self._file), *words]
        return subprocess.run(
            command, cwd=ROOT, env=self._environ, capture_output=True, text=True, timeout=120, check=False
        )

    def json(self, *words: str) -> Any:
        done = self(*words, "-o", "json", "--timeout", "60")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


async def test_a_server_in_a_pod_is_seen_ready_by_name(
    azure: Emulator, workspace: Sample, space: Space, tmp_path: Path
) -> None:
    authority = space.cluster.ca.encode() if space.cluster.ca else None
    workspace.cluster("prod-aks", server=space.cluster.server, ca=authority)
    token = space.account("nancy", READS)
    azure.az.set(given={AKS_SERVER: token})
    space.triton("web")
    await space.until("Deployment", "web", ready(1))
    run = Commands(azure, tmp_path, space.name)
    services = {each["id"]: each for each in run.json("services")}
    web = services[f"prod/{space.name}/web"]
    assert web["server"]["ready"] is True
    assert web["models"]["ready"] == 2
    assert services["prod/prod-aks"]["platform"]["state"] == "Running"
    models = {each["name"]: each["state"] for each in run.json("models", "web")}
    assert models == {"one": "READY", "two": "READY"}
    assert len([call for call in azure.az.calls if AKS_SERVER in call]) == 2  # one for each command


def test_stop_and_start_by_commands(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    workspace.cluster("prod-aks", server="https://127.0.0.1:9")
    run = Commands(azure, tmp_path)
    plan = run.json("stop", "prod/prod-aks", "--dry-run")
    assert [each["call"].split()[:3] for each in plan["steps"]] == [["az", "aks", "stop"]]
    assert run("stop", "prod/prod-aks").returncode == 6  # nobody confirmed it
    assert azure.state.requests("POST", "/stop$") == []
    assert run("stop", "prod/prod-aks", "--yes").returncode == 0
    (row,) = run.json("services")
    assert row["platform"]["state"] == "Stopped"
    azure.state.scripts.append(
        ("POST", "/start", Script(0.1, "Failed", {"code": "QuotaExceeded", "message": "No cores left."}))
    )
    failed = run("start", "prod/prod-aks", "--yes")
    assert failed.returncode == 1
    assert "QuotaExceeded: No cores left." in failed.stderr
    written = [json.loads(line) for line in run.audit.read_text(encoding="utf-8").splitlines()]
    assert [(each["action"], each["result"]) for each in written] == [("stop", "done"), ("start", "failed")]


@pytest.mark.parametrize(
    ("mode", "words", "code"), [("logged out", "az login", 4), ("hanging", "az account get-access-token", 5)]
)
def test_a_login_that_is_not_there(
    azure: Emulator, workspace: Sample, tmp_path: Path, mode: str, words: str, code: int
) -> None:
    """No service was found: one is unauthorised, or nobody told whether one is."""
    workspace.cluster("prod-aks")
    azure.az.set(mode)
    done = Commands(azure, tmp_path)("services", "--timeout", "40")
    assert done.returncode == code, done.stderr
    assert words in done.stderr
