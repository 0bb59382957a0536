"""What a server's log said before it ended, where Kubernetes itself knows only the exit code."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from backends.kubernetes.client import podlog
from backends.kubernetes.client.api import Api
from backends.kubernetes.pod import ContainerStatus, Ended, Pod
from backends.kubernetes.store import SeenPod, Store
from tritonctl.errors import TritonctlError
from tritonctl.server import log

_STOPPED = frozenset((0, 143))
_READ_S = 5.0
_TOGETHER = 4
_MOST = 500  # ends whose words are kept

Mark = tuple[str, str, float | None]  # pod's uid, container, when it ended


class LastWords:
    """Each end's log is read once; what it said then stands in the pod that the store has."""

    def __init__(self, api: Api, store: Store) -> None:
        self._api = api
        self._store = store
        self._said: dict[Mark, str] = {}
        self._asked: set[Mark] = set()
        self._limit = asyncio.Semaphore(_TOGETHER)
        store.complete = self._complete

    def unknown(self) -> list[tuple[Mark, Pod, bool]]:
        """Ends whose log nobody has read yet, and whether that is the log of the run before."""
        found = []
        for seen in self._store.pods.values():
            for status in _servers(seen):
                ended = _ended(status)
                mark = (seen.pod.uid, status.name, ended.finished_at) if ended is not None else None
                if mark is not None and mark not in self._asked:
                    found.append((mark, seen.pod, status.ended is None))
        return found

    async def read(self, mark: Mark, pod: Pod, previous: bool) -> None:
        """Never raises: who may not read logs, or comes too late, sees the exit code alone."""
        if len(self._asked) > 10 * _MOST:  # of pods that ended again and again for days
            self._asked.clear()
        self._asked.add(mark)
        try:
            async with self._limit, asyncio.timeout(_READ_S):
                lines = await podlog.tail(self._api, pod.namespace, pod.name, mark[1], previous)
        except (TritonctlError, TimeoutError):
            return
        gone = any(line.startswith(podlog.GONE) for line in lines[:1])
        if not gone and (said := log.last_words(lines)):
            while len(self._said) >= _MOST:
                self._asked.discard(next(iter(self._said)))
                del self._said[next(iter(self._said))]
            self._said[mark] = said
            self._store.touch_pod(pod.namespace, pod.name)

    def _complete(self, seen: SeenPod) -> SeenPod:
        ours = {status.name for status in _servers(seen)}
        statuses = tuple(self._with_words(seen.pod, each) if each.name in ours else each for each in seen.pod.statuses)
        return replace(seen, pod=replace(seen.pod, statuses=statuses)) if statuses != seen.pod.statuses else seen

    def _with_words(self, pod: Pod, status: ContainerStatus) -> ContainerStatus:
        def told(ended: Ended | None) -> Ended | None:
            said = self._said.get((pod.uid, status.name, ended.finished_at)) if ended is not None else None
            return replace(ended, message=said) if ended is not None and said else ended

        return replace(status, ended=told(status.ended), last=told(status.last))


def _servers(seen: SeenPod) -> list[ContainerStatus]:
    ours = {server.container for server in seen.found.servers}
    return [each for each in seen.pod.statuses if each.name in ours]


def _ended(status: ContainerStatus) -> Ended | None:
    """The end that its log should explain, where nothing else does."""
    ended = status.ended or status.last
    if ended is None or ended.exit_code in _STOPPED or ended.reason not in ("", "Error") or ended.message:
        return None
    return ended
