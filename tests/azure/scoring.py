"""The scoring front of online endpoints: keys, traffic, the chosen deployment, 424 around the server's own errors."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.azure import tokens
from tests.azure.http import Request, Response
from tests.azure.shapes import Document
from tests.azure.state import State

# Of the answer that goes back; the rest of the server's headers stays behind, as at the real front.
_PASSED = ("content-type", "inference-header-content-length")
_HOP = ("host", "connection", "content-length", "transfer-encoding", "authorization", "azureml-model-deployment")
ROUTER = "/api/v1/endpoint/"


@dataclass
class Front:
    """`endpoints` are the listeners' ports and whose they are; the router's port has no endpoint of its own."""

    state: State
    audience: Callable[[], str]
    endpoints: dict[int, str] = field(default_factory=dict)
    router: int = 0
    crowd: int = 0  # the port of endpoints that are many: they are told apart by their key
    busy: dict[str, int] = field(default_factory=dict)
    chosen: random.Random = field(default_factory=lambda: random.Random(1))

    async def answer(self, request: Request) -> Response:
        path, endpoint = self._whose(request)
        if endpoint is None:
            return _plain(404, "There is no endpoint of that name here.")
        if not self._allowed(request.bearer, endpoint):
            # The words of the real front (seen in public issues).
            return _plain(401, "key_auth_access_denied\nPlease check this guide to understand why this error occurs.")
        name, refused = self._deployment(request, endpoint)
        if refused is not None:
            return refused
        deployment = self.state.get(f"{endpoint['id']}/deployments/{name}")
        assert deployment is not None
        key = deployment["id"].lower()
        settings = deployment["properties"]["requestSettings"] or {}
        room = 2 * int(settings.get("maxConcurrentRequestsPerInstance") or 1) * int(deployment["sku"]["capacity"])
        if self.busy.get(key, 0) >= room:
            return self._done(endpoint, name, _plain(429, "too many requests"))
        self.busy[key] = self.busy.get(key, 0) + 1
        try:
            async with asyncio.timeout(_seconds(settings.get("requestTimeout")) or 5.0):
                response = await self._behind(request, path, deployment)
        except TimeoutError:
            response = _plain(408, "upstream request timeout")
        finally:
            self.busy[key] -= 1
        for mirror, share in (endpoint["properties"].get("mirrorTraffic") or {}).items():
            if self.chosen.random() * 100 < share:
                self.state.mirrored.append((endpoint["name"], mirror))
        return self._done(endpoint, name, response)

    def _whose(self, request: Request) -> tuple[str, Document | None]:
        """The path as the container sees it, and the endpoint."""
        path = request.target
        if request.port == self.router:
            name, _, rest = path.removeprefix(ROUTER).partition("/")
            kubernetes = [each for each in self._endpoints() if each.get("kind") == "K8S" and each["name"] == name]
            return f"/{rest}", kubernetes[0] if path.startswith(ROUTER) and kubernetes else None
        if request.port == self.crowd:
            found = next((each for each, keys in self.state.keys.items() if request.bearer in keys), None)
            return path, self.state.get(found) if found else None
        return path, self.state.get(self.endpoints.get(request.port, ""))

    def _endpoints(self) -> list[Document]:
        return [each for each in list(self.state.resources.values()) if each["type"].endswith("/onlineEndpoints")]

    def _allowed(self, token: str, endpoint: Document) -> bool:
        match endpoint["properties"]["authMode"]:
            case "Key":
                return bool(token) and token in self.state.keys.get(endpoint["id"].lower(), ())
            case "AMLToken":
                path, until = self.state.endpoint_tokens.get(token, ("", 0.0))
                return path == endpoint["id"].lower() and until > time.time()
        claims = tokens.read(token)
        return claims is not None and claims["aud"] == self.audience()

    def _deployment(self, request: Request, endpoint: Document) -> tuple[str, Response | None]:
        wanted = request.headers.get("azureml-model-deployment")
        if wanted:
            if self.state.get(f"{endpoint['id']}/deployments/{wanted}") is None:
                return "", _plain(404, f"specified deployment {wanted} was not found")
            return wanted, None
        shares = {name: share for name, share in (endpoint["properties"].get("traffic") or {}).items() if share}
        if not shares:
            return "", _plain(404, "no deployment has traffic")
        return self.chosen.choices(list(shares), list(shares.values()))[0], None

    async def _behind(self, request: Request, path: str, deployment: Document) -> Response:
        server = self.state.servers.get(deployment["id"].lower())
        script = (deployment["properties"].get("codeConfiguration") or {}).get("scoringScript")
        if server is not None:
            return await self._proxied(server, request, path)
        if script and path.partition("?")[0] in ("/score", "/"):
            return _scored(request)
        if deployment["properties"]["provisioningState"] != "Succeeded" or not script:
            return _wrapped(502, b"", "connect_failed")  # nothing listens in the container
        return _wrapped(404, b'{"message": "Not Found"}', "Not Found")

    async def _proxied(self, server: str, request: Request, path: str) -> Response:
        import httpx

        headers = {name: value for name, value in request.headers.items() if name not in _HOP}
        try:
            async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
                answer = await client.request(request.method, f"{server}{path}", content=request.body, headers=headers)
        except httpx.HTTPError:
            return _wrapped(502, b"", "connect_failed")
        kept = {name: value for name, value in answer.headers.items() if name.lower() in _PASSED}
        if answer.status_code != 200:
            return _wrapped(answer.status_code, answer.content, answer.reason_phrase, kept)
        return Response(200, answer.content, kept)

    def _done(self, endpoint: Document, deployment: str, response: Response) -> Response:
        self.state.scored.append((endpoint["name"], deployment, response.status))
        response.headers |= {
            "azureml-model-deployment": deployment,
            "Server": "azureml-frontdoor",
            "X-Request-ID": str(uuid.uuid4()),
        }
        return response


def _scored(request: Request) -> Response:
    """What the scoring script of the samples does: the sum of each row."""
    try:
        rows: Any = request.json()["data"]
        return Response(200, [sum(row) for row in rows], {"x-ms-run-function-failed": "False"})
    except (ValueError, KeyError, TypeError):
        return _wrapped(400, json.dumps({"message": 'the input must be {"data": [[…]]}'}).encode(), "Bad Request")


def _wrapped(status: int, body: bytes, reason: str, headers: dict[str, str] | None = None) -> Response:
    """What the container answered other than 200: 424, with its status in a header."""
    told = {"ms-azureml-model-error-statuscode": str(status), "ms-azureml-model-error-reason": reason}
    return Response(424, body, {**(headers or {}), **told})


def _plain(status: int, words: str) -> Response:
    return Response(status, words.encode(), {"Content-Type": "text/plain"})


def _seconds(duration: str | None) -> float:
    """Of PT5S, PT1M30S, PT90S."""
    total, number = 0.0, ""
    for sign in (duration or "").removeprefix("PT"):
        if sign.isdigit() or sign == ".":
            number += sign
        elif number:
            total += float(number) * {"H": 3600, "M": 60, "S": 1}.get(sign, 0)
            number = ""
    return total
