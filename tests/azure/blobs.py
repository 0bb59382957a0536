"""The blob store of a workspace: one container, block blobs, and a shared access signature that must be right."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.azure.http import Request, Response

ACCOUNT = "sano4nluz7tny6e"
SIGNATURE = "c2lnbmVkIGJ5IHRoZSBlbXVsYXRvcg=="
SAS = f"sv=2024-11-04&sr=c&sp=racwl&se=2099-01-01T00%3A00%3A00Z&sig={SIGNATURE.replace('=', '%3D')}"


@dataclass
class Blobs:
    """`kept` are the blobs by container/name. `refuses` answers everything with 403, as an account behind a network."""

    kept: dict[str, bytes] = field(default_factory=dict)
    refuses: bool = False
    puts: int = 0
    _blocks: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def is_for(self, request: Request) -> bool:
        return request.headers.get("host", "").startswith(f"{ACCOUNT}.blob.")

    def answer(self, request: Request) -> Response:
        if self.refuses or (request.query.get("sig") != SIGNATURE and not request.bearer):
            return _refused(403, "AuthorizationFailure", "This request is not authorized to perform this operation.")
        container, _, name = request.path.strip("/").partition("/")
        if request.method == "GET" and request.query.get("comp") == "list":
            return self._list(container, request.query.get("prefix", ""))
        key = f"{container}/{name}"
        if request.method == "PUT":
            self.puts += 1
            return self._put(request, key)
        if request.method in ("GET", "HEAD") and key in self.kept:
            return Response(200, self.kept[key], {"Content-Type": "application/octet-stream"})
        return _refused(404, "BlobNotFound", "The specified blob does not exist.")

    def _put(self, request: Request, key: str) -> Response:
        made = {"ETag": '"0x8D"', "Last-Modified": "Sat, 01 Jan 2028 00:00:00 GMT"}
        match request.query.get("comp"):
            case "block":
                self._blocks[key, request.query["blockid"]] = request.body
                return Response(201, None, made)
            case "blocklist":
                ids = [each.text or "" for each in ElementTree.fromstring(request.body)]
                self.kept[key] = b"".join(self._blocks.pop((key, each)) for each in ids)
                return Response(201, None, made)
        assert request.headers["x-ms-blob-type"] == "BlockBlob"
        self.kept[key] = request.body
        return Response(201, None, made)

    def _list(self, container: str, prefix: str) -> Response:
        rows = [
            f"<Blob><Name>{escape(name)}</Name><Properties><Content-Length>{len(body)}</Content-Length>"
            "<BlobType>BlockBlob</BlobType></Properties></Blob>"
            for name, body in ((key.removeprefix(f"{container}/"), body) for key, body in self.kept.items())
            if name.startswith(prefix)
        ]
        document = (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="{container}">'
            f"<Blobs>{''.join(rows)}</Blobs><NextMarker /></EnumerationResults>"
        )
        return Response(200, document.encode(), {"Content-Type": "application/xml"})


def secrets(request: Request) -> Response:
    """A SAS where one that expires is asked for, else the account's key (ARM API, Datastores - List Secrets)."""
    asked = json.loads(request.body or b"{}") or {}
    if asked.get("expirableSecret"):
        return Response(200, {"secretsType": "Sas", "sasToken": SAS})
    return Response(200, {"secretsType": "AccountKey", "key": base64.b64encode(b"this is a fake key").decode()})


def _refused(status: int, code: str, words: str) -> Response:
    document = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{words}</Message></Error>'
    headers = {"x-ms-error-code": code, "Content-Type": "application/xml"}
    return Response(status, document.encode(), headers)
