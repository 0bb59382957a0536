"""Reading an answer of the API server: whole and within a limit, as JSON, or as what it says of waiting."""

from __future__ import annotations

import json
import zlib
from typing import Any

from tritonctl.errors import Unreachable
from tritonctl.http1 import Reply

MAX_BODY_BYTES = 32 * 1024 * 1024
_LEAST_PAUSE_S = 0.5


def retry_after(response: Reply) -> float:
    said = response.headers.get("retry-after", "")
    return max(float(said), _LEAST_PAUSE_S) if said.isdigit() else 1.0


async def whole(response: Reply, tried: str, max_bytes: int | None = None) -> bytes:
    """The body, unpacked. Raises Unreachable where it is larger than the limit, packed or not."""
    most = max_bytes or MAX_BODY_BYTES
    packed = response.headers.get("content-encoding", "identity")
    if packed not in ("identity", "gzip"):
        raise Unreachable(tried, "the answer is compressed in a way that was not asked for", kind="garbage")
    unpack = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if packed == "gzip" else None
    chunks: list[bytes] = []
    left = most
    async for raw in response.pieces():
        try:
            # Never more than what is left: a few kB may unpack to gigabytes.
            chunk = unpack.decompress(raw, left + 1) if unpack is not None else raw
        except zlib.error:
            raise Unreachable(tried, "the answer is not the gzip that it says it is", kind="garbage") from None
        left -= len(chunk)
        if left < 0:
            raise Unreachable(tried, f"the answer is larger than {most // 2**20} MiB", kind="too large")
        chunks.append(chunk)
    if unpack is not None and not unpack.eof:
        raise Unreachable(tried, "the answer was cut", kind="lost")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def read_json(content: bytes, tried: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unreachable(tried, "the answer is not the Kubernetes API's JSON", kind="garbage")
    return found
