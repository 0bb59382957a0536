"""The front of Resource Manager: authentication, faults, latency, paging, operations, and who answers what."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Callable
from urllib.parse import urlencode

from tests.azure import assets, containerservice, monitor, shapes, tokens
from tests.azure.http import Request, Response
from tests.azure.machinelearning import Endpoints
from tests.azure.state import Fault, Made, State, refuse


class Arm:
    """`audience` is what its tokens are for; a token of another tenant than `tenant` is refused as Azure does it."""

    def __init__(self, state: State, front: Callable[[str], str], audience: Callable[[], str]) -> None:
        self._state = state
        self._audience = audience
        self._endpoints = Endpoints(state, front)
        self.tenant = shapes.TENANT
        self.revoked: set[str] = set()

    async def answer(self, request: Request) -> Response:
        state = self._state
        state.made.append(
            Made(
                request.method,
                request.path,
                dict(request.query),
                request.body,
                time.monotonic(),
                request.headers.get("authorization", ""),
            )
        )
        state.in_flight += 1
        state.most_in_flight = max(state.most_in_flight, state.in_flight)
        try:
            if state.latency_s:
                await asyncio.sleep(state.latency_s)
            fault = next((each for each in state.faults if each.matches(request)), None)
            if fault is not None and fault.times is not None:
                fault.times -= 1
            if fault is not None and fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            if fault is not None and fault.response is not None:
                return fault.response
            state.settle()
            response = self._unauthorised(request) or self._page(request, self._route(request))
            return _edited(response, fault)
        finally:
            state.in_flight -= 1

    def _unauthorised(self, request: Request) -> Response | None:
        claims = tokens.read(request.bearer)
        where = f"https://login.windows.net/{self.tenant}"
        code, words = "", ""
        if not request.bearer:
            code, words = "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
        elif claims is None or request.bearer in self.revoked:
            code, words = "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC."
        elif claims["aud"] != self._audience():
            code = "InvalidAuthenticationTokenAudience"
            words = f"The access token has been obtained for wrong audience or resource '{claims['aud']}'."
        elif claims["tid"] != self.tenant:
            code = "InvalidAuthenticationTokenTenant"
            words = (
                f"The access token is from the wrong issuer '{claims['iss']}'. It must match the tenant "
                f"'https://sts.windows.net/{self.tenant}/' associated with this subscription."
            )
        if not code:
            return None
        challenge = f'Bearer authorization_uri="{where}", error="invalid_token", error_description="{words}"'
        refused = refuse(401, code, words)
        refused.headers["WWW-Authenticate"] = challenge
        return refused

    def _route(self, request: Request) -> Response:
        parts = request.path.strip("/").split("/")
        low = [each.lower() for each in parts]
        if low == ["subscriptions"]:
            return Response(200, {"value": self._subscriptions()})
        if low[0] != "subscriptions" or len(parts) < 2:
            return refuse(404, "NotFound", f"no such path: {request.path}")
        if not any(key.startswith(f"/subscriptions/{low[1]}/") for key in self._state.resources):
            return refuse(404, "SubscriptionNotFound", f"The subscription '{parts[1]}' could not be found.")
        if len(low) > 3 and low[2] == "resourcegroups":
            start = f"/subscriptions/{low[1]}/resourcegroups/{low[3]}/"
            if not any(key.startswith(start) for key in self._state.resources):
                return refuse(404, "ResourceGroupNotFound", f"Resource group '{parts[3]}' could not be found.")
        if "providers" not in low:
            return Response(200, {"value": []})
        if low[-3:] == ["providers", "microsoft.insights", "metrics"]:
            return monitor.answer(self._state, request, "/" + "/".join(parts[:-3]))
        at = low.index("providers")
        scope, provider, rest = "/" + "/".join(parts[:at]), low[at + 1], parts[at + 2 :]
        if rest[:1] == ["locations"]:
            return self._operation(request, rest)
        if provider == "microsoft.containerservice":
            return containerservice.answer(self._state, request, scope, rest)
        if provider == shapes.ML.lower():
            return self._machine_learning(request, scope, rest)
        return refuse(404, "InvalidResourceNamespace", f"The resource namespace '{parts[at + 1]}' is invalid.")

    def _machine_learning(self, request: Request, scope: str, rest: list[str]) -> Response:
        if len(rest) == 1:
            kind = f"{shapes.ML}/workspaces"
            found = [each for each in list(self._state.resources.values()) if each["type"] == kind]
            return Response(
                200, {"value": [each for each in found if each["id"].lower().startswith(scope.lower() + "/")]}
            )
        path = f"{scope}/providers/{shapes.ML}/workspaces/{rest[1]}"
        workspace = self._state.get(path)
        if workspace is None:
            words = (
                f"The Resource '{shapes.ML}/workspaces/{rest[1]}' under resource group '{scope.rsplit('/', 1)[1]}' "
                "was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
            )
            return refuse(404, "ResourceNotFound", words)
        if len(rest) == 2:
            return Response(200, workspace)
        collection, below = f"{path}/{rest[2]}", rest[3:]
        match rest[2].lower():
            case "onlineendpoints":
                return self._endpoints.answer(request, f"{path}/onlineEndpoints", below)
            case "models" | "environments" | "codes":
                return assets.versioned(self._state, request, collection, below)
            case "computes":
                return assets.computes(self._state, request, collection, below)
            case "datastores":
                return assets.datastores(self._state, request, collection, below)
        return refuse(404, "NotFound", f"no such path: {request.path}")

    def _operation(self, request: Request, rest: list[str]) -> Response:
        """The status document, or for the results 202 until it is done."""
        running = self._state.operations.get(rest[-1].lower())
        if running is None:
            return refuse(404, "NotFound", "The operation was not found.")
        script = running.script
        headers: dict[str, str] = {}
        if running.ended is None:
            headers = {"Retry-After": script.retry_after} if script.retry_after is not None else {}
            if script.poll_ms is not None:
                headers["x-ms-retry-after-ms"] = str(script.poll_ms)
        if "result" in rest[-2].lower():
            return Response(202 if running.ended is None else 200, None, headers)
        body: shapes.Document = {
            "id": running.uri.removeprefix(self._state.base).split("?")[0],
            "name": running.id,
            "startTime": running.started,
        }
        if running.ended is not None:
            body["endTime"] = running.ended
        body["percentComplete"] = 100.0 if running.ended is not None else 0.0
        body["status"] = script.outcome if running.ended is not None else running.under_way
        if running.ended is not None and script.outcome != "Succeeded":
            body["error"] = script.error
        return Response(200, body, headers)

    def _subscriptions(self) -> list[shapes.Document]:
        ids = dict.fromkeys(key.split("/")[2] for key in self._state.resources)
        return [
            {
                "id": f"/subscriptions/{each}",
                "subscriptionId": each,
                "tenantId": self.tenant,
                "displayName": "Triton",
                "state": "Enabled",
            }
            for each in ids
        ]

    def _page(self, request: Request, response: Response) -> Response:
        """Cut a list into pages; the link to the next one has the whole query and a token."""
        body, size = response.body, self._state.page_size
        if response.status != 200 or request.method != "GET" or not isinstance(body, dict) or "value" not in body:
            return response
        if "Insights" in request.path or not isinstance(body["value"], list):
            return response
        start = int(request.query.get("$skiptoken", 0))
        body = {**body, "value": body["value"][start : start + size]}
        if start + size < len(response.body["value"]):
            query = {**request.query, "$skiptoken": str(start + size)}
            body["nextLink"] = f"{self._state.base}{request.path}?{urlencode(query)}"
        return Response(200, body, response.headers)


def _edited(response: Response, fault: Fault | None) -> Response:
    if fault is None or fault.edit is None or response.body is None:
        return response
    body = json.loads(response.encoded())
    return Response(response.status, fault.edit(copy.deepcopy(body)), response.headers)
