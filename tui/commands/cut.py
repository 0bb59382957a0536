"""What -o json still writes of a request that failed or was stopped: what came of it, and why it came to no end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tritonctl.errors import TritonctlError, UsageError
from tui.commands import documents
from tui.commands.session import Session
from tui.commands.streams import tell

STOPPED = "stopped before its end"


class Cut:
    """`document` makes what is written out of the words of its `error`; whoever knows better what came puts another."""

    def __init__(self, session: Session, document: Callable[[str], Mapping[str, Any]]) -> None:
        self._session = session
        self.document = document

    @contextmanager
    def written(self) -> Iterator[None]:
        """A call that is wrong in itself leaves none: nothing was sent."""
        try:
            yield
        except UsageError:
            raise
        except TritonctlError as error:
            self._write(error.answer)
            raise
        except asyncio.CancelledError:
            self._write(STOPPED)
            raise

    def _write(self, error: str) -> None:
        if self._session.json:
            tell(documents.dump(self.document(error)))
