"""The emulator's and the cluster's fixtures for the tests in this folder."""

from tests.azure.fixtures import azure, workspace
from tests.kubernetes.cluster import cluster
from tests.kubernetes.space import space

__all__ = ["azure", "cluster", "space", "workspace"]
