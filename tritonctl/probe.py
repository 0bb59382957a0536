"""Looking at one replica's server again and again: health, version, control mode, models, metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, Unreachable, fault
from tritonctl.inventory import Replica, ReplicaStatus
from tritonctl.server import metrics, models, presence, rates
from tritonctl.server.address import Speaks
from tritonctl.server.client import IndexEntry, ServerClient, Statistics
from tritonctl.server.counted import Counting

LOOK_DEADLINE_S = 5.0
LEAST_WINDOW_S = 1.0
_BIG_PAGE = 256 * 1024  # characters; a larger page is parsed beside the event loop
_METRICS_RETRY_S = 10.0
_METRICS_DEADLINE_S = 2.0  # a metrics port that hangs holds up what the server itself tells no longer than this
_MEET_AGAIN_S = 60.0  # a server may have been replaced between two looks: Triton is up again within a second
_MODE_DEADLINE_S = 1.0


_NO_ADDRESS = "no metrics address is known: set metrics = … for this server"
_FROM_STATISTICS = "no metrics address is known: these are from the statistics, which know nothing of GPU and CPU"
_SEVERAL = "several instances answer at one address, and none says which it is: describe has the place's own figures"


class ServerProbe:
    """Keeps the connection and the last scrape of one server between two looks."""

    def __init__(
        self,
        replica: Replica,
        *,
        may_ask_mode: bool = True,
        deadline_s: float = LOOK_DEADLINE_S,
        least_window_s: float = LEAST_WINDOW_S,
    ) -> None:
        if replica.address is None:
            raise ValueError("a replica without an address cannot be probed")
        self._client = ServerClient(replica.address, timeout_s=deadline_s)
        self._deadline_s = deadline_s
        # The question for the control mode is an unload of a name that nobody has. It changes nothing, but read-only
        # means that no call that could change something is sent.
        self._may_ask_mode = may_ask_mode
        self._least_window_s = least_window_s
        self._scrape: rates.Scrape | None = None
        self._earlier: rates.Scrape | None = None
        # Behind an address of several, each answer is another one's, and no difference means anything.
        self._alone = replica.instances == 1
        self._counting = Counting(least_window_s)
        self._met_at: float | None = None
        self._metrics_after = 0.0
        self._metrics_error: str | None = None

    async def aclose(self) -> None:
        await self._client.aclose()

    async def look(
        self, before: ReplicaStatus, *, statistics: bool = False, log_reasons: Mapping[str, str] | None = None
    ) -> ReplicaStatus:
        """What the server tells now, or `before` with the error that this look met. Never raises but when cancelled."""
        try:
            return await self._look(before, statistics, log_reasons or {})
        except Exception as caught:  # what a server sends must not end its probe, whatever it is
            error = caught if isinstance(caught, TritonctlError) else fault("look at the server", caught)
            self._met_at = None
            self._scrape = self._earlier = None
            self._counting.forget()
            return replace(
                before,
                live=None,
                ready=None,
                rates=None,
                error=error.headline,
                advice=error.advice,
                error_kind=_kind(error),
                looked=True,
            )
        finally:
            await self._client.rest()

    async def _look(
        self, before: ReplicaStatus, want_statistics: bool, log_reasons: Mapping[str, str]
    ) -> ReplicaStatus:
        if self._client.address.protocol is not Speaks.TRITON:
            return await self._look_for(before)
        ready = await self._client.ready()
        live = ready or await self._client.live()
        now = replace(
            before,
            live=live,
            ready=ready,
            looked=True,
            error=None,
            advice=None,
            error_kind=None,
            seen_at=time.time(),
        )
        if self._met_at is None or time.monotonic() - self._met_at > _MEET_AGAIN_S:
            now = await self._meet(now)
        page_rates = await self._rates()
        stats: tuple[Statistics, ...] = ()
        # Without metrics only the statistics know a model that was loaded from files (Triton issue 7066).
        if live and (want_statistics or page_rates is None):
            asked_at = time.monotonic()
            stats = await self._statistics()
            if self._client.address.metrics is None and self._alone and stats:
                page_rates, self._metrics_error = self._counting.rates(stats, asked_at), _FROM_STATISTICS
        # The index comes last: a model that is loaded meanwhile would else seem to be missing from it.
        index, index_known = await self._index()
        counted = page_rates.models if page_rates is not None else {}
        return replace(
            now,
            models=models.join(index, stats, counted, log_reasons, mode=now.control_mode)
            if index_known
            else before.models,
            models_known=index_known or before.models_known,
            rates=page_rates,
            metrics_error=self._metrics_error,
        )

    async def _look_for(self, before: ReplicaStatus) -> ReplicaStatus:
        """That a server of another protocol is there is all that can be known of it."""
        ready = await presence.answers(self._client.address, self._deadline_s)
        return replace(
            before, live=True, ready=ready, looked=True, error=None, advice=None, error_kind=None, seen_at=time.time()
        )

    async def _meet(self, status: ReplicaStatus) -> ReplicaStatus:
        """What does not change while a server runs. It is up, its health says: what is restricted is only unknown."""
        with suppress(OperationFailed, Forbidden, NotFound):
            metadata = await self._client.metadata()
            status = replace(status, version=metadata.version, extensions=metadata.extensions)
        mode = status.replica.control_mode
        if mode is None and self._may_ask_mode:
            mode = status.control_mode  # as it was known, where no answer comes
            with suppress(TritonctlError):
                mode = await self._client.detect_control_mode(_MODE_DEADLINE_S)
        self._met_at = time.monotonic()
        return replace(status, control_mode=mode)

    async def _index(self) -> tuple[tuple[IndexEntry, ...], bool]:
        try:
            return await self._client.index(), True
        except (OperationFailed, Forbidden, NotFound):
            return (), False  # restricted, or a server without the model repository extension

    async def _statistics(self) -> tuple[Statistics, ...]:
        try:
            return await self._client.statistics()
        except (OperationFailed, Forbidden, NotFound, Unreachable):
            return ()  # health was told a moment ago: a slow or restricted statistics API is not a server that is gone

    async def _rates(self) -> rates.Rates | None:
        """The figures of the metrics page; a closed port is a fact about the metrics, not about the server."""
        address = self._client.address
        if address.metrics is None:
            self._metrics_error = _NO_ADDRESS if self._alone else _SEVERAL
            return None
        at = time.monotonic()
        if at < self._metrics_after:
            return None
        try:
            text = await self._client.metrics(_METRICS_DEADLINE_S)
        except TritonctlError as error:
            guess = " (guessed from the HTTP port)" if address.guessed else ""
            self._metrics_error = f"{error.headline}{guess}"
            self._metrics_after = time.monotonic() + _METRICS_RETRY_S
            self._scrape = self._earlier = None
            return None
        known = self._scrape.page if self._scrape is not None else None
        before = self._before(at)
        if len(text) < _BIG_PAGE:
            page, figures = _read(text, known, before, at)
        else:
            page, figures = await asyncio.to_thread(_read, text, known, before, at)
        if not page.families:
            self._metrics_error = f"{address.metrics} answers, but not with metrics"
            self._metrics_after = at + _METRICS_RETRY_S
            return None
        self._metrics_error = "the page was cut off in the middle" if page.truncated else None
        if self._scrape is None or before is self._scrape:
            self._earlier, self._scrape = self._scrape, rates.Scrape(page, at)
        return figures

    def _before(self, at: float) -> rates.Scrape | None:
        """The scrape to count from: the last one, or, where a look was hurried after it, the one before.

        Over some milliseconds a rate is noise: one request more or less is hundreds a second.
        """
        if self._scrape is not None and at - self._scrape.at_s < self._least_window_s:
            return self._earlier
        return self._scrape


def _read(
    text: str, known: metrics.Page | None, before: rates.Scrape | None, at: float
) -> tuple[metrics.Page, rates.Rates]:
    page = metrics.parse(text, known)
    return page, rates.rates(before, rates.Scrape(page, at))


def _kind(error: TritonctlError) -> str:
    if isinstance(error, Unreachable):
        return error.kind
    return "forbidden" if isinstance(error, Forbidden) else "failed"
