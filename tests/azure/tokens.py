"""Entra's tokens: made, read and checked; what `az` prints is made by the same rule in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from tests.azure.shapes import TENANT

SIGNER = b"emulated Entra"
USER = "be5a8606-f5be-4381-b0c8-2274fb41ec08"


def make(audience: str, *, tenant: str = TENANT, lifetime_s: float = 3600.0, more: dict[str, Any] | None = None) -> str:
    """A JWT in form; `audience` is the resource without /.default, `more` claims beside those of every token."""
    claims = {
        "aud": audience.rstrip("/"),
        "iss": f"https://sts.windows.net/{tenant}/",
        "tid": tenant,
        "oid": USER,
        "upn": "nancy@example.com",
        "iat": int(time.time()),
        "exp": int(time.time() + lifetime_s),
        **(more or {}),
        "uti": base64.b32encode(str(time.monotonic_ns()).encode()).decode(),
    }
    head = encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = encode(json.dumps(claims).encode())
    return f"{head}.{body}.{_sign(head, body)}"


def read(token: str) -> dict[str, Any] | None:
    """The claims of a token of ours that has not expired; None for any other text."""
    parts = token.split(".")
    if len(parts) != 3 or not hmac.compare_digest(parts[2], _sign(parts[0], parts[1])):
        return None
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    return claims if claims["exp"] > time.time() else None


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _sign(head: str, body: str) -> str:
    return encode(hmac.new(SIGNER, f"{head}.{body}".encode(), hashlib.sha256).digest())
