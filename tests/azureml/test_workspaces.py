"""Which workspace is meant: the settings, a config.json here or above, the defaults of az, the whole subscription."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backends.azureml.workspaces import scope_of
from tests.azure.emulator import Emulator
from tests.azure.sample import Sample
from tests.azure.shapes import GROUP, SUBSCRIPTION
from tests.azureml.place import watched
from tritonctl.errors import UsageError
from tritonctl.inventory import BackendState
from tritonctl.settings_backends import AzureMlSettings

CONFIG = {"subscription_id": "S", "resource_group": "G", "workspace_name": "W"}


def named(**given: Any) -> AzureMlSettings:
    return AzureMlSettings(name="ws", where="config.toml line 1", **given)


def az(home: Path, config: str = "", subscription: str | None = "SUB") -> None:
    folder = home / ".azure"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config").write_text(config)
    known = [{"id": "other", "isDefault": False}, {"id": subscription, "isDefault": True, "tenantId": "T"}]
    # az writes this file with a byte order mark.
    (folder / "azureProfile.json").write_text(json.dumps({"subscriptions": known}), encoding="utf-8-sig")


def test_the_settings_come_first(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    scope = scope_of(named(subscription="s", resource_group="g", workspace="w"), {}, tmp_path, tmp_path)
    assert (scope.subscription, scope.resource_group, scope.workspace) == ("s", "g", "w")


@pytest.mark.parametrize("place", ["config.json", ".azureml/config.json"])
@pytest.mark.parametrize("depth", ["", "a/b"])
def test_a_config_json_here_or_above(tmp_path: Path, place: str, depth: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(json.dumps(CONFIG))
    here = tmp_path / depth
    here.mkdir(parents=True, exist_ok=True)
    scope = scope_of(named(), {}, here, tmp_path / "home")
    assert (scope.subscription, scope.resource_group, scope.workspace) == ("S", "G", "W")
    assert scope.source == str(tmp_path / place)


def test_a_config_json_of_somebody_else_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"port": 8000}')
    az(tmp_path / "home", "[defaults]\ngroup = g\nworkspace = w\n")
    scope = scope_of(named(), {}, tmp_path, tmp_path / "home")
    assert (scope.subscription, scope.resource_group, scope.workspace, scope.tenant) == ("SUB", "g", "w", "T")


def test_variables_of_az_come_before_its_file(tmp_path: Path) -> None:
    az(tmp_path, "[defaults]\ngroup = g\nworkspace = w\n")
    environ = {"AZURE_DEFAULTS_WORKSPACE": "v", "AZURE_SUBSCRIPTION_ID": "E"}
    scope = scope_of(named(), environ, tmp_path, tmp_path)
    assert (scope.subscription, scope.resource_group, scope.workspace) == ("E", "g", "v")


def test_nothing_known_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        scope_of(named(), {}, tmp_path, tmp_path)
    assert "az configure --defaults" in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", '{"subscription_id": "S"}'])
def test_a_config_that_is_named_must_be_whole(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(UsageError):
        scope_of(named(config=tmp_path / "c.json"), {}, tmp_path, tmp_path)


async def test_all_workspaces_of_a_subscription_are_found_and_told_apart(azure: Emulator) -> None:
    for name in ("one", "two"):
        sample = Sample(azure, name)
        sample.endpoint("ep", crowd=True)
        sample.deployment("ep", "blue")
    async with watched(azure, workspace=None, resource_group=None) as place:
        await place.until(lambda: place.names == ["one/ep/blue", "two/ep/blue"])


async def test_a_workspace_by_name_is_found_in_its_subscription(azure: Emulator) -> None:
    for name in ("one", "two"):
        Sample(azure, name).endpoint(f"ep-{name}", crowd=True)
    async with watched(azure, workspace="two", resource_group=None) as place:
        assert place.names == ["ep-two"]


async def test_a_workspace_that_is_not_there_is_named_with_those_that_are(azure: Emulator) -> None:
    Sample(azure, "one")
    async with watched(azure, workspace="won", resource_group=None) as place:
        backend = place.fleet.snapshot.backends[0]
        assert backend.state is BackendState.LOST
        assert "there is none" in backend.detail
        assert "one" in backend.advice


async def test_config_json_leads_to_the_workspace(azure: Emulator, tmp_path: Path) -> None:
    Sample(azure, "ws1").endpoint("ep", crowd=True)
    path = tmp_path / "config.json"
    names = {"subscription_id": SUBSCRIPTION, "resource_group": GROUP, "workspace_name": "ws1"}
    path.write_text(json.dumps(names))
    async with watched(azure, subscription=None, resource_group=None, workspace=None, config=path) as place:
        assert place.names == ["ep"]
