"""The other things in a workspace: models, environments, code, computes, data stores."""

from __future__ import annotations

from tests.azure import shapes, storage
from tests.azure.http import Request, Response
from tests.azure.machinelearning import user_error
from tests.azure.shapes import Document
from tests.azure.state import State, refuse

VERSIONED = {"models": "modelUri", "environments": "image", "codes": "codeUri"}


def versioned(state: State, request: Request, collection: str, rest: list[str]) -> Response:
    """Containers and their versions: `collection` ends in models, environments or codes."""
    kind = collection.rsplit("/", 1)[1]
    match request.method, rest:
        case "GET", []:
            return Response(200, {"value": _viewed(request, state.below(collection))})
        case "GET", [name]:
            found = state.get(f"{collection}/{name}")
            return Response(200, found) if found else _missing(kind, name)
        case "PUT", [name]:
            return _put(state, request, f"{collection}/{name}", f"{shapes.ML}/workspaces/{kind}")
        case "GET", [name, "versions"]:
            if state.get(f"{collection}/{name}") is None:
                return _missing(kind, name)
            return Response(200, {"value": _versions(state, request, f"{collection}/{name}")})
        case "GET", [name, "versions", version]:
            found = state.get(f"{collection}/{name}/versions/{version}")
            return Response(200, found) if found else _missing(kind, f"{name}:{version}")
        case "PUT", [name, "versions", version]:
            path = f"{collection}/{name}"
            answer = _put(state, request, f"{path}/versions/{version}", f"{shapes.ML}/workspaces/{kind}/versions")
            if state.get(path) is None:
                state.put(shapes.container(path, latest=version))
            _renew_latest(state, path)
            return answer
        case "DELETE", [name, "versions", version]:
            state.remove(f"{collection}/{name}/versions/{version}")
            return Response(200)
        case "DELETE", [name]:
            state.remove(f"{collection}/{name}")
            return Response(200)
    return refuse(404, "NotFound", f"no such path: {request.path}")


def computes(state: State, request: Request, collection: str, rest: list[str]) -> Response:
    match request.method, rest:
        case "GET", []:
            return Response(200, {"value": state.below(collection)})
        case "GET", [name]:
            found = state.get(f"{collection}/{name}")
            return Response(200, found) if found else _missing("computes", name)
        case "DELETE", [name]:
            return _delete_compute(state, request, f"{collection}/{name}")
    return refuse(404, "NotFound", f"no such path: {request.path}")


def datastores(state: State, request: Request, collection: str, rest: list[str]) -> Response:
    """One blob store, as every workspace has it."""
    path = f"{collection}/workspaceblobstore"
    store: Document = {
        "id": path,
        "name": "workspaceblobstore",
        "type": f"{shapes.ML}/workspaces/datastores",
        "properties": {
            "description": None,
            "tags": None,
            "properties": None,
            "isDefault": True,
            "credentials": {"credentialsType": state.storage.secret or "None"},
            "datastoreType": "AzureBlob",
            "accountName": storage.ACCOUNT,
            "containerName": f"azureml-blobstore-{shapes.WORKSPACE_ID}",
            "endpoint": state.base.removeprefix("https://"),  # the account is then at ACCOUNT.blob.localhost:PORT
            "protocol": "https",
            "serviceDataAccessAuthIdentity": "WorkspaceSystemAssignedIdentity",
        },
    }
    match request.method, rest:
        case "GET", []:
            return Response(200, {"value": [store]})
        case "GET", ["workspaceblobstore"]:
            return Response(200, store)
        case "POST", ["workspaceblobstore", "listSecrets" | "listsecrets"]:
            if state.storage.secret == "Sas":
                return Response(200, {"secretsType": "Sas", "sasToken": storage.SAS})
            if state.storage.secret == "AccountKey":
                return Response(200, {"secretsType": "AccountKey", "key": storage.KEY})
            return user_error(400, "The data store has no credentials.", "BadArgument")
    return _missing("datastores", "/".join(rest))


def _delete_compute(state: State, request: Request, path: str) -> Response:
    found = state.get(path)
    if found is None:
        return Response(204)
    action = request.query.get("underlyingResourceAction")
    if action not in ("Delete", "Detach"):
        return refuse(400, "BadRequest", "underlyingResourceAction must be Delete or Detach.")
    if action == "Delete" and found["properties"]["computeType"] in ("Kubernetes", "AKS"):
        return refuse(400, "BadRequest", "An attached compute can be detached only.")
    found["properties"]["provisioningState"] = "Deleting"

    def finish(well: bool) -> None:
        if well:
            state.remove(path)
        else:
            found["properties"]["provisioningState"] = "Failed"

    _, headers = state.begin("compute", request, shapes.ML, finish, under_way="InProgress")
    return Response(202, None, headers)


def _put(state: State, request: Request, path: str, kind: str) -> Response:
    body, known = request.json(), state.get(path)
    if known is None:
        document = shapes.model_version(path)
        document["type"] = kind
        document["properties"] = {"description": None, "tags": {}, "properties": {}, "isArchived": False}
    else:
        document = known
    document["properties"] = {**document["properties"], **(body.get("properties") or {})}
    state.put(document)
    return Response(200 if known is not None else 201, document)


def _versions(state: State, request: Request, path: str) -> list[Document]:
    found = _viewed(request, state.below(f"{path}/versions"))
    if "createdtime desc" in request.query.get("$orderBy", request.query.get("$orderby", "")).lower():
        found = list(reversed(found))
    top = request.query.get("$top")
    return found[: int(top)] if top else found


def _viewed(request: Request, found: list[Document]) -> list[Document]:
    view = request.query.get("listViewType", "ActiveOnly")
    if view == "All":
        return found
    return [each for each in found if bool(each["properties"].get("isArchived")) == (view == "ArchivedOnly")]


def _renew_latest(state: State, path: str) -> None:
    numbers = [int(each["name"]) for each in state.below(f"{path}/versions") if each["name"].isdigit()]
    if numbers and (found := state.get(path)):
        found["properties"] |= {"latestVersion": str(max(numbers)), "nextVersion": str(max(numbers) + 1)}


def _missing(kind: str, name: str) -> Response:
    return user_error(404, f"The specified resource {kind}/{name} was not found.", "NotFound")
