"""Plans for an endpoint's traffic: how requests are shared among its deployments, and which one gets a copy of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from backends.azureml import edit
from backends.azureml.documents import Deployment, Endpoint
from backends.azureml.ground import Ground
from tritonctl.backend import MIRROR
from tritonctl.errors import AlreadySo, NotFound, OperationFailed, UsageError
from tritonctl.plan import NotAsBefore, Plan, Step

_MOST_MIRRORED = 50  # "need to sum to utmost 50" (azure-rest-api-specs, OnlineEndpoint.mirrorTraffic)


@dataclass(frozen=True, slots=True)
class Shares:
    """Percent by deployment: of the requests, and of the copies of them (shadow traffic)."""

    live: Mapping[str, int]
    mirror: Mapping[str, int]

    @classmethod
    def of(cls, endpoint: Endpoint, names: Sequence[str]) -> Shares:
        """Those of deployments that are there: Azure refuses a share of one that is gone, be it 0."""
        return cls(
            {name: share for name, share in endpoint.traffic.items() if name in names},
            {name: share for name, share in endpoint.mirror.items() if name in names and share},
        )

    def __str__(self) -> str:
        live, copied = _told(self.live), _told(self.mirror)
        return f"{live}; a copy of {copied}" if self.mirror else live


async def plan(ground: Ground) -> Plan:
    """The named shares; those that are not named keep what they have. Raises UsageError where Azure would refuse."""
    ground.need_quiet()
    here = {each.name: each for each in await ground.place.deployments(ground.workspace, ground.endpoint.name)}
    before = Shares.of(ground.endpoint, list(here))
    live, mirror = _wanted(ground, before, here)
    after = Shares(live, mirror)
    if after == before:
        raise AlreadySo(f"traffic of {ground.endpoint_id}", f"it is so already: {before}")
    _check_live(ground, after, here)
    _check_mirror(ground, after)
    warnings = unfit_warnings(list(here.values()), before.live, after.live)
    if not any(after.live.values()):
        warnings.append("no deployment gets requests then: who names none in a header gets 404")
    if after.mirror != before.mirror and after.mirror:
        name = next(iter(after.mirror))
        warnings.append(f"callers never see what {name} answers to a copy, nor that it fails: see its log and metrics")
        warnings.append("copies count against the endpoint's bandwidth (5 MB/s unless raised): more is throttled")
    step = traffic_step(ground, after, before)
    return ground.plan(
        f"Traffic of {ground.endpoint_id}: {after}",
        [step],
        now=str(before),
        warnings=tuple(warnings),
        undo=step.undo_call,
        typed=ground.endpoint.name,
    )


def unfit_warnings(here: Sequence[Deployment], before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """Of those that get more of the requests and are not up."""
    return [
        f"{each.name} is {each.state}: its share of the requests may fail"
        for each in here
        if after.get(each.name, 0) > before.get(each.name, 0) and each.state.lower() != "succeeded"
    ]


def traffic_step(ground: Ground, after: Shares, before: Shares) -> Step:
    shift = _Shift(ground, after, before)
    return Step(
        call=_az(ground, after, before),
        run=shift.do,
        replica=ground.endpoint.name,
        undo_call=_az(ground, before, after),
        undo=shift.take_back,
        deadline_s=ground.operation_s,
    )


class _Shift:
    """Written on the document as it is by then. Shares that somebody else set meanwhile are neither overwritten nor
    taken back."""

    def __init__(self, ground: Ground, after: Shares, before: Shares) -> None:
        self._ground = ground
        self._after = after
        self._before = before
        self._sent = False

    async def do(self) -> str:
        fresh = await self._fresh()
        self._need(fresh, all_of(self._ground.endpoint))
        self._sent = True
        return await self._put(fresh, self._after)

    async def take_back(self) -> str:
        """Azure takes no share of a deployment that a later step has deleted: who is left gets it."""
        if not self._sent:
            return "nothing was written"
        try:
            fresh = await self._fresh()
        except NotFound:
            raise NotAsBefore(f"{self._ground.endpoint.name} is gone") from None
        if _counted(all_of(fresh)) == _counted(all_of(self._ground.endpoint)):
            return "it is as it was"
        self._need(fresh, self._after)
        siblings = await self._ground.place.deployments(self._ground.workspace, fresh.name)
        here = {each.name for each in siblings if each.state.lower() != "deleting"}
        gone = [name for name, share in self._before.live.items() if share and name not in here]
        if not gone:
            return await self._put(fresh, _among(self._before, here))
        words = f"{', '.join(gone)} {'is' if len(gone) == 1 else 'are'} gone"
        left = _among(self._before, here)
        if not any(left.live.values()):
            raise NotAsBefore(f"{words}: nobody is left to get the traffic")
        await self._put(fresh, left)
        raise NotAsBefore(f"{words}: {left}")

    async def _fresh(self) -> Endpoint:
        return await self._ground.place.endpoint(self._ground.workspace, self._ground.endpoint.name)

    def _need(self, fresh: Endpoint, expected: Shares) -> None:
        need_unchanged(f"traffic of {self._ground.endpoint_id}", fresh, expected)

    async def _put(self, fresh: Endpoint, shares: Shares) -> str:
        document = edit.with_traffic(fresh.document, shares.live, shares.mirror)
        return await self._ground.calls.put(self._ground.calls.path, document, f"traffic of {self._ground.endpoint_id}")


def _among(shares: Shares, here: Collection[str]) -> Shares:
    """The shares of those that are here, in their proportion."""
    live = {name: share for name, share in shares.live.items() if name in here}
    mirror = {name: share for name, share in shares.mirror.items() if name in here}
    return Shares(live | spread(live), mirror)


def spread(shares: Mapping[str, int]) -> dict[str, int]:
    """The shares made 100 together, each in its proportion; what rounding leaves goes to the largest remainders."""
    whole = sum(shares.values())
    if whole == 0:
        return {}
    exact = {name: 100 * share / whole for name, share in shares.items()}
    rounded = {name: int(value) for name, value in exact.items()}
    by_rest = sorted(exact, key=lambda name: rounded[name] - exact[name])
    for name in by_rest[: 100 - sum(rounded.values())]:
        rounded[name] += 1
    return rounded


def all_of(endpoint: Endpoint | None) -> Shares:
    """Those of deployments that are gone too; none of an endpoint that is not there yet."""
    return Shares(endpoint.traffic, endpoint.mirror) if endpoint is not None else Shares({}, {})


def need_unchanged(tried: str, fresh: Endpoint, expected: Shares, advice: str = "look at the plan again") -> None:
    """Raises OperationFailed where somebody set other shares since the plan was made."""
    now = all_of(fresh)
    if _counted(now) != _counted(expected):
        raise OperationFailed(tried, f"somebody changed it meanwhile: now {now}", advice)


def _counted(shares: Shares) -> tuple[dict[str, int], dict[str, int]]:
    """What two are compared by: a deployment that comes or goes adds or takes a 0, which is no change."""
    live, mirror = ({name: share for name, share in each.items() if share} for each in (shares.live, shares.mirror))
    return live, mirror


def _az(ground: Ground, shares: Shares, other: Shares) -> str:
    told = " ".join(f"{name}={share}" for name, share in shares.live.items())
    call = f'az ml online-endpoint update -n {ground.endpoint.name} --traffic "{told}"'
    if shares.mirror != other.mirror:
        copied = shares.mirror or dict.fromkeys(other.mirror, 0)
        call += f' --mirror-traffic "{" ".join(f"{name}={share}" for name, share in copied.items())}"'
    return f"{call} {ground.workspace.az}"


def _wanted(
    ground: Ground, before: Shares, here: Mapping[str, Deployment]
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """What was typed, over what there is. A mirror that is named is the only one."""
    tried = f"traffic of {ground.endpoint_id}"
    live, mirror = dict(before.live), before.mirror
    words = ground.intent.options
    copies = [word.removeprefix(MIRROR) for word in words if word.startswith(MIRROR)]
    shares = [_share(word) for word in words if not word.startswith(MIRROR)]
    if not words:
        raise UsageError(tried, "no share was named", "traffic NAME=PERCENT …, or --mirror NAME=PERCENT")
    if len({name for name, _ in shares}) < len(shares):
        raise UsageError(tried, "a deployment is named twice")
    if len(copies) > 1:
        raise UsageError(tried, "two mirrors are named", "Azure copies requests to one deployment at a time")
    copied = [_share(word) for word in copies]
    for name, _ in (*shares, *copied):
        if name not in here:
            known = ", ".join(here) or "none"
            raise UsageError(
                f"traffic to {name}", f"{ground.endpoint.name} has no such deployment", f"there is {known}"
            )
    live |= dict(shares)
    for name, share in copied:
        mirror = {name: share} if share else {}
    return live, mirror


def _check_live(ground: Ground, after: Shares, here: Mapping[str, Deployment]) -> None:
    total = sum(after.live.values())
    if total not in (0, 100):
        said = ", ".join(f"{name}={share}" for name, share in after.live.items() if share)
        raise UsageError(
            f"traffic of {ground.endpoint_id}",
            f"the shares add up to {total} %: {said}",
            "they must be 100 together, or 0: " + _example(after.live, here),
        )


def _check_mirror(ground: Ground, after: Shares) -> None:
    """Azure's own rules (its documentation, "safe rollout for online endpoints", limitations of mirroring)."""
    tried = f"mirror the traffic of {ground.endpoint_id}"
    for name, share in after.mirror.items():
        if ground.endpoint.kubernetes:
            raise UsageError(tried, "Azure mirrors on managed endpoints only, and this one is on Kubernetes")
        if share > _MOST_MIRRORED:
            raise UsageError(tried, f"{share} % is too much", f"Azure copies {_MOST_MIRRORED} % at most")
        if after.live.get(name):
            raise UsageError(
                tried,
                f"{name} has {after.live[name]} % of the requests: Azure gives requests or copies, not both",
                f"{name}=0 takes its requests away, --mirror {name}=0 the copies",
            )
        if not any(after.live.values()):
            raise UsageError(tried, "no deployment gets requests: there is nothing to copy")


def _share(word: str) -> tuple[str, int]:
    name, _, percent = word.partition("=")
    if not name or not (percent.isascii() and percent.isdigit()) or int(percent) > 100:
        raise UsageError(f"traffic {word}", "this is not NAME=PERCENT with a whole number from 0 to 100")
    return name, int(percent)


def _example(shares: Mapping[str, int], here: Mapping[str, Deployment]) -> str:
    """Shares that would do: the last one takes what is left."""
    names = list(here)
    left = 100 - sum(share for name, share in shares.items() if name != names[-1])
    if len(names) == 1 or not 0 <= left <= 100:
        return " ".join(f"{name}={100 if not place else 0}" for place, name in enumerate(names))
    return " ".join([*(f"{name}={shares.get(name, 0)}" for name in names[:-1]), f"{names[-1]}={left}"])


def _told(shares: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {share} %" for name, share in shares.items() if share) or "none"
