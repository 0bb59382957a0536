"""What a connection to an API server failed with, as the person at the terminal needs it."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from backends.kubernetes.client.access import Access
from tritonctl import broken
from tritonctl.broken import Advice
from tritonctl.errors import TritonctlError, Unreachable

CONNECT_S = 5.0
_ADVICE = Advice(
    timeout="nothing came back at all: a VPN that is off, a firewall, or a cluster that is stopped",
    certificate="the cluster was made anew, or certificate-authority-data is another one's: fetch its kubeconfig again",
    tls="is the server's address right?",
    name="a private cluster's name is known inside its network only; or the cluster is stopped or gone",
    refused="is the cluster running?",
    garbage="is the server's address right?",
    lost="is the cluster running?",
)


def name_of(access: Access) -> str:
    place = urlsplit(access.server).netloc.rpartition("@")[2]
    return f"{access.context} ({place})" if access.context else place


def in_words(tried: str, access: Access, error: Exception) -> TritonctlError:
    """`error` is what the streams raised: an OSError, ssl.SSLError or EOFError."""
    where = f"{name_of(access)}, of {access.source}"
    reason = (error.reason or "").upper() if isinstance(error, ssl.SSLError) else ""
    if "ALERT" in reason and "CERTIFICATE" in reason:
        advice = "its client certificate has expired, or is another cluster's: fetch its kubeconfig again"
        return Unreachable(tried, f"{where} refuses the client certificate: {reason}", advice, kind="tls")
    return broken.in_words(tried, where, error, _ADVICE)
