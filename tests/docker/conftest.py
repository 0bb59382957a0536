"""The fixtures of the tests on a real Docker Engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docker.place import engine, place

__all__ = ["engine", "place"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the engine, which may have to build its image: that does not count."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300, func_only=True))
