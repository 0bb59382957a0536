"""A load from the pane: told while it runs, summed up at its end, with the server's own words beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from tritonctl.workbench.beside import Watching
from tritonctl.workbench.load import Found, LoadResult, Send
from tritonctl.workbench.split import Counted, split
from tui.panes.request import said
from tui.panes.request.curve import Curve, carry_out
from tui.panes.request.load_line import LoadLine
from tui.widgets.sheet import Piece

Count = Callable[[int], Awaitable[Counted | None]]
"""The server's statistics once so many requests were counted; None where it tells none."""


async def measure(
    load: LoadLine,
    send: Send,
    *,
    curve: Curve,
    counted: Count,
    beside: AbstractAsyncContextManager[Watching],
    show: Callable[[Sequence[Piece]], None],
) -> None:
    """Cancelling it ends every request; what there is then stays on the screen."""
    before = await counted(0)
    newest = LoadResult(load.plan())
    curve.hide()
    async with beside as watching:

        def told(result: LoadResult) -> None:
            nonlocal newest
            newest = result
            curve.show(result, watching)
            show([*said.load_pieces(result, None, ended=False), *said.beside_pieces(watching.newest)])

        try:
            done = await carry_out(load, send, told)
        except asyncio.CancelledError:
            newest.stopped = newest.stopped or "by esc"
            show([*said.load_pieces(newest, None, ended=True), *said.beside_pieces(watching.newest)])
            raise
        last = watching.newest
    if isinstance(done, Found):
        show(said.found_pieces(load.limit_ms or 0.0, done))
        return
    parts = None
    mean = done.histogram.mean
    if before is not None and mean is not None and "lost" not in done.stopped:
        after = await counted(before.success + done.done + 1)  # one that tried the way came before them
        parts = split(before, after, done.done + 1, mean) if after is not None else None
    show([*said.load_pieces(done, parts, ended=True), *said.beside_pieces(last)])
