"""The clients of the tests: an Arm over the emulator, signed in one way or the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from backends.azure.arm import Arm
from backends.azure.clouds import Cloud, cloud_of
from backends.azure.credentials import Login
from tests.azure.emulator import Emulator
from tests.azure.shapes import GROUP, SUBSCRIPTION

API = "2023-04-01"


def cloud(azure: Emulator) -> Cloud:
    return cloud_of(azure.cloud, azure.ca)


def ml_client(azure: Emulator) -> Any:
    """Microsoft's own client of the workspace ws1, unmodified."""
    from azure.ai.ml import MLClient
    from azure.identity import AzureCliCredential

    place = cloud(azure)
    # Its URLs end in a slash (azure-ai-ml, _azure_environments.py).
    addresses = {
        "azure_portal": f"{place.resource_manager}/",
        "resource_manager": f"{place.resource_manager}/",
        "active_directory": f"{place.authority}/",
        "aml_resource_id": f"{place.aml_resource}/",
        "storage_endpoint": "core.windows.net",
        "registry_discovery_endpoint": f"{place.resource_manager}/",
    }
    return MLClient(
        AzureCliCredential(),
        SUBSCRIPTION,
        GROUP,
        "ws1",
        cloud=azure.cloud_name,
        cloud_metadata=addresses,
        connection_verify=str(azure.ca),
        enable_telemetry=False,
        show_progress=False,
    )


@asynccontextmanager
async def arm(azure: Emulator, kind: str = "cli", *, at_once: int = 8, poll_s: float = 0.05) -> AsyncIterator[Arm]:
    client = Arm(cloud(azure), Login(kind, cloud(azure)), at_once=at_once, poll_s=poll_s)
    try:
        yield client
    finally:
        await client.aclose()
