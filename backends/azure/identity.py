"""azure-identity's credentials, made where they are first used: each name of the settings and the class behind it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from backends.azure.az import AZ_S, Az, AzToken
from backends.azure.clouds import Cloud
from tritonctl.errors import UsageError

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

_NETWORK_S = 10

Prompt = Callable[[str, str, datetime], None]  # the page, the code, until when it is good


class Credential(Protocol):
    """What azure-identity's classes and `Az` have in common."""

    def get_token(self, *scopes: str, tenant_id: str | None = None) -> AccessToken | AzToken: ...


def make(kind: str, cloud: Cloud, tenant: str | None, prompt: Prompt) -> Credential:
    """The credential of that kind; blocks for the import. Nothing is asked for yet.

    Raises UsageError where azure-identity is not installed or what the kind needs is not set.
    """
    if kind == "cli":
        return Az(tenant)
    try:
        import azure.identity as identity
    except ImportError:
        raise UsageError(
            "sign in to Azure", "azure-identity is not installed", "pip install 'tritonctl[azure]'"
        ) from None
    # Every failure is raised as well. Their warnings would go to stderr, over the screen, with a refusal's words as
    # they came: whatever the other side quotes.
    for name in ("azure.core", "azure.identity", "msal"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    network: dict[str, Any] = {
        "connection_timeout": _NETWORK_S,
        "read_timeout": _NETWORK_S,
        "authority": cloud.authority,
        "additionally_allowed_tenants": ["*"],  # the tenant of the subscription may be another than that of the login
    }
    if cloud.own:
        network["disable_instance_discovery"] = True  # that would ask Microsoft about an authority it does not know
    if cloud.ca is not None:
        network["connection_verify"] = str(cloud.ca)
    named = {"tenant_id": tenant} if tenant else {}
    made: Credential
    try:
        match kind:
            case "environment":
                made = identity.EnvironmentCredential(**network)
            case "managed_identity":
                # No authority: the machine's own metadata service gives the token.
                made = identity.ManagedIdentityCredential(connection_timeout=_NETWORK_S, read_timeout=_NETWORK_S)
            case "workload_identity":
                made = identity.WorkloadIdentityCredential(**named, **network)
            case "device_code":
                made = identity.DeviceCodeCredential(prompt_callback=prompt, **named, **network)
            case _:
                made = identity.DefaultAzureCredential(process_timeout=int(AZ_S), **network)
    except ValueError as error:  # of workload identity without its variables
        raise UsageError(f'sign in to Azure with credential = "{kind}"', str(error), advice_of(kind)) from None
    return made


def advice_of(kind: str) -> str:
    """What each kind that does not go through `az` needs."""
    match kind:
        case "environment":
            return "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET (or AZURE_CLIENT_CERTIFICATE_PATH)"
        case "managed_identity":
            return 'give this machine an identity, or set credential = "cli" and type az login'
        case "workload_identity":
            return "the pod needs AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE of its webhook"
    return "sign in again"
