"""Where one server answers, and what must be sent along for it to answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from tritonctl.errors import TritonctlError, UsageError

if TYPE_CHECKING:
    from tritonctl.http1 import Reply

DEPLOYMENT = "azureml-model-deployment"
"""Azure ML's header: in a request it chooses a deployment past the traffic's shares, in an answer it says which one."""


class Secret:
    """A value that shows itself only to the one who asks for it by name."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Carrier(Protocol):
    """Requests on their way to one server, over connections that are kept between them."""

    async def send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Reply:
        """The answer with its body still to be read; who asked closes it. `url` begins with one of the address's.

        Raises what tritonctl.dial and tritonctl.http1 raise, or a TritonctlError in the place's own words.
        """
        ...

    async def aclose(self) -> None: ...


class Way(Protocol):
    """How a server is reached to which no plain connection leads, with whose credentials: a backend makes it."""

    def carrier(self) -> Carrier: ...

    def refusal(self, tried: str, status: int, body: bytes) -> TritonctlError | None:
        """What stands between says this and not the server, in words. None: the server itself has answered."""
        ...

    def grpc(self) -> AbstractAsyncContextManager[str]:
        """host:port at which the server's gRPC answers for as long as this is open. Raises TritonctlError."""
        ...

    def typed(self, method: str, url: str, body: str) -> str:
        """The request as a person could type it; no secret in it."""
        ...


class Speaks(StrEnum):
    """What a server understands."""

    TRITON = "triton"
    SCORE = "score"  # JSON posted to one URL: Azure ML's scoring scripts (/score), text generators (/generate)
    TENSORFLOW = "tensorflow"  # gRPC alone, TensorFlow Serving's PredictionService, as Azure ML's FPGA services do


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """`http` is a base URL without a trailing slash, `grpc` is host:port, `metrics` a full URL; None: there is none.

    Of a server that speaks SCORE, `http` is the whole URL to post to; of one that speaks TENSORFLOW it is empty.
    `guessed` tells that gRPC and metrics were derived from the HTTP port (Triton's own ports follow each other:
    8000, 8001, 8002) and not given by anybody. `ca` is the path of a PEM file. With a `way`, the three are names that
    only it can reach.
    """

    http: str
    grpc: str | None = None
    metrics: str | None = None
    headers: Mapping[str, Secret] = field(default_factory=dict)
    ca: str | None = None
    grpc_tls: bool = False
    guessed: bool = False
    way: Way | None = field(default=None, repr=False)
    protocol: Speaks = Speaks.TRITON

    def __hash__(self) -> int:
        return hash((self.http, self.grpc, self.metrics, self.ca, self.protocol))

    @property
    def grpc_in_the_clear(self) -> bool:
        """gRPC would carry headers without TLS that HTTP carries with it: a token that is thought to be secret."""
        plain = self.grpc is not None and not self.grpc_tls and self.way is None
        return plain and bool(self.headers) and self.http.startswith("https:")

    @property
    def shown(self) -> str:
        """What a person knows the server by."""
        return self.http or f"grpc{'s' if self.grpc_tls else ''}://{self.grpc}"


SCORING_PATHS = ("/score", "/generate", "/generate_stream")
"""A URL that ends so is one to post to, not the base of Triton's."""


def parse_address(
    url: str,
    *,
    headers: Mapping[str, Secret] | None = None,
    ca: str | None = None,
    protocol: Speaks | None = None,
) -> ServerAddress:
    """An address from what a person types after --url: Triton's HTTP port, or the URL of a scoring service.

    Raises UsageError when the text names no server.
    """
    text = url.strip()
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        if "@" in parts.netloc:
            raise UsageError(
                "address with a password in it",
                "a URL ends up in logs and process lists",
                "set token_env or headers for this server in the settings",
            )
        port = parts.port
    except ValueError as error:
        raise UsageError(f"address {url!r}", str(error), "write it as http://HOST:8000") from None
    if parts.scheme not in ("http", "https"):
        raise UsageError(f"address {url!r}", f"unknown scheme {parts.scheme!r}", "use http:// or https://")
    if not parts.hostname:
        raise UsageError(f"address {url!r}", "no host in it", "write it as http://HOST:8000")
    path = parts.path.rstrip("/")
    if protocol is Speaks.SCORE or (protocol is None and path.endswith(SCORING_PATHS)):
        query = f"?{parts.query}" if parts.query else ""
        whole = f"{parts.scheme}://{parts.netloc}{parts.path or '/score'}{query}"
        return ServerAddress(whole, headers=headers or {}, ca=ca, protocol=Speaks.SCORE)
    if port is None and parts.scheme == "http":
        raise UsageError(
            f"address {url!r}",
            "no port in it",
            f"Triton's HTTP port is 8000 unless it was moved: {parts.scheme}://{parts.netloc}:8000",
        )
    http = f"{parts.scheme}://{parts.netloc}{path}"
    if parts.scheme == "https" or path or port is None or port > 65533:
        return ServerAddress(http, headers=headers or {}, ca=ca)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return ServerAddress(
        http,
        grpc=f"{host}:{port + 1}",
        metrics=f"http://{host}:{port + 2}/metrics",
        headers=headers or {},
        ca=ca,
        guessed=True,
    )
