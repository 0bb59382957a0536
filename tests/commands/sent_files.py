"""The files of a load request: Triton keeps them in a folder under /tmp that it never deletes (measured on 2.51.0)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.servers import Running


@contextmanager
def removed_after(server: Running) -> Iterator[None]:
    """Deletes the folders of the models that are loaded from requests at the end: their processes name them."""
    try:
        yield
    finally:
        for stub in psutil.Process(server.server.pid).children(recursive=True):
            for folder in re.findall(r"/tmp/folder\w{6}(?=/)", " ".join(stub.cmdline())):
                shutil.rmtree(folder, ignore_errors=True)
