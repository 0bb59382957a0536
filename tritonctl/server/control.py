"""Plans that the server's own API carries out: load and unload, on every replica of a service."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Coroutine, Mapping, Sequence

from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.inventory import ControlMode, JoinedModel, ModelState, ReplicaStatus, ServiceStatus
from tritonctl.plan import Plan, Step
from tritonctl.server.address import DEPLOYMENT, Secret, Speaks
from tritonctl.server.client import ServerClient
from tritonctl.server.modelconfig import ensemble_members
from tritonctl.server.options import EVERY_MODEL

LOAD_DEADLINE_S = 300.0
_POLL_S = 0.25
_REFUSING = (ControlMode.NONE, ControlMode.POLL, ControlMode.NONE_OR_POLL)
_ALIVE_S = 2.0
_CONFIG_READ_S = 2.0


async def plan_load(
    status: ServiceStatus,
    model: str,
    *,
    replica: str | None = None,
    config: str | None = None,
    files: Mapping[str, bytes] | None = None,
    deadline_s: float = LOAD_DEADLINE_S,
) -> Plan:
    """Load or reload `model` on every replica, or on one.

    `config` is a JSON document that replaces config.pbtxt in memory. Raises NotFound for a replica or model that nobody
    knows, OperationFailed where the control mode forbids it, UsageError where what serves there is no Triton.
    """
    need_triton(status, f"load {status.id} {model}")
    targets = _targets(status, replica)
    refusing = _need_explicit(status, targets, f"load {model}")
    known = [each for each in status.models if each.name == model]
    if not known and config is None and any(target.models_known for target in targets):
        raise NotFound(f"load {model} on {status.id}", "the repository has no such model", _names(status))
    warnings = [*refusing, *_one_of_several(targets)]
    if config is not None:
        warnings.append("the override lives in memory: it is gone at the next start, and a plain load does not undo it")
    if not any(each.ready_on for each in known):
        warnings.append(
            "if it fails, the whole server may report not ready (strict readiness) until it loads or that restarts"
        )
    else:
        warnings.append("it is loaded: the server loads it again, and keeps the old one when the new one fails")
    warnings += _not_for_good(status, targets, model)
    return Plan(
        action="load",
        service=status.id,
        title=f"Load {model} on {status.id}",
        now=_now(status, known),
        steps=tuple(
            Step(
                call=_call(target, model, "load", {"config": "…"} if config is not None else {}),
                run=_Load(target, model, config, files, deadline_s).run,
                replica=target.replica.name,
                undo_call="" if any(each.ready_on for each in known) else _call(target, model, "unload", {}),
                deadline_s=deadline_s,
            )
            for target in targets
        ),
        warnings=tuple(warnings),
        undo="load it again with the configuration and files of before"
        if any(each.ready_on for each in known)
        else _call(targets[0], model, "unload", {}),
        parallel=True,
    )


def _not_for_good(status: ServiceStatus, targets: Sequence[ReplicaStatus], model: str) -> list[str]:
    """A replica that starts later begins with what its command line names, and with nothing else."""
    begins = next((each.replica.start_models for each in targets if each.replica.start_models is not None), None)
    if begins is None:
        if len(status.replicas) < 2:
            return []
        return ["a replica that starts later comes up without it, unless --load-model names it"]
    if model in begins or EVERY_MODEL in begins:
        return []
    return [
        f"a replica that starts later, as after a restart, comes up without it: --load-model={model} in its command "
        f"cures that; `tritonctl mode {status.id} explicit` writes it there for all that is loaded"
    ]


async def plan_unload(
    status: ServiceStatus,
    model: str,
    *,
    replica: str | None = None,
    dependents: bool = False,
    deadline_s: float = LOAD_DEADLINE_S,
) -> Plan:
    """Unload `model` on every replica, or on one; `dependents` also unloads the members of an ensemble."""
    need_triton(status, f"unload {status.id} {model}")
    targets = _targets(status, replica)
    refusing = _need_explicit(status, targets, f"unload {model}")
    known = [each for each in status.models if each.name == model]
    if not known and any(target.models_known for target in targets):
        raise NotFound(f"unload {model} on {status.id}", "the repository has no such model", _names(status))
    warnings = [*refusing, *_one_of_several(targets)]
    ensembles = await _ensembles_using(status, targets, model)
    if ensembles:
        warnings.append(
            f"{', '.join(ensembles)} (ensemble) needs it and stops serving without a word: it becomes unavailable too"
        )
    loaded = any(each.ready_on for each in known)
    rate = _rate(status, model)
    if rate:
        warnings.append(f"it serves {rate:.3g} req/s now; later requests get 404 until it is loaded again")
    elif rate is None and loaded:
        warnings.append("whether it serves requests now is not known; later ones get 404 until it is loaded again")
    if dependents:
        members = await _members(targets, model)
        warnings.append(f"also unloads what it is made of: {', '.join(members) or 'nothing, it is no ensemble'}")
    if any(model in (each.replica.start_models or ()) for each in targets):
        warnings.append("a replica that starts later loads it again: its command names it with --load-model")
    if not loaded:
        warnings.append("it is not loaded now; the server answers 200 all the same")
    return Plan(
        action="unload",
        service=status.id,
        title=f"Unload {model} from {status.id}",
        now=_now(status, known),
        steps=tuple(
            Step(
                call=_call(target, model, "unload", {"unload_dependents": True} if dependents else {}),
                run=_Unload(target, model, dependents, deadline_s).run,
                replica=target.replica.name,
                undo_call=_call(target, model, "load", {}),
                deadline_s=deadline_s,
            )
            for target in targets
        ),
        warnings=tuple(warnings),
        undo=_call(targets[0], model, "load", {}),
        # What carries traffic, or may, is not unloaded by a yes alone.
        typed=model if loaded and (rate or (rate is None and ensembles)) else "",
        parallel=True,
    )


def need_triton(status: ServiceStatus, what: str, lacks: str = "models") -> None:
    """Raises UsageError where a server of it speaks something else than Triton's protocol."""
    spoken = {each.replica.address.protocol for each in status.replicas if each.replica.address is not None}
    if Speaks.SCORE in spoken:
        raise UsageError(
            what, f"this service is posted to, it has no {lacks}", f"`tritonctl infer {status.id}` posts to it"
        )
    if Speaks.TENSORFLOW in spoken:
        raise UsageError(
            what,
            f"this service speaks TensorFlow Serving's protocol, which tells no {lacks}",
            f"`tritonctl infer {status.id} MODEL` sends it a request",
        )


