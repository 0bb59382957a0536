"""A TCP proxy before a server that keeps each request line it saw, and may speak TLS."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Recorded:
    """`requests` are "METHOD PATH", in the order they came; `heads` whole request heads."""

    port: int = 0
    heads: list[str] = field(default_factory=list)

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[str]:
        return [" ".join(head.split(" ")[:2]) for head in self.heads]


@contextmanager
def recording(target_port: int, tls: ssl.SSLContext | None = None) -> Iterator[Recorded]:
    """A proxy to 127.0.0.1:`target_port`. A request must come in one piece, as those without a large body do."""
    recorded = Recorded()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            ours = self.request
            if tls is not None:
                try:
                    ours = tls.wrap_socket(ours, server_side=True)
                except (ssl.SSLError, OSError):
                    return
            with socket.create_connection(("127.0.0.1", target_port)) as theirs:
                back = threading.Thread(target=_pump, args=(theirs, ours))
                back.start()
                with suppress(OSError):
                    while chunk := ours.recv(65536):
                        if chunk.split(b" ")[0] in (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH"):
                            recorded.heads.append(chunk.split(b"\r\n\r\n")[0].decode("latin-1"))
                        theirs.sendall(chunk)
                with suppress(OSError):
                    theirs.shutdown(socket.SHUT_RDWR)
                back.join()

    with serving(Handler) as port:
        recorded.port = port
        yield recorded


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """The port of a threading TCP server of this handler."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def answering(status: int, body: str = "") -> Iterator[int]:
    """The port of a server that answers every request in the same words: what stands before Triton, not Triton."""
    words = body.encode()
    answer = b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(words), words)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.recv(65536)
                self.request.sendall(answer)

    with serving(Handler) as port:
        yield port


@contextmanager
def silent() -> Iterator[int]:
    """The port of a server that accepts and never answers."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                while self.request.recv(65536):
                    pass

    with serving(Handler) as port:
        yield port


def dead_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
