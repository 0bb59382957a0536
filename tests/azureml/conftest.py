"""The emulator's fixtures, and the command line set up for it, for the tests in this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.azure.emulator import Emulator
from tests.azure.fixtures import azure, workspace
from tests.commands.process import Tritonctl

__all__ = ["azure", "workspace"]


@pytest.fixture
def tritonctl(azure: Emulator, tmp_path: Path) -> Tritonctl:
    """Its settings name the workspace ws1; an operation is asked for every second."""
    azure.state.default_script.retry_after = "1"
    command = Tritonctl(tmp_path / "home", {"PATH": azure.environment["PATH"]})
    command.settings(azure.config({"ws": "ws1"}, {}))
    return command
