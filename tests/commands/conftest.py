"""What the tests of the commands share: the command line in a home of its own, and the servers it looks at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.process import Tritonctl
from tests.servers import Factory, Running


@pytest.fixture
def tritonctl(tmp_path: Path) -> Tritonctl:
    return Tritonctl(tmp_path / "home")


@pytest.fixture
def demo(triton: Factory) -> Running:
    """The server of the demo without its traffic, shared by all tests: what is loaded must stay as it is."""
    return triton.demo()
