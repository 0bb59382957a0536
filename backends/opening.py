"""Turns settings into backends; the only module that knows them all. Each is imported when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from tritonctl.backend import Backend
from tritonctl.errors import UsageError
from tritonctl.inventory import HostGpu
from tritonctl.settings import Settings
from tritonctl.settings_backends import (
    AksSettings,
    AzureMlSettings,
    BackendSettings,
    DockerSettings,
    EmbeddedSettings,
    KubernetesSettings,
    UrlsSettings,
)

if TYPE_CHECKING:
    from backends.azure.credentials import Logins


def open_backends(settings: Settings) -> Sequence[Backend]:
    """The backends of the settings, not yet connected. Raises UsageError for a kind that this version has not."""
    logins = cache(_logins)
    return [backend for each in settings.backends if (backend := _open(each, logins)) is not None]


def _logins() -> Logins:
    from backends.azure.credentials import Logins

    return Logins()


def _open(settings: BackendSettings, logins: Callable[[], Logins]) -> Backend | None:
    """None: a default that this version cannot look into. `logins` are those of all backends on Azure together."""
    if isinstance(settings, UrlsSettings):
        from backends.urls import UrlsBackend

        return UrlsBackend(settings.name, settings.servers, read_only=settings.read_only)
    if isinstance(settings, DockerSettings):
        from backends.docker.backend import DockerBackend

        return DockerBackend(settings)
    if isinstance(settings, EmbeddedSettings):
        from backends.embedded.backend import EmbeddedBackend

        return EmbeddedBackend(settings.name, read_only=settings.read_only)
    if isinstance(settings, KubernetesSettings):
        from backends.kubernetes.backend import KubernetesBackend

        return KubernetesBackend(settings)
    if isinstance(settings, AksSettings):
        from backends.aks.backend import AksBackend

        return AksBackend(settings, logins())
    if isinstance(settings, AzureMlSettings):
        from backends.azureml.backend import AzureMlBackend

        return AzureMlBackend(settings, logins())
    if settings.optional:
        return None
    raise UsageError(
        settings.where,
        f"this version has no backend of kind {settings.kind!r}",
        "it has: urls, embedded, docker, kubernetes, aks, azureml",
    )


def open_demo(*, read_only: bool = False) -> Backend:
    """The embedded server with the sample models, started when it is watched and ended when it is closed.

    Raises OperationFailed at once where this machine cannot run it, with what to type instead.
    """
    from backends.embedded.backend import EmbeddedBackend, check
    from backends.embedded.server import EmbeddedServer, demo_options

    options = demo_options()
    check(options)
    return EmbeddedBackend("embedded", EmbeddedServer(options), read_only=read_only)


def host_gpus() -> Callable[[], tuple[HostGpu, ...]]:
    """What reads this machine's GPUs, again and again; it blocks. Empty where there is no driver."""
    from backends.nvml import Nvml

    return Nvml().read


def abilities() -> tuple[tuple[str, bool, str, str], ...]:
    """What the backends need of this machine: name, whether it is there, in words, and what to do where it is not."""
    from backends.embedded.server import demo_options, docker_advice
    from backends.embedded.wheel import CannotRun, find

    try:
        server = str(find(docker_advice(demo_options())).server)
    except CannotRun as error:
        return (("demo", False, error.reason, error.advice),)
    return (("demo", True, f"its tritonserver is {server}", ""),)
