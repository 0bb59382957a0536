"""Microsoft.MachineLearningServices: online endpoints and deployments, with their long-running operations."""

from __future__ import annotations

import copy
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from tests.azure import shapes, tokens
from tests.azure.http import Request, Response
from tests.azure.state import State, refuse

UNDER_WAY = ("Creating", "Updating", "Deleting", "Scaling")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")
Front = Callable[[str], str]  # endpoint's path → the scoring URI that it gets


def user_error(status: int, message: str, *codes: str) -> Response:
    """The service's own error, with the additionalInfo that it always brings (seen in public logs of az ml)."""
    inner: Any = None
    for code in reversed(codes):
        inner = {"code": code, "innerError": inner}
    infos = [
        ("ComponentName", "managementfrontend"),
        ("Correlation", {"operation": uuid.uuid4().hex, "request": uuid.uuid4().hex[:16]}),
        ("Environment", shapes.REGION),
        ("Location", shapes.REGION),
        ("Time", shapes.now()),
        *([("InnerError", inner)] if inner else []),
    ]
    error = {
        "code": "UserError",
        "message": message,
        "details": [],
        "additionalInfo": [{"type": kind, "info": {"value": value}} for kind, value in infos],
    }
    return Response(status, {"error": error}, {"x-ms-request-id": str(uuid.uuid4())})


