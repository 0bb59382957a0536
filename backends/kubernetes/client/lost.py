"""What a connection to an API server failed with, as the person at the terminal needs it."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from backends.kubernetes.client.access import Access
from tritonctl.dial import ConnectTimeout, NotConnected
from tritonctl.errors import TritonctlError, Unreachable
from tritonctl.http1 import NotHttp

CONNECT_S = 5.0


def name_of(access: Access) -> str:
    place = urlsplit(access.server).netloc.rpartition("@")[2]
    return f"{access.context} ({place})" if access.context else place


def in_words(tried: str, access: Access, error: Exception) -> TritonctlError:
    """`error` is what the streams raised: an OSError, ssl.SSLError or EOFError."""
    if isinstance(error, TritonctlError):
        return error
    where = f"{name_of(access)}, of {access.source}"
    said = str(error) or type(error).__name__
    if isinstance(error, ConnectTimeout):
        advice = "nothing came back at all: a VPN that is off, a firewall, or a cluster that is stopped"
        return Unreachable(tried, f"no connection to {where} within {CONNECT_S:g} s", advice, kind="timeout")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unreachable(
            tried,
            f"the certificate of {where} does not verify: {error.verify_message or said}",
            "the cluster was made anew, or certificate-authority-data is another one's: fetch its kubeconfig again",
            kind="tls",
        )
    if isinstance(error, ssl.SSLError):
        reason = error.reason or said
        if "ALERT" in reason.upper() and "CERTIFICATE" in reason.upper():
            advice = "its client certificate has expired, or is another cluster's: fetch its kubeconfig again"
            return Unreachable(tried, f"{where} refuses the client certificate: {reason}", advice, kind="tls")
        return Unreachable(tried, f"TLS failed with {where}: {reason}", "is the server's address right?", kind="tls")
    if isinstance(error, socket.gaierror):
        advice = "a private cluster's name is known inside its network only; or the cluster is stopped or gone"
        return Unreachable(tried, f"the name of {where} cannot be resolved", advice, kind="name")
    if isinstance(error, NotHttp):
        return Unreachable(tried, f"{where} sends {said}", "is the server's address right?", kind="garbage")
    if isinstance(error, NotConnected) and error.refused:
        return Unreachable(tried, f"nothing listens at {where}", "is the cluster running?", kind="refused")
    said = getattr(error, "strerror", None) or said
    return Unreachable(tried, f"the connection to {where} was lost: {said}", "is the cluster running?", kind="lost")
