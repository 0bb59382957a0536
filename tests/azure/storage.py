"""The blob store of a workspace: block blobs put, listed, looked at and deleted, by key, signature or login."""

from __future__ import annotations

import base64
import hashlib
import re
import time
import uuid
from dataclasses import dataclass, field
from email.utils import formatdate
from xml.sax.saxutils import escape

from tests.azure import tokens
from tests.azure.http import Request, Response

ACCOUNT = "sano4nluz7tny6e"
KEY = base64.b64encode(b"the key of the account, in base64").decode()
SAS = "sv=2023-11-03&sr=c&sp=rcwl&se=2099-01-01T00%3A00%3A00Z&sig=c2lnbmF0dXJlMDEyMzQ1Njc4OQ%3D%3D"
AUDIENCE = "https://storage.azure.com"
PAGE = 3  # names in one answer to a listing; Azure's own is 5,000


@dataclass
class Storage:
    """`blobs` by CONTAINER/NAME. `secret` is what a data store has: Sas, AccountKey, or None for a login alone."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    blocks: dict[str, dict[str, bytes]] = field(default_factory=dict)
    secret: str | None = "Sas"
    puts: int = 0
    block_s: float = 0.0  # that a block takes; nothing else is answered meanwhile

    def answer(self, request: Request) -> Response:
        if not self._allowed(request):
            return _refusal(403, "AuthenticationFailed", "Server failed to authenticate the request.")
        path = request.path.lstrip("/")
        component = request.query.get("comp", "")
        if request.query.get("restype") == "container":
            return self._list(request, path) if component == "list" else _done(200)
        match request.method, component:
            case "PUT", "block":
                time.sleep(self.block_s)
                self.blocks.setdefault(path, {})[request.query["blockid"]] = request.body
                return _done(201)
            case "PUT", "blocklist":
                order = re.findall(r"<(?:Latest|Uncommitted|Committed)>([^<]+)<", request.body.decode())
                blocks = self.blocks.pop(path, {})
                if missing := [each for each in order if each not in blocks]:
                    return _refusal(400, "InvalidBlockList", f"these were never put: {missing}")
                return self._put(path, b"".join(blocks[each] for each in order))
            case "PUT", "":
                return self._put(path, request.body)
            case (("GET" | "HEAD"), ""):
                found = self.blobs.get(path)
                if found is None:
                    return _refusal(404, "BlobNotFound", "The specified blob does not exist.")
                return _part(found, request.headers.get("x-ms-range") or request.headers.get("range", ""))
            case "DELETE", "":
                return _done(202) if self.blobs.pop(path, None) is not None else _refusal(404, "BlobNotFound", "gone")
        return _refusal(400, "InvalidQueryParameterValue", f"not emulated: {request.method} {request.target}")

    def _allowed(self, request: Request) -> bool:
        if "sig" in request.query:
            return self.secret == "Sas" and f"sig={request.query['sig']}" in _decoded(SAS)
        if request.headers.get("authorization", "").startswith(f"SharedKey {ACCOUNT}:"):
            return self.secret == "AccountKey"
        claims = tokens.read(request.bearer) if request.bearer else None
        return claims is not None and claims["aud"] == AUDIENCE

    def _put(self, path: str, content: bytes) -> Response:
        self.blobs[path] = content
        self.puts += 1
        return _done(201, content)

    def _list(self, request: Request, container: str) -> Response:
        prefix, marker = request.query.get("prefix", ""), request.query.get("marker", "")
        names = [each.removeprefix(f"{container}/") for each in sorted(self.blobs) if each.startswith(f"{container}/")]
        names = [name for name in names if name.startswith(prefix) and name >= marker]
        more = names[PAGE] if len(names) > PAGE else ""
        blobs = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties>"
            f"<Last-Modified>{formatdate(usegmt=True)}</Last-Modified><Etag>0x8DAB918725F4387</Etag>"
            f"<Content-Length>{len(self.blobs[f'{container}/{name}'])}</Content-Length>"
            "<Content-Type>application/octet-stream</Content-Type><BlobType>BlockBlob</BlobType>"
            "</Properties></Blob>"
            for name in names[:PAGE]
        )
        body = (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="{escape(container)}">'
            f"<Prefix>{escape(prefix)}</Prefix><Blobs>{blobs}</Blobs><NextMarker>{escape(more)}</NextMarker>"
            "</EnumerationResults>"
        )
        return Response(200, body.encode(), {"Content-Type": "application/xml"})


def _part(content: bytes, wanted: str) -> Response:
    """All of it, or 206 with the bytes that a range asks for."""
    headers = {**_headers(content), "x-ms-blob-type": "BlockBlob"}
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
    if found is None or not content:
        return Response(200, content, headers)
    first, last = int(found[1]), min(int(found[2] or len(content) - 1), len(content) - 1)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
    return Response(206, content[first : last + 1], headers)


def _decoded(text: str) -> str:
    return text.replace("%3D", "=").replace("%3A", ":")


def _headers(content: bytes) -> dict[str, str]:
    return {
        "ETag": '"0x8DAB918725F4387"',
        "Last-Modified": formatdate(usegmt=True),
        "Content-MD5": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
        "Content-Type": "application/octet-stream",
        "x-ms-request-id": str(uuid.uuid4()),
        "x-ms-version": "2023-11-03",
        "x-ms-request-server-encrypted": "true",
    }


def _done(status: int, content: bytes = b"") -> Response:
    return Response(status, b"", _headers(content))


def _refusal(status: int, code: str, message: str) -> Response:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(status, body.encode(), {"Content-Type": "application/xml", "x-ms-error-code": code})