class Endpoints:
    """What is under {workspace}/onlineEndpoints."""

    def __init__(self, state: State, front: Front) -> None:
        self._state = state
        self._front = front

    def answer(self, request: Request, collection: str, rest: list[str]) -> Response:
        """`collection` is the path up to onlineEndpoints, `rest` the segments after it."""
        match request.method, rest:
            case "GET", []:
                return Response(200, {"value": self._state.below(collection)})
            case method, [name]:
                return self._one(request, method, f"{collection}/{name}", self._put_endpoint, "onlineEndpoints")
            case "POST", [name, "listKeys" | "listkeys"]:
                return self._keys(f"{collection}/{name}")
            case "POST", [name, "regenerateKeys" | "regeneratekeys"]:
                return self._regenerate(request, f"{collection}/{name}")
            case "POST", [name, "token"]:
                return self._token(f"{collection}/{name}")
            case "GET", [name, "deployments"]:
                if self._state.get(f"{collection}/{name}") is None:
                    return _missing("onlineEndpoints", name)
                return Response(200, {"value": self._state.below(f"{collection}/{name}/deployments")})
            case "POST", [name, "deployments", deployment, "getLogs" | "getlogs"]:
                return self._logs(request, f"{collection}/{name}/deployments/{deployment}")
            case method, [name, "deployments", deployment]:
                if self._state.get(f"{collection}/{name}") is None:
                    return _missing("onlineEndpoints", name)
                path = f"{collection}/{name}/deployments/{deployment}"
                return self._one(request, method, path, self._put_deployment, "deployments")
        return refuse(404, "NotFound", f"no such path: {request.path}")

    def _one(
        self, request: Request, method: str, path: str, put: Callable[[Request, str], Response], kind: str
    ) -> Response:
        known = self._state.get(path)
        if method == "PUT":
            if known is not None and known["properties"]["provisioningState"] in UNDER_WAY:
                return _busy(path)
            return put(request, path)
        if known is None:
            return Response(204) if method == "DELETE" else _missing(kind, path.rsplit("/", 1)[1])
        if method == "GET":
            return Response(200, known)
        if known["properties"]["provisioningState"] in UNDER_WAY:
            return _busy(path)
        if method == "PATCH":
            return self._patch(request, path, kind)
        return self._delete(request, path, kind)

    def _put_endpoint(self, request: Request, path: str) -> Response:
        body, known = request.json(), self._state.get(path)
        given = body.get("properties") or {}
        if not _NAME.fullmatch(path.rsplit("/", 1)[1]):
            return user_error(400, "The endpoint name is invalid: 3 to 32 letters, digits and -.", "BadArgument")
        deployments = {each["name"] for each in self._state.below(f"{path}/deployments")}
        for field in ("traffic", "mirrorTraffic"):
            shares: dict[str, int] = given.get(field) or {}
            if unknown := set(shares) - deployments:
                words = f"Traffic is routed to the deployments {sorted(unknown)} that do not exist."
                return user_error(400, words, "BadArgument", "InvalidTraffic")
            limit = (0, 100) if field == "traffic" else tuple(range(51))
            if shares and sum(shares.values()) not in limit:
                return user_error(400, f"The sum of {field} must be {limit[-1]}.", "BadArgument", "InvalidTraffic")
        copied = {name for name, share in (given.get("mirrorTraffic") or {}).items() if share}
        if (
            len(copied) > 1
            or any((given.get("traffic") or {}).get(name) for name in copied)
            or (copied and given.get("compute"))
        ):
            words = "mirror_traffic: one deployment of a managed endpoint, and none that has live traffic."
            return user_error(400, words, "BadArgument", "InvalidTraffic")
        document = shapes.endpoint(path, scoring_uri=None, auth=given.get("authMode", "Key"), state="Creating")
        if known is not None:
            document["properties"]["scoringUri"] = known["properties"]["scoringUri"]
            document["properties"]["swaggerUri"] = known["properties"]["swaggerUri"]
            document["properties"]["provisioningState"] = "Updating"
            document["systemData"]["createdAt"] = known["systemData"]["createdAt"]
        document["properties"] |= {
            name: value
            for name, value in given.items()
            if name not in ("properties", "scoringUri", "swaggerUri", "provisioningState")
        }
        document["properties"]["properties"] |= given.get("properties") or {}
        document["tags"], document["location"] = body.get("tags") or {}, body.get("location") or shapes.REGION
        document["kind"] = "K8S" if given.get("compute") else "Managed"
        self._state.keys.setdefault(path.lower(), (uuid.uuid4().hex, uuid.uuid4().hex))

        def finish(well: bool) -> None:
            document["properties"]["provisioningState"] = "Succeeded" if well else "Failed"
            if well and document["properties"]["scoringUri"] is None:
                uri = self._front(path)
                document["properties"]["scoringUri"] = uri
                document["properties"]["swaggerUri"] = uri.rsplit("/", 1)[0] + "/swagger.json"

        return self._begun(request, "oe", document, finish, 201 if known is None else 200)

    def _put_deployment(self, request: Request, path: str) -> Response:
        body, known = request.json(), self._state.get(path)
        given = copy.deepcopy(body.get("properties") or {})
        model = given.get("model")
        if isinstance(model, str) and model.startswith("/subscriptions") and self._state.get(model) is None:
            return user_error(404, f"Asset {model} was not found.", "NotFound", "ModelNotFound")
        kind = given.get("endpointComputeType", "Managed")
        document = shapes.deployment(path, compute_type=kind, state="Creating" if known is None else "Updating")
        properties = document["properties"]
        for field in ("modelMountPath", "environmentVariables", "codeConfiguration", "environmentId", "model"):
            properties[field] = None  # a PUT replaces: what it leaves out is gone
        properties["environmentVariables"] = {}
        kept = properties["properties"]
        properties |= {name: value for name, value in given.items() if name not in ("properties", "provisioningState")}
        properties["properties"] = kept | (given.get("properties") or {})
        if known is not None:
            document["systemData"]["createdAt"] = known["systemData"]["createdAt"]
        document["tags"], document["location"] = body.get("tags") or {}, body.get("location") or shapes.REGION
        document["sku"] = {"name": "Default", "tier": "Standard", **(body.get("sku") or {"capacity": 1})}
        if body.get("identity"):
            document["identity"] = body["identity"]

        def finish(well: bool) -> None:
            properties["provisioningState"] = "Succeeded" if well else "Failed"

        return self._begun(request, "od", document, finish, 201 if known is None else 200)

    def _patch(self, request: Request, path: str, kind: str) -> Response:
        body = request.json()
        allowed = {"tags", "sku"} if kind == "deployments" else {"tags", "identity"}
        if unknown := set(body) - allowed:
            return user_error(400, f"These fields cannot be patched: {sorted(unknown)}", "BadArgument")
        document = self._state.get(path)
        assert document is not None
        document["properties"]["provisioningState"] = "Updating"

        def finish(well: bool) -> None:
            document["properties"]["provisioningState"] = "Succeeded" if well else "Failed"
            if well:
                document["tags"] = body.get("tags", document["tags"])
                document["sku"] = {**document.get("sku", {}), **body.get("sku", {})}

        answer = self._begun(request, "od" if kind == "deployments" else "oe", document, finish, 202)
        return answer

    def _delete(self, request: Request, path: str, kind: str) -> Response:
        document = self._state.get(path)
        assert document is not None
        if kind == "deployments":
            endpoint = self._state.get(path.rsplit("/deployments/", 1)[0])
            traffic = (endpoint or {}).get("properties", {}).get("traffic") or {}
            if traffic.get(document["name"]):
                words = f"Cannot delete deployment {document['name']} with live traffic of {traffic[document['name']]}."
                return user_error(400, words, "BadArgument", "DeploymentHasTraffic")
        document["properties"]["provisioningState"] = "Deleting"

        def finish(well: bool) -> None:
            if well:
                self._state.remove(path)
            else:
                document["properties"]["provisioningState"] = "Failed"

        running, headers = self._state.begin(
            "od" if kind == "deployments" else "oe", request, shapes.ML, finish, under_way="Deleting"
        )
        document["properties"]["properties"]["AzureAsyncOperationUri"] = running.uri
        return Response(202, b"null", headers)

    def _begun(
        self, request: Request, prefix: str, document: shapes.Document, finish: Callable[[bool], None], status: int
    ) -> Response:
        running, headers = self._state.begin(prefix, request, shapes.ML, finish)
        document["properties"]["properties"]["AzureAsyncOperationUri"] = running.uri
        self._state.put(document)
        if status != 202:
            version = request.query.get("api-version", "")
            headers["Location"] = f"{self._state.base}{document['id']}?api-version={version}"
        return Response(status, copy.deepcopy(document), headers)

    def _keys(self, path: str) -> Response:
        endpoint = self._state.get(path)
        if endpoint is None:
            return _missing("onlineEndpoints", path.rsplit("/", 1)[1])
        if endpoint["properties"]["authMode"] != "Key":
            return user_error(400, "Keys can be listed of endpoints with authMode Key only.", "BadArgument")
        primary, secondary = self._state.keys.setdefault(path.lower(), (uuid.uuid4().hex, uuid.uuid4().hex))
        return Response(200, {"primaryKey": primary, "secondaryKey": secondary})

    def _regenerate(self, request: Request, path: str) -> Response:
        if self._state.get(path) is None:
            return _missing("onlineEndpoints", path.rsplit("/", 1)[1])
        body = request.json()
        primary, secondary = self._state.keys[path.lower()]
        fresh = body.get("keyValue") or uuid.uuid4().hex
        if body["keyType"] == "Primary":
            primary = fresh
        else:
            secondary = fresh
        self._state.keys[path.lower()] = (primary, secondary)
        running, headers = self._state.begin("oe", request, shapes.ML, lambda _well: None)
        return Response(202, None, headers | {"Location": running.uri.replace("Status", "Results")})

    def _token(self, path: str) -> Response:
        endpoint = self._state.get(path)
        if endpoint is None:
            return _missing("onlineEndpoints", path.rsplit("/", 1)[1])
        if endpoint["properties"]["authMode"] != "AMLToken":
            return user_error(400, "A token can be had of endpoints with authMode AMLToken only.", "BadArgument")
        until = int(time.time()) + 24 * 3600
        token = tokens.make("azureml", lifetime_s=24 * 3600)
        self._state.endpoint_tokens[token] = (path.lower(), until)
        return Response(
            200,
            {
                "accessToken": token,
                "tokenType": "Bearer",
                "expiryTimeUtc": until,
                "refreshAfterTimeUtc": until - 12 * 3600,
            },
        )

    def _logs(self, request: Request, path: str) -> Response:
        deployment = self._state.get(path)
        if deployment is None:
            return _missing("deployments", path.rsplit("/", 1)[1])
        body = request.json() or {}
        kind, tail = body.get("containerType") or "InferenceServer", body.get("tail")
        lines = self._state.logs.get((path.lower(), kind))
        if lines is None:
            # As the documentation says of a container that is not up: words to try later, not an error.
            return Response(200, {"content": "Unable to get logs, the container is not running yet. Try again later."})
        chosen = lines[-int(tail) :] if tail else lines
        head = f"Instance status:\n{kind}: Succeeded\n\nContainer events:\n\nContainer logs:\n" if tail is None else ""
        return Response(200, {"content": head + "\n".join(chosen) + "\n"})


def _missing(kind: str, name: str) -> Response:
    return user_error(404, f"The specified resource {kind}/{name} was not found.", "NotFound")


def _busy(path: str) -> Response:
    words = f"Another operation is already in progress on {path.rsplit('/', 1)[1]}."
    return refuse(409, "Conflict", words, [{"code": "AnotherOperationInProgress", "message": words}])