class _Load:
    def __init__(
        self,
        target: ReplicaStatus,
        model: str,
        config: str | None,
        files: Mapping[str, bytes] | None,
        deadline_s: float,
    ) -> None:
        self._target, self._model, self._config, self._files = target, model, config, files
        self._deadline_s = deadline_s

    async def run(self) -> str:
        async with _client(self._target) as client:
            load = client.load(self._model, config=self._config, files=self._files, timeout_s=self._deadline_s)
            await _while_alive(client, load, f"load {self._model}")
            return "loaded"


async def _while_alive(client: ServerClient, work: Coroutine[None, None, None], what: str) -> None:
    """Wait for the work, but not for a server that has gone: a Python stub that it leaves behind holds its connections
    open (measured on 2.51.0), so that a load would hang until its deadline."""
    task = asyncio.create_task(work)
    strikes = 0
    try:
        while not (await asyncio.wait({task}, timeout=_ALIVE_S))[0]:
            try:
                await client.live()
                strikes = 0
            except TritonctlError as error:  # a health API that is restricted tells nothing against the server
                strikes += isinstance(error, Unreachable) and error.kind in ("refused", "lost")
            if strikes == 2:
                raise Unreachable(what, "the server went away while it was at it", "see its log", kind="lost")
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _Unload:
    def __init__(self, target: ReplicaStatus, model: str, dependents: bool, deadline_s: float) -> None:
        self._target, self._model, self._dependents, self._deadline_s = target, model, dependents, deadline_s

    async def run(self) -> str:
        async with _client(self._target) as client:
            await client.unload(self._model, dependents=self._dependents, timeout_s=self._deadline_s)
            # The call returns at once; requests in flight end first.
            while True:
                try:
                    states = {each.state for each in await client.index() if each.name == self._model}
                except Forbidden:
                    return "asked for; the index is restricted, so its end cannot be seen"
                if ModelState.UNLOADING not in states and ModelState.READY not in states:
                    return "unloaded"
                await asyncio.sleep(_POLL_S)


def _client(target: ReplicaStatus) -> ServerClient:
    if target.replica.address is None:
        raise OperationFailed(target.replica.name, target.replica.no_address or "its server has no known address")
    return ServerClient(target.replica.address)


def _targets(status: ServiceStatus, replica: str | None) -> list[ReplicaStatus]:
    if replica is not None:
        chosen = [each for each in status.replicas if each.replica.name == replica]
        if not chosen:
            names = ", ".join(each.replica.name for each in status.replicas) or "none"
            raise NotFound(f"replica {replica!r} of {status.id}", "there is no such replica", f"replicas: {names}")
        return chosen
    reachable = [each for each in status.replicas if each.replica.address is not None]
    if not reachable:
        reason = next((each.replica.no_address for each in status.replicas if each.replica.no_address), None)
        raise OperationFailed(status.id, reason or "no replica of it runs", "start it first")
    return reachable


