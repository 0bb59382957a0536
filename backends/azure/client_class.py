"""httpx, imported on first use and without its own command line."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


def client_class() -> type[httpx.AsyncClient]:
    # httpx imports its own command line, and with it click, rich and pygments, wherever click is installed; a None in
    # sys.modules is Python's documented way to say that a module cannot be imported, and httpx then goes without
    # (measured: 93 ms instead of 290 ms).
    if "httpx" not in sys.modules:
        sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
        # httpcore asks sniffio, where there is one, four times a request; an import that fails is searched for on
        # the disk each time (measured: a fifth of the whole cost of a request).
        if find_spec("sniffio") is None:
            sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]
    from httpx import AsyncClient

    return AsyncClient
