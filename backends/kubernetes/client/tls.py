"""The TLS of one cluster: its own CA, a client certificate that is only in memory, or no verification at all."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from backends.kubernetes.client.access import Access
from backends.kubernetes.client.plugin import Credential
from tritonctl.errors import Unreachable


def context_for(access: Access, credential: Credential | None) -> ssl.SSLContext | None:
    """None where the server is plain HTTP. Raises Unreachable for what is no certificate."""
    if not access.server.startswith("https:"):
        return None
    try:
        context = ssl.create_default_context(cadata=access.ca)
        if access.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if credential is not None and credential.certificate and credential.key is not None:
            with _as_file(credential.certificate + "\n" + credential.key.reveal()) as path:
                context.load_cert_chain(path)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; its text names no part of the key
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise Unreachable(
            f"read the certificates of {access.context or access.server}",
            f"{reason}",
            f"certificate-authority, client-certificate and client-key in {access.source}",
            kind="tls",
        ) from None
    return context


@contextmanager
def _as_file(pem: str) -> Iterator[str]:
    """Python reads a key from a path only: from one that leads into memory, where there is such a one."""
    memory = getattr(os, "memfd_create", None)
    if memory is not None and os.path.isdir("/proc/self/fd"):
        descriptor = memory("client", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, pem.encode())
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    descriptor, path = tempfile.mkstemp()  # readable by its owner only
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(pem)
        yield path
    finally:
        with suppress(OSError):
            os.unlink(path)
