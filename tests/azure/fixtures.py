"""The fixture `azure`: an emulator of one test's own, empty but for its `az`."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure.emulator import Emulator, running
from tests.azure.sample import Sample
from tests.components import need


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """`az` of the emulator is first on PATH; no variable of the person's own login is left."""
    need("azure")
    # MLClient sets AZUREML_CURRENT_CLOUD for the whole process: set here, so that it is set back.
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "AzureCloud")
    for name in [name for name in os.environ if name.startswith(("AZURE_", "REQUESTS_CA_BUNDLE"))]:
        monkeypatch.delenv(name)
    resolved = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        # The blob store is at ACCOUNT.blob.localhost, which RFC 6761 sends to loopback, and not every resolver does.
        lambda host, *more, **named: resolved(
            "localhost" if isinstance(host, str) and host.endswith(".localhost") else host, *more, **named
        ),
    )
    folder = tmp_path / "azure"
    folder.mkdir()
    with running(folder) as emulator:
        monkeypatch.setenv("PATH", emulator.environment["PATH"])
        yield emulator
        emulator.az.set("logged out")  # one that hangs ends now, and so does the thread that waits for it
    for thread in threading.enumerate():
        if thread.name.startswith("token "):
            thread.join(30)
            assert not thread.is_alive(), thread.name


@pytest.fixture
def workspace(azure: Emulator) -> Sample:
    """An empty workspace ws1."""
    return Sample(azure)
