"""One service as it is known: what its place tells of it, and what the looks at its replicas' servers saw."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field, replace

from tritonctl import status
from tritonctl.inventory import Point, Replica, ReplicaStatus, Service, ServiceStatus
from tritonctl.logreasons import LogReasons

HISTORY = 120  # points kept for a service's charts


@dataclass(slots=True)
class Tracked:
    service: Service
    phase: float = 0.0  # where in the interval its looks are due, 0..1
    replicas: dict[str, ReplicaStatus] = field(default_factory=dict)
    history: deque[Point] = field(default_factory=lambda: deque(maxlen=HISTORY))
    reasons: LogReasons = field(default_factory=LogReasons)
    _derived: ServiceStatus | None = None
    # Ages are counted by the clock that never jumps; what is shown, charts and `seen_at`, has the time of day.
    _seen_s: dict[str, float] = field(default_factory=dict)
    _pointed_s: float = -math.inf

    def status(self) -> ServiceStatus:
        """The same object until something changes."""
        if self._derived is None:
            self._derived = status.derive(self.service, list(self.replicas.values()))
        return self._derived

    def take(self, service: Service) -> frozenset[str]:
        """The service as its place tells it now; the names of the replicas that are new, started anew, or reached
        elsewhere."""
        self.service = service
        self._derived = None
        wanted = {replica.name: replica for replica in service.replicas}
        for name in [name for name in self.replicas if name not in wanted]:
            del self.replicas[name]
            self._seen_s.pop(name, None)
            self.reasons.forget()  # its log goes with it
        new = set()
        for name, replica in wanted.items():
            before = self.replicas.get(name)
            if before is not None and before.replica == replica:
                continue
            if before is None or _is_another(before.replica, replica):
                new.add(name)
                self._seen_s.pop(name, None)
                self.replicas[name] = ReplicaStatus(replica, looked=_has_no_server(replica))
                self.reasons.forget()  # what the log of the one before it said is not of this one
            else:
                looked = before.looked or _has_no_server(replica)
                self.replicas[name] = replace(before, replica=replica, looked=looked)
        return frozenset(new)

    def saw(self, replica: str, seen: ReplicaStatus, interval_s: float) -> bool:
        """What a look saw; False where the replica is gone by now."""
        before = self.replicas.get(replica)
        if before is None:
            return False
        # What the platform says may have changed while the server was asked.
        self.replicas[replica] = replace(seen, replica=before.replica)
        if before.error is not None and seen.error is None:
            self.reasons.forget()  # it came back: what its log said of the run before is old
        self._derived = None
        if seen.seen_at != before.seen_at:
            self._seen_s[replica] = time.monotonic()
        now, at = self.status(), time.monotonic()
        if at - self._pointed_s < interval_s / 2:
            pass  # charts have even steps: a hurried look adds none
        elif seen.rates is not None and now.rates is not None:
            self.history.append(Point.of(now.rates, time.time()))
            self._pointed_s = at
        elif self.history and all(each.rates is None for each in self.replicas.values()):
            self.history.append(Point.unknown(time.time()))
            self._pointed_s = at
        return True

    def give_up(self, deadline_s: float) -> bool:
        """Whoever waited for the first look waits no longer; whether there is a replica that was not looked at."""
        late = [name for name, seen in self.replicas.items() if not seen.looked]
        for name in late:
            words = f"no answer within {round(deadline_s, 2):g} s"
            self.replicas[name] = replace(self.replicas[name], error=words, error_kind="timeout")
            self._derived = None
        return bool(late)

    @property
    def looked(self) -> bool:
        """Whether every replica that has a server was looked at."""
        return all(seen.looked for seen in self.replicas.values())

    def older_than(self, seconds: float) -> bool:
        """Whether what is known of a replica is older than that, or it was never seen."""
        now = time.monotonic()
        return any(now - self._seen_s.get(name, -math.inf) > seconds for name in self.replicas)


def _is_another(before: Replica, now: Replica) -> bool:
    """Whether another process answers than before: elsewhere, or started anew; it may be loading its models again. So
    it is where one becomes several behind an address, or the other way round."""
    if (before.instances == 1) != (now.instances == 1):
        return True
    return before.address != now.address or now.started_at not in (None, before.started_at)


def _has_no_server(replica: Replica) -> bool:
    """There is nothing to look at, nor will there be once its place has said how it is reached."""
    return replica.address is None and not replica.address_pending
