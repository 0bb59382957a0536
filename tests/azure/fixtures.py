"""The fixture `azure`: an emulator of one test's own, empty but for its `az`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure.emulator import Emulator, running
from tests.azure.sample import Sample


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """`az` of the emulator is first on PATH; no variable of the person's own login is left."""
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZUREML_CURRENT_CLOUD"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "azure"
    folder.mkdir()
    with running(folder) as emulator:
        monkeypatch.setenv("PATH", emulator.environment["PATH"])
        yield emulator


@pytest.fixture
def workspace(azure: Emulator) -> Sample:
    """An empty workspace ws1."""
    return Sample(azure)
