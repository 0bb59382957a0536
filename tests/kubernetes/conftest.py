"""The fixtures of the tests on a real Kubernetes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kubernetes.cluster import cluster
from tests.kubernetes.space import space

__all__ = ["cluster", "space"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the cluster to come up: that does not count."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300, func_only=True))
