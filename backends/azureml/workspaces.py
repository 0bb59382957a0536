"""Which workspaces: named in the settings, in a config.json, by the defaults of `az`, or found in the subscription."""

from __future__ import annotations

import configparser
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.azure.arm import Arm, path_of
from backends.azure.fields import text
from backends.azureml.fields import name_in
from tritonctl.errors import NotFound, UsageError
from tritonctl.settings_backends import AzureMlSettings

API = "2024-10-01"  # the newest stable version whose documents the recordings and the specification's examples show
_FILE_BYTES = 1 << 20
_CONFIG_KEYS = ("subscription_id", "resource_group", "workspace_name")


@dataclass(frozen=True, slots=True)
class Scope:
    """What is known before Azure is asked. None: all of what is above it. `source` says where the names are from."""

    subscription: str
    resource_group: str | None = None
    workspace: str | None = None
    tenant: str | None = None
    source: str = "the settings"


@dataclass(frozen=True, slots=True)
class Workspace:
    subscription: str
    resource_group: str
    name: str
    location: str = ""

    @property
    def path(self) -> str:
        """Its resource id."""
        return group_path(self.subscription, self.resource_group) + path_of(
            "providers", "Microsoft.MachineLearningServices", "workspaces", self.name
        )

    @property
    def az(self) -> str:
        """How `az ml` is told which one."""
        return f"-w {self.name} -g {self.resource_group} --subscription {self.subscription}"


def group_path(subscription: str, group: str) -> str:
    return path_of("subscriptions", subscription, "resourceGroups", group)


def scope_of(settings: AzureMlSettings, environ: Mapping[str, str], here: Path, home: Path) -> Scope:
    """The settings first; then a config.json here or above; then what `az` takes by default. Raises UsageError."""
    if settings.config is not None:
        return _of_config(settings.config)
    if settings.subscription is not None:
        return Scope(settings.subscription, settings.resource_group, settings.workspace)
    for folder in (here, *here.parents):
        # As Microsoft's own client looks for it (azure-ai-ml, MLClient.from_config).
        for path in (
            folder / "config.json",
            folder / ".azureml" / "config.json",
            folder / "aml_config" / "config.json",
        ):
            if path.is_file() and _is_workspace_config(path):
                return _of_config(path)
    return _of_az(settings, environ, home)


async def find(arm: Arm, scope: Scope) -> tuple[Workspace, ...]:
    """The workspaces of the scope, asking Azure only where they are not named. Raises NotFound where there is none."""
    if scope.workspace is not None and scope.resource_group is not None:
        return (Workspace(scope.subscription, scope.resource_group, scope.workspace),)
    base = path_of("subscriptions", scope.subscription)
    if scope.resource_group is not None:
        base = group_path(scope.subscription, scope.resource_group)
    listed = await arm.collect(f"{base}/providers/Microsoft.MachineLearningServices/workspaces", API)
    found = [each for document in listed if (each := _workspace(scope.subscription, document)) is not None]
    wanted = [each for each in found if scope.workspace in (None, each.name)]
    if not wanted:
        names = ", ".join(sorted(each.name for each in found)) or "none"
        asked = f"workspace {scope.workspace!r}" if scope.workspace else "an Azure ML workspace"
        raise NotFound(f"{asked} in subscription {scope.subscription}", "there is none", f"workspaces there: {names}")
    return tuple(sorted(wanted, key=lambda each: (each.name, each.resource_group)))


def _workspace(subscription: str, document: Mapping[str, Any]) -> Workspace | None:
    """None for what is no workspace of models: a hub or a registry's shadow has endpoints of other kinds."""
    identity = text(document, "id")
    name, group = name_in(identity, "workspaces"), name_in(identity, "resourceGroups")
    if not name or not group or text(document, "kind").lower() in ("hub", "featurestore"):
        return None
    return Workspace(subscription, group, name, text(document, "location"))


def _is_workspace_config(path: Path) -> bool:
    """A config.json may be anybody's; only one with all three names is Azure ML's."""
    try:
        found = _json(path)
    except UsageError:
        return False
    return all(text(found, key) for key in _CONFIG_KEYS)


def _of_config(path: Path) -> Scope:
    found = _json(path)
    missing = [key for key in _CONFIG_KEYS if not text(found, key)]
    if missing:
        advice = "download it from the studio: the workspace's name at the top right, Download config file"
        raise UsageError(str(path), f"it has no {' and no '.join(missing)}", advice)
    subscription, group, workspace = (text(found, key) for key in _CONFIG_KEYS)
    return Scope(subscription, group, workspace, text(found, "tenant_id") or None, str(path))


def _json(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_FILE_BYTES).decode("utf-8-sig"))  # the studio writes it with a mark
    except OSError as error:
        raise UsageError(str(path), error.strerror or "it cannot be read") from None
    except (ValueError, RecursionError):
        raise UsageError(str(path), "this is not JSON") from None
    if not isinstance(found, Mapping):
        raise UsageError(str(path), "this is not a JSON object with the workspace's names")
    return found


def _of_az(settings: AzureMlSettings, environ: Mapping[str, str], home: Path) -> Scope:
    """Of `az account set` and `az configure --defaults group=… workspace=…` (Azure CLI configuration)."""
    folder = Path(environ.get("AZURE_CONFIG_DIR") or home / ".azure")
    defaults: dict[str, str] = {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(folder / "config", encoding="utf-8")
        defaults = dict(parser["defaults"]) if parser.has_section("defaults") else {}
    except (configparser.Error, OSError, UnicodeDecodeError):
        pass  # a file of `az` that cannot be read only means that nothing is known from it
    group = environ.get("AZURE_DEFAULTS_GROUP") or defaults.get("group")
    workspace = environ.get("AZURE_DEFAULTS_WORKSPACE") or defaults.get("workspace")
    subscription, tenant = environ.get("AZURE_SUBSCRIPTION_ID"), None
    if not subscription:
        subscription, tenant = _default_subscription(folder / "azureProfile.json")
    if not subscription:
        raise UsageError(
            settings.where,
            "no workspace is named, no config.json is here or above, and az has no default subscription",
            "set subscription, resource_group and workspace; or az login and "
            "az configure --defaults group=GROUP workspace=WORKSPACE",
        )
    return Scope(subscription, group or None, workspace or None, tenant, "the defaults of az")


def _default_subscription(path: Path) -> tuple[str | None, str | None]:
    """The subscription that `az account show` would tell, and its tenant."""
    try:
        profile = _json(path)
    except UsageError:
        return None, None
    known = profile.get("subscriptions")
    for each in known if isinstance(known, list) else []:
        if isinstance(each, Mapping) and each.get("isDefault") is True:
            return text(each, "id") or None, text(each, "tenantId") or None
    return None, None
