"""What a connection failed with, as the person at the terminal needs it: the same words for servers, clusters and
clouds, each with advice of its own."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from tritonctl.dial import ConnectTimeout, HandshakeCut, NotConnected
from tritonctl.errors import TritonctlError, Unreachable
from tritonctl.http1 import NotHttp


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do where a connection times out, where a certificate does not verify, where TLS fails, and so on."""

    timeout: str
    certificate: str
    tls: str
    name: str
    refused: str
    garbage: str
    lost: str
    hung_up: str = ""
    """Where the other side hangs up as TLS begins; "": that is a connection that was lost."""


def in_words(tried: str, where: str, error: Exception, advice: Advice) -> TritonctlError:
    """`error` is what tritonctl.dial and tritonctl.http1 raise: an OSError, ssl.SSLError, EOFError or a TritonctlError,
    which is returned as it is. `where` is the other side, for a person.
    """
    if isinstance(error, TritonctlError):
        return error
    said = str(error) or type(error).__name__
    if isinstance(error, ConnectTimeout):
        return Unreachable(
            tried, f"no connection to {where} within {error.seconds:g} s", advice.timeout, kind="timeout"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = f"the certificate of {where} does not verify: {error.verify_message or said}"
        return Unreachable(tried, reason, advice.certificate, kind="tls")
    if isinstance(error, ssl.SSLError):
        return Unreachable(tried, f"TLS failed with {where}: {error.reason or said}", advice.tls, kind="tls")
    if isinstance(error, HandshakeCut) and advice.hung_up:
        return Unreachable(tried, f"TLS failed with {where}: {said}", advice.hung_up, kind="tls")
    if isinstance(error, socket.gaierror):
        return Unreachable(tried, f"the name of {where} cannot be resolved", advice.name, kind="name")
    if isinstance(error, NotConnected):
        reason = f"nothing listens on {where}" if error.refused else f"no way leads to {where} ({said})"
        return Unreachable(tried, reason, advice.refused, kind="refused")
    if isinstance(error, NotHttp):
        return Unreachable(tried, f"{where} answers, but not in HTTP ({said})", advice.garbage, kind="garbage")
    said = getattr(error, "strerror", None) or said
    return Unreachable(tried, f"the connection to {where} was lost ({said})", advice.lost, kind="lost")
