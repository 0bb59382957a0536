"""Entra's token endpoints: client secret, federated token, device code, refresh token, and the machine's identity."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

from tests.azure import tokens
from tests.azure.http import Request, Response
from tests.azure.shapes import TENANT

CLIENT = "11111111-2222-3333-4444-555555555555"
SECRET = "s3cr3t~client~secret"


@dataclass
class Entra:
    """`approved`: the person has entered the code; `refuse` is the AADSTS message that each token request gets."""

    base: str = ""
    approved: bool = False
    declined: bool = False
    refuse: str | None = None
    lifetime_s: float = 3600.0
    delay_s: float = 0.0
    codes: dict[str, str] = field(default_factory=dict)  # device code → scope
    grants: list[str] = field(default_factory=list)  # the grant types that were asked for
    identity_calls: int = 0

    def answer(self, request: Request) -> Response | None:
        """None where it is none of Entra's paths."""
        parts = request.path.strip("/").split("/")
        if request.path.startswith("/metadata/identity"):
            return self._identity(request)
        if len(parts) >= 2 and parts[-1] == "openid-configuration":
            return self._configuration(parts[0])
        if parts[-2:] == ["v2.0", "devicecode"]:
            return self._device_code(request)
        if parts[-2:] == ["v2.0", "token"]:
            return self._token(request, parts[0])
        return None

    def _configuration(self, tenant: str) -> Response:
        root = f"{self.base}/{tenant}"
        return Response(
            200,
            {
                "token_endpoint": f"{root}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
                "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                "jwks_uri": f"{root}/discovery/v2.0/keys",
                "issuer": f"{root}/v2.0",
                "tenant_region_scope": "NA",
            },
        )

    def _device_code(self, request: Request) -> Response:
        code = uuid.uuid4().hex
        self.codes[code] = request.form.get("scope", "")
        page = "https://microsoft.com/devicelogin"
        return Response(
            200,
            {
                "user_code": "EZ4UTEXGR",
                "device_code": code,
                "verification_uri": page,
                "expires_in": 900,
                "interval": 1,
                "message": f"To sign in, use a web browser to open the page {page} and enter the code EZ4UTEXGR.",
            },
        )

    def _token(self, request: Request, tenant: str) -> Response:
        form = request.form
        grant = form.get("grant_type", "")
        self.grants.append(grant)
        if self.refuse is not None:
            return _refusal("invalid_grant", self.refuse)
        if grant.endswith("device_code"):
            if self.declined:
                return _refusal("authorization_declined", "AADSTS70000: the user declined.")
            if not self.approved:
                return _refusal("authorization_pending", "AADSTS70016: OAuth 2.0 device flow error. Pending.")
            scope = self.codes.get(form.get("device_code", ""), "")
            return self._granted(scope, tenant, client=form.get("client_id", ""), refresh=True)
        if grant == "client_credentials":
            if "client_secret" in form and form["client_secret"] != SECRET:
                words = f"AADSTS7000215: Invalid client secret provided for app '{form.get('client_id')}'."
                return _refusal("invalid_client", words, 401)
            return self._granted(form.get("scope", ""), tenant)
        if grant == "refresh_token":
            return self._granted(form.get("scope", ""), tenant, client=form.get("client_id", ""), refresh=True)
        return _refusal("unsupported_grant_type", f"AADSTS70003: unsupported grant {grant!r}.")

    def _granted(self, scope: str, tenant: str, *, client: str = "", refresh: bool = False) -> Response:
        """`refresh`: with a refresh token and an id token, as a person gets them."""
        wanted = next((each for each in scope.split() if each.endswith("/.default")), "unknown/.default")
        real = TENANT if tenant in ("organizations", "common") else tenant
        token = tokens.make(wanted.removesuffix("/.default"), tenant=real, lifetime_s=self.lifetime_s)
        body: dict[str, object] = {
            "token_type": "Bearer",
            "scope": wanted,
            "expires_in": int(self.lifetime_s),
            "ext_expires_in": int(self.lifetime_s),
            "access_token": token,
        }
        if refresh:
            body["refresh_token"] = f"0.refresh.{uuid.uuid4()}"
            who = {"iss": f"{self.base}/{real}/v2.0", "preferred_username": "nancy@example.com", "sub": tokens.USER}
            body["id_token"] = tokens.make(client, tenant=real, more=who)
            body["client_info"] = tokens.encode(f'{{"uid":"{tokens.USER}","utid":"{real}"}}'.encode())
        return Response(200, body)

    def _identity(self, request: Request) -> Response:
        """The instance metadata service; without its header it refuses, as azure-identity's probe expects."""
        if "metadata" not in request.headers:
            return Response(400, {"error": "invalid_request", "error_description": "Required metadata header missing"})
        self.identity_calls += 1
        resource = request.query.get("resource", "")
        token = tokens.make(resource, lifetime_s=self.lifetime_s)
        until = int(time.time() + self.lifetime_s)
        return Response(
            200,
            {
                "access_token": token,
                "client_id": CLIENT,
                "expires_in": str(int(self.lifetime_s)),
                "expires_on": str(until),
                "ext_expires_in": str(int(self.lifetime_s)),
                "not_before": str(int(time.time())),
                "resource": resource,
                "token_type": "Bearer",
            },
        )


def _refusal(error: str, description: str, status: int = 400) -> Response:
    return Response(
        status,
        {
            "error": error,
            "error_description": f"{description} Trace ID: 0 Correlation ID: 0 Timestamp: 2026-01-01 00:00:00Z",
            "error_codes": [int("".join(filter(str.isdigit, description.split(":")[0])) or 0)],
        },
    )
