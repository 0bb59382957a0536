"""For a process of the tests: *.blob.localhost is this machine, as every name under localhost should be (RFC 6761)."""

import socket

_resolve = socket.getaddrinfo


def _at_home(host, *arguments, **named):  # type: ignore[no-untyped-def]
    near = isinstance(host, str) and host.endswith(".blob.localhost")
    return _resolve("127.0.0.1" if near else host, *arguments, **named)


socket.getaddrinfo = _at_home
