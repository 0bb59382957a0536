"""A gRPC channel to one server: what goes along with its calls, and their failures in words."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonctl.errors import Forbidden, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.server.address import ServerAddress
from tritonctl.server.request import TOO_LARGE_ADVICE, InferenceRequest, refusal

if TYPE_CHECKING:
    import grpc

_MAX_SEND_BYTES = 2**31 - 1  # protobuf's own limit
_METADATA_KEY = re.compile(r"[0-9a-z_.-]+")
# A server refuses with UNAVAILABLE too (a full queue, a restricted protocol), and no field of a gRPC error tells
# whether it came from the server or from this side's transport; the words do (grpcio 1.85).
_TRANSPORT = re.compile(
    r"failed to connect|socket closed|connection (reset|refused|timed out)|broken pipe|goaway|recvmsg|end of tcp stream"
    r"|errors? resolving|dns resolution|keepalive|handshake|stream removed|rst_stream|transport|endpoint closing",
    re.IGNORECASE,
)
_RESTRICTED_PREFIX = "triton-grpc-protocol-"


def load() -> None:
    """Import gRPC, quietly."""
    # gRPC's core writes to file descriptor 2 ("Handshake failed …"), in the middle of a screen; it reads this once.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc.aio  # noqa: F401


def open_channel(address: ServerAddress, max_bytes: int) -> Any:
    """A `grpc.aio.Channel` to the address's gRPC port; answers may have `max_bytes`. Raises Unreachable for the CA."""
    load()
    from grpc import aio, ssl_channel_credentials

    if address.grpc is None:
        raise ValueError("an address without a gRPC port")
    options = [
        ("grpc.max_send_message_length", _MAX_SEND_BYTES),
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.enable_http_proxy", 0),  # one from the environment answers gRPC with HTTP 404
    ]
    if address.grpc_tls:
        return aio.secure_channel(address.grpc, ssl_channel_credentials(_ca(address.ca)), options=options)
    return aio.insecure_channel(address.grpc, options=options)


def _ca(path: str | None) -> bytes | None:
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise Unreachable(
            f"read the CA file {path}", str(error.strerror or error), "set ca to a readable PEM file", kind="tls"
        ) from None


def metadata_of(address: ServerAddress) -> tuple[tuple[str, str], ...]:
    """The address's headers as gRPC wants them, in lower case. A restricted API expects header `k` over HTTP and
    `triton-grpc-protocol-k` over gRPC (Triton's docs/customization_guide/inference_protocols.md), so both are sent.
    """
    found: dict[str, str] = {}
    for name, value in address.headers.items():
        key = name.lower()
        if not _METADATA_KEY.fullmatch(key) or key.endswith("-bin") or not value.reveal().isascii():
            raise UsageError(f"header {name!r}", "cannot be sent over gRPC", "use letters, digits, - and _ in ASCII")
        found[key] = value.reveal()
        if key != "authorization" and not key.startswith(_RESTRICTED_PREFIX):
            found.setdefault(_RESTRICTED_PREFIX + key, value.reveal())
    return tuple(found.items())


def raise_if_ours(tried: str) -> None:
    """grpc.aio tells of a call that was cancelled or whose channel was closed by CancelledError, also where nobody
    cancelled the task; let through, it would end the task in silence. Raises Unreachable in that case.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling() == 0:
        raise Unreachable(tried, "the connection was closed on this side", kind="lost") from None


def failed(
    tried: str, error: grpc.aio.AioRpcError, request: InferenceRequest | None, timeout_s: float
) -> TritonctlError:
    """`error` in words; `timeout_s` is the deadline that the call had."""
    return in_words(tried, error.code(), error.details() or "", request, timeout_s)


def in_words(
    tried: str, code: grpc.StatusCode, words: str, request: InferenceRequest | None, timeout_s: float
) -> TritonctlError:
    import grpc

    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unreachable(
            tried,
            f"no answer within {round(timeout_s, 2):g} s",
            "the port is open but nothing answers in time: look at the server's log, or give it longer with --timeout",
            kind="timeout",
        )
    if code is grpc.StatusCode.UNAVAILABLE and "is restricted" not in words and _TRANSPORT.search(words):
        return Unreachable(tried, f"gRPC failed: {words}", "check the gRPC address and port", kind=_kind(words))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in words:
        return Unreachable(tried, f"the answer is too large: {words}", TOO_LARGE_ADVICE, kind="too large")
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return Forbidden(tried, words or str(code), "give a token with token_env in the settings")
    if request is None:
        return OperationFailed(tried, words)
    return refusal(tried, words or f"gRPC {code.name}", request)


def _kind(words: str) -> str:
    if "refused" in words:
        return "refused"
    if "CERTIFICATE" in words or "SSL" in words or "handshake" in words.lower():
        return "tls"
    if "resolv" in words.lower() or "DNS" in words:
        return "name"
    return "lost"
