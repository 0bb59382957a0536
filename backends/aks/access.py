"""The way into an AKS cluster: its kubeconfig from Azure Resource Manager, and Entra tokens without kubelogin."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import Any

from backends.aks.cluster import Cluster
from backends.azure.arm import Arm
from backends.azure.clouds import AKS_SERVER
from backends.azure.credentials import Login, Token
from backends.kubernetes.client.access import Access, ExecPlugin, Identity
from backends.kubernetes.client.credentials import Credentials, Headers
from backends.kubernetes.client.kubeconfig import of_text
from backends.kubernetes.client.plugin import Credential
from tritonctl.errors import Forbidden, Unreachable

API = "2024-10-01"


async def find(arm: Arm, cluster: Cluster) -> tuple[Access, Credentials | None]:
    """Access as the cluster's users have it. None as credentials: those of the kubeconfig, for a cluster without Entra.

    Raises Forbidden where the right to fetch it lacks, and what Arm raises.
    """
    tried = f"fetch the kubeconfig of {cluster.name}"
    path = f"{cluster.path}/listClusterUserCredential"
    try:
        # format=exec: kubelogin's form; the old one is of the auth-provider that Kubernetes 1.26 has dropped.
        answer = await arm.call("POST", path, API, {"format": "exec"})
    except Forbidden as error:
        if error.answer.startswith("AuthorizationFailed"):
            role = "the role “Azure Kubernetes Service Cluster User Role” on the cluster has it"
            raise Forbidden(tried, error.answer, role) from None
        raise
    access = of_text(_kubeconfig(answer.body, tried), f"Azure's kubeconfig of {cluster.name}")
    plugin = access.identity.plugin
    if plugin is None or plugin.command.rpartition("/")[2] != "kubelogin":
        return access, None
    login = arm.login
    return (
        replace(access, identity=Identity(impersonate=access.identity.impersonate)),
        EntraCredentials(login, f"{_argument(plugin, '--server-id') or AKS_SERVER}/.default", _tenant(plugin, login)),
    )


class EntraCredentials:
    """Tokens of the person's login for the cluster's server application; the login renews them before they expire."""

    def __init__(self, login: Login, scope: str, tenant: str | None) -> None:
        self._login = login
        self._scope = scope
        self._tenant = tenant
        self._last: Token | None = None

    async def headers(self) -> Headers:
        self._last = await self._login.token(self._scope, self._tenant)
        return (("Authorization", f"Bearer {self._last.secret.reveal()}"),)

    async def refresh(self) -> bool:
        """The API server refused the token: it was revoked, or the clock is wrong. False where there is no other."""
        before = self._last
        if before is None:
            return False
        self._login.rejected(self._scope, self._tenant, before)
        return await self._login.token(self._scope, self._tenant) != before

    async def certificate(self) -> Credential | None:
        return None

    @property
    def expires_at(self) -> float | None:
        return self._login.expires_at(self._scope, self._tenant)


def _kubeconfig(body: Any, tried: str) -> str:
    try:
        return base64.b64decode(body["kubeconfigs"][0]["value"], validate=True).decode("utf-8")
    except (KeyError, IndexError, TypeError, binascii.Error, UnicodeDecodeError):
        raise Unreachable(tried, "the answer has no kubeconfig in it", kind="garbage") from None


def _tenant(plugin: ExecPlugin, login: Login) -> str | None:
    """The cluster's, which may be another than the subscription's; None where it is the login's own anyway."""
    tenant = _argument(plugin, "--tenant-id")
    return tenant if tenant != login.tenant else None


def _argument(plugin: ExecPlugin, name: str) -> str | None:
    for place, each in enumerate(plugin.arguments):
        if each == name and place + 1 < len(plugin.arguments):
            return plugin.arguments[place + 1]
        if each.startswith(f"{name}="):
            return each.partition("=")[2]
    return None
