"""The clients of the tests: an Arm over the emulator, signed in one way or the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backends.azure.arm import Arm
from backends.azure.clouds import Cloud, cloud_of
from backends.azure.credentials import Login
from tests.azure.emulator import Emulator

API = "2023-04-01"


def cloud(azure: Emulator) -> Cloud:
    return cloud_of(azure.cloud, azure.ca)


@asynccontextmanager
async def arm(azure: Emulator, kind: str = "cli", *, at_once: int = 8, poll_s: float = 0.05) -> AsyncIterator[Arm]:
    client = Arm(cloud(azure), Login(kind, cloud(azure)), at_once=at_once, poll_s=poll_s)
    try:
        yield client
    finally:
        await client.aclose()
