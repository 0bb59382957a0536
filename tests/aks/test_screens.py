"""An AKS cluster in the dashboard: its row, and stopping it behind its typed name."""

from __future__ import annotations

from pathlib import Path

from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.azure.shapes import cluster_path
from tests.azure.state import Script
from tests.tui.process import running


async def test_a_cluster_is_stopped_by_keys(azure: Emulator, workspace: Sample, tmp_path: Path) -> None:
    workspace.cluster("prod-aks", server="https://127.0.0.1:9")
    azure.state.scripts.append(("POST", "/stop", Script(3.0)))
    config = tmp_path / "config.toml"
    config.write_text(azure.config({}, {"aks": "prod-aks"}), encoding="utf-8")
    home = tmp_path / "home"
    home.mkdir()
    async with running("--config", str(config), home=home, size=(150, 40)) as terminal:
        await terminal.sees("aks/prod-aks", "Running", "login until")
        terminal.type("X")
        await terminal.sees("Stop the AKS cluster prod-aks", "billed by the hour", "az aks stop", "type prod-aks")
        assert azure.state.requests("POST", "/stop$") == []
        terminal.type("\tprod-aks\r")
        await terminal.sees("Stopping")
        await terminal.sees("Stopped", "[ Close ]")
        terminal.type("\r")
        await terminal.until(lambda: "[ Close ]" not in terminal.text)
        terminal.hang_up()
        await terminal.ends()
    document = azure.state.get(cluster_path("prod-aks"))
    assert document is not None
    assert document["properties"]["powerState"] == {"code": "Stopped"}
