"""The Azure clouds: where each has its resource manager, its login and its audiences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tritonctl.settings_backends import CloudSettings

# The audience of every AKS API server's Entra login, in all clouds (AKS documentation, "kubelogin").
AKS_SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630"


@dataclass(frozen=True, slots=True)
class Cloud:
    """All addresses are https URLs without a slash at the end. `ca` is a PEM file that is trusted besides the
    system's; `own` tells that the person gave the addresses, so that they need not be known to Microsoft's."""

    name: str
    resource_manager: str
    authority: str
    aml_resource: str
    portal: str
    own: bool = False
    ca: Path | None = None

    @property
    def arm_scope(self) -> str:
        return f"{self.resource_manager}/.default"

    @property
    def aml_scope(self) -> str:
        """Of data plane tokens: scoring with Entra authentication."""
        return f"{self.aml_resource}/.default"


_KNOWN = (
    Cloud(
        "AzureCloud",
        "https://management.azure.com",
        "https://login.microsoftonline.com",
        "https://ml.azure.com",
        "https://portal.azure.com",
    ),
    Cloud(
        "AzureUSGovernment",
        "https://management.usgovcloudapi.net",
        "https://login.microsoftonline.us",
        "https://ml.azure.us",
        "https://portal.azure.us",
    ),
    Cloud(
        "AzureChinaCloud",
        "https://management.chinacloudapi.cn",
        "https://login.chinacloudapi.cn",
        "https://ml.azure.cn",
        "https://portal.azure.cn",
    ),
)


def bundle(environ: Mapping[str, str]) -> Path | None:
    """The file that Azure's documentation tells people behind a proxy to name, for `az` and its libraries."""
    given = Path(environ.get("REQUESTS_CA_BUNDLE", ""))
    return given if given.is_file() else None


def cloud_of(settings: CloudSettings, ca: Path | None = None) -> Cloud:
    """The cloud that the settings name; the settings' reader has refused any other name without addresses."""
    if settings.resource_manager is None or settings.authority is None:
        known = next(each for each in _KNOWN if each.name == settings.name)
        return Cloud(
            known.name, known.resource_manager, known.authority, known.aml_resource, known.portal, own=False, ca=ca
        )
    manager = settings.resource_manager.rstrip("/")
    return Cloud(
        settings.name,
        manager,
        settings.authority.rstrip("/"),
        (settings.aml_resource or manager).rstrip("/"),
        (settings.portal or manager).rstrip("/"),
        own=True,
        ca=ca,
    )
