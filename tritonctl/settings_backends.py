"""The backends that the settings name: one frozen value for each kind, and how a table of the file becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tritonctl.settings_file import Table
from tritonctl.settings_servers import SECRET_WORDS, ServerReader, ServerSettings, name_fault

CREDENTIALS = ("default", "cli", "environment", "managed_identity", "workload_identity", "device_code")
CLOUDS = ("AzureCloud", "AzureUSGovernment", "AzureChinaCloud")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """`where` it was configured. `optional`: nobody asked for it by name, so its absence is no error."""

    kind: ClassVar[str]
    name: str
    where: str
    read_only: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings(BackendSettings):
    """Neither `host` nor `context`: what the docker command would use."""

    kind: ClassVar[str] = "docker"
    host: str | None = None
    context: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings(BackendSettings):
    """No `kubeconfig` or `context`: what kubectl would use. No `namespaces`: all that may be listed."""

    kind: ClassVar[str] = "kubernetes"
    kubeconfig: Path | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CloudSettings:
    """An Azure cloud: one of CLOUDS by name alone, or another one with its own addresses (https URLs)."""

    name: str
    resource_manager: str | None = None
    authority: str | None = None
    aml_resource: str | None = None  # the audience of data plane tokens
    portal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AksSettings(BackendSettings):
    """No `cluster`: all of the resource group, of the subscription, or of every subscription that the login sees.

    `tenant` is of the login, `ca` is a PEM file.
    """

    kind: ClassVar[str] = "aks"
    subscription: str | None = None
    resource_group: str | None = None
    cluster: str | None = None
    namespaces: tuple[str, ...] = ()
    credential: str = "default"
    tenant: str | None = None
    cloud: CloudSettings = CloudSettings("AzureCloud")
    ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureMlSettings(BackendSettings):
    """The workspace's three names, or `config`, the path of the JSON file that has them; without `workspace` all of the
    resource group or subscription; without any a config.json here or above, else what `az` takes by default.
    `ca` is a PEM file."""

    kind: ClassVar[str] = "azureml"
    subscription: str | None = None
    resource_group: str | None = None
    workspace: str | None = None
    config: Path | None = None
    credential: str = "default"
    tenant: str | None = None
    cloud: CloudSettings = CloudSettings("AzureCloud")
    ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlsSettings(BackendSettings):
    kind: ClassVar[str] = "urls"
    servers: tuple[ServerSettings, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSettings(BackendSettings):
    """The demos that run on this machine."""

    kind: ClassVar[str] = "embedded"


_COMMON_KEYS = ("kind", "read_only")
KEYS: Mapping[str, tuple[str, ...]] = {
    "docker": ("host", "context"),
    "kubernetes": ("kubeconfig", "context", "namespaces"),
    "aks": ("subscription", "resource_group", "cluster", "namespaces", "credential", "tenant", "cloud", "ca"),
    "azureml": ("subscription", "resource_group", "workspace", "config", "credential", "tenant", "cloud", "ca"),
    "urls": ("servers",),
    "embedded": (),
}
CLOUD_KEYS = ("name", "resource_manager", "authority", "aml_resource", "portal")

_NO_PASSWORDS = dict.fromkeys(
    (*SECRET_WORDS, "client_secret"),
    'secrets stay in the environment: credential = "environment" reads AZURE_CLIENT_SECRET and the like',
)


class BackendReader:
    """Makes backends of tables; `warnings` are what the person should know though nothing is wrong."""

    def __init__(self, environ: Mapping[str, str], home: Path) -> None:
        self._home = home
        self.warnings: list[str] = []
        self._servers = ServerReader(environ, home, self.warnings)

    def read(self, name: str, table: Table) -> BackendSettings:
        """Raises UsageError, with file and line, for whatever is wrong in the table."""
        fault = name_fault(name)
        if fault:
            raise table.error(
                None, f"backend name {name!r} {fault}", "the name is the first part of a service's address"
            )
        if "kind" not in table:
            raise table.error(None, f"{table.name} has no kind", f"kind is one of {', '.join(KEYS)}")
        kind = table.text("kind", tuple(KEYS)) or ""
        azure = kind in ("aks", "azureml")
        table.only((*_COMMON_KEYS, *KEYS[kind]), _NO_PASSWORDS if azure else None)
        where, read_only = table.where(), bool(table.boolean("read_only"))
        if kind == "docker":
            host = table.text("host")
            if host and not host.startswith(("unix:///", "tcp://", "ssh://")):
                raise table.error(
                    "host", f"{host!r} is no Docker host", "write unix:///…, tcp://HOST:PORT or ssh://HOST"
                )
            if host and "context" in table:
                raise table.error("context", "a Docker context has its own host", "give host or context, not both")
            context = table.text("context")
            return DockerSettings(name=name, where=where, read_only=read_only, host=host, context=context)
        if kind == "kubernetes":
            return KubernetesSettings(
                name=name,
                where=where,
                read_only=read_only,
                kubeconfig=table.path("kubeconfig", self._home),
                context=table.text("context"),
                namespaces=table.texts("namespaces"),
            )
        if kind == "aks":
            if "cluster" in table:
                table.required("resource_group", "a cluster's name is unique in its resource group only")
            if "resource_group" in table:
                table.required("subscription", "a resource group's name is unique in its subscription only")
            return AksSettings(
                name=name,
                where=where,
                read_only=read_only,
                subscription=table.text("subscription"),
                resource_group=table.text("resource_group"),
                cluster=table.text("cluster"),
                namespaces=table.texts("namespaces"),
                credential=table.text("credential", CREDENTIALS) or "default",
                tenant=table.text("tenant"),
                cloud=_cloud(table),
                ca=table.path("ca", self._home),
            )
        if kind == "azureml":
            return self._azureml(name, where, read_only, table)
        if kind == "urls":
            return UrlsSettings(name=name, where=where, read_only=read_only, servers=self._servers.read(table))
        return EmbeddedSettings(name=name, where=where, read_only=read_only)

    def _azureml(self, name: str, where: str, read_only: bool, table: Table) -> AzureMlSettings:
        config = table.path("config", self._home)
        names = ("subscription", "resource_group", "workspace")
        for key in names:
            if config and key in table:
                raise table.error(key, f"config has the {key} already", "give config or the three names, not both")
        if "resource_group" in table:
            table.required("subscription", "a resource group's name is unique in its subscription only")
        if "workspace" in table:
            table.required("subscription", "a workspace's name is unique in its resource group only")
        return AzureMlSettings(
            name=name,
            where=where,
            read_only=read_only,
            subscription=table.text("subscription"),
            resource_group=table.text("resource_group"),
            workspace=table.text("workspace"),
            config=config,
            credential=table.text("credential", CREDENTIALS) or "default",
            tenant=table.text("tenant"),
            cloud=_cloud(table),
            ca=table.path("ca", self._home),
        )


def _cloud(table: Table) -> CloudSettings:
    if not isinstance(table.raw("cloud"), dict):
        return CloudSettings(table.text("cloud", CLOUDS) or "AzureCloud")
    cloud = table.table("cloud")
    assert cloud is not None
    cloud.only(CLOUD_KEYS)
    for key in CLOUD_KEYS[1:]:
        if not (cloud.text(key) or "https://").startswith("https://"):
            raise cloud.error(key, f"{key} must be an https:// address", "Azure's SDK sends tokens over TLS only")
    return CloudSettings(
        name=cloud.required("name"),
        resource_manager=cloud.required("resource_manager"),
        authority=cloud.required("authority"),
        aml_resource=cloud.text("aml_resource"),
        portal=cloud.text("portal"),
    )