def _one_of_several(targets: Sequence[ReplicaStatus]) -> list[str]:
    return [
        f"{each.replica.name} stands for {each.replica.instances} instances: one of them gets this, the others stay as "
        "they are; put it into the start of all of them, or scale to 1 first"
        for each in targets
        if each.replica.instances > 1
    ]


def _need_explicit(status: ServiceStatus, targets: Sequence[ReplicaStatus], what: str) -> list[str]:
    """What to warn of where only some refuse. Raises OperationFailed where all do."""
    refusing = [each for each in targets if each.control_mode in _REFUSING]
    if refusing and len(refusing) == len(targets):
        modes = ", ".join(dict.fromkeys(str(each.control_mode) for each in refusing))
        raise OperationFailed(
            f"{what} on {status.id}",
            f"the server runs in control mode {modes}, which refuses loads and unloads",
            "restart it with --model-control-mode=explicit and --load-model=NAME for each model to keep",
        )
    return [f"{each.replica.name} runs in control mode {each.control_mode}, and refuses it" for each in refusing]


def _now(status: ServiceStatus, known: Sequence[JoinedModel]) -> str:
    if not known:
        return "not in the repository index"
    states = ", ".join(
        f"version {each.version or '–'} {each.worst.in_words} on {each.ready_on}/{each.replicas}"
        if each.replicas > 1
        else f"version {each.version or '–'} {each.worst.in_words}"
        for each in known
    )
    return f"{states}; {status.counts.ready} of {status.counts.total} models ready"


def _names(status: ServiceStatus) -> str:
    names = sorted({each.name for each in status.models})
    return "models: " + (", ".join(names[:12]) + (" …" if len(names) > 12 else "") if names else "none")


def _rate(status: ServiceStatus, model: str) -> float | None:
    """Requests a second now; None: not known, as after a single look or without metrics."""
    figures = status.rates.models if status.rates is not None else {}
    known = [each.requests_per_s for (name, _), each in figures.items() if name == model]
    return sum(rate for rate in known if rate is not None) if any(rate is not None for rate in known) else None


async def _members(targets: Sequence[ReplicaStatus], model: str) -> tuple[str, ...]:
    try:
        async with _client(targets[0]) as client:
            return ensemble_members(await client.config(model))
    except TritonctlError:
        return ()


def _call(target: ReplicaStatus, model: str, what: str, parameters: Mapping[str, object]) -> str:
    """The call as a person could type it, to the same server: a variable stands for what may be a key or a token."""
    address = target.replica.address
    path = f"{address.http if address else 'http://…'}/v2/repository/models/{model}/{what}"
    document = json.dumps({"parameters": dict(parameters)}, ensure_ascii=False) if parameters else ""
    if address is not None and address.way is not None:
        return address.way.typed("POST", path, document)
    url = shlex.quote(path)
    body = f" -d {shlex.quote(document)}" if document else ""
    globs = " -g" if any(mark in url for mark in "[]{}") else ""
    trusted = f" --cacert {shlex.quote(address.ca)}" if address is not None and address.ca else ""
    headers = "".join(map(_header, address.headers.items())) if address is not None else ""
    return f"curl{globs}{trusted} -X POST{headers} {url}{body}"


def _header(header: tuple[str, Secret]) -> str:
    """Of the values only that is shown which chooses a deployment; the others may be secrets. In quotes in which a
    shell fills in the variable."""
    name, value = header
    if name.lower() == DEPLOYMENT:
        return f" -H {shlex.quote(f'{name}: {value.reveal()}')}"
    if not re.fullmatch(r"[\w-]+", name):
        return f" -H {shlex.quote(f'{name}: …')}"
    scheme = value.reveal().partition(" ")[0]
    if name.lower() == "authorization":
        return f' -H "{name}: {scheme} $TOKEN"' if scheme in ("Bearer", "Basic") else f' -H "{name}: $TOKEN"'
    variable = re.sub(r"\W", "_", name).upper()
    return f' -H "{name}: ${variable}"'


async def _ensembles_using(status: ServiceStatus, targets: Sequence[ReplicaStatus], model: str) -> list[str]:
    """The loaded ensembles that have `model` as a step; asked of the first replica, within a short time."""
    names = sorted({each.name for each in status.models if each.ready_on and each.name != model})
    users: list[str] = []
    if targets[0].replica.address is None:
        return users
    async with ServerClient(targets[0].replica.address, timeout_s=_CONFIG_READ_S) as client:

        async def look(name: str) -> None:
            try:
                config = await client.config(name)
            except TritonctlError:
                return  # a model that went away, or a restricted API: the plan says what is known
            if model in ensemble_members(config):
                users.append(name)

        await asyncio.gather(*(look(name) for name in names[:200]))
    return sorted(users)
