"""The emulator's fixtures for the tests in this folder."""

from tests.azure.fixtures import azure, workspace

__all__ = ["azure", "workspace"]
