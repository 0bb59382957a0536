"""The commands that only look: services, backends, models, model, metrics, logs, events."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from tritonctl.errors import NotFound, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.fleet import Fleet
from tritonctl.inventory import Level, ReplicaStatus, ServiceStatus
from tritonctl.server.client import ServerClient
from tritonctl.status import short_reason
from tui import figures
from tui.commands import documents, text
from tui.commands.session import Session, reachable_or_raise, say, service_error, warn_lost

_PARALLEL = 8


async def services(session: Session) -> int:
    async with session.fleet() as fleet:
        snapshot = await fleet.first_look(session.read_timeout_s)
    rows = sorted(snapshot.services, key=lambda each: (each.level, each.id))
    if session.json:
        print(documents.dump([documents.service(each) for each in rows]))
    elif rows:
        print(services_table(rows, colour=text.use_colour(session.arguments.no_color)))
    else:
        say("no service found in: " + (", ".join(each.name for each in snapshot.backends) or "no backend"))
        say("  → tritonctl --url http://HOST:8000, tritonctl demo, or a backend in the settings (tritonctl doctor)")
    warn_lost(snapshot)
    asked = [each for each in rows if each.replicas and each.service.platform.level is not Level.OFF]
    if asked and all(each.error is not None and each.live is None for each in asked):
        return service_error(asked[0]).exit_code
    lost = [each for each in snapshot.backends if not each.optional]
    return Unreachable.exit_code if not rows and any(each.detail for each in lost) else 0


def services_table(rows: list[ServiceStatus], *, colour: bool) -> str:
    return text.table(
        ("", "SERVICE", "PLATFORM", "SERVER", "MODELS", "REPLICAS", "MODE", "TRITON", "NOTE"),
        [
            (
                text.symbol(each.level, colour=colour),
                each.id,
                each.service.platform.state,
                server_word(each),
                f"{each.counts.ready}/{each.counts.total}" if any(r.models_known for r in each.replicas) else "–",
                f"{each.replicas_ready}/{len(each.replicas)}",
                each.control_mode or "?",
                each.version or "–",
                each.note,
            )
            for each in rows
        ],
    )


def server_word(status: ServiceStatus) -> str:
    if status.error is not None and status.live is None:
        return "unreachable" if status.level is not Level.CHANGING else "starting"
    if status.live is None:
        return "–"
    word = "ready" if status.ready else "not ready" if status.live else "not live"
    return f"{word} ≠" if status.disagree else word


async def backends(session: Session) -> int:
    async with session.fleet() as fleet:
        snapshot = await fleet.first_look(session.read_timeout_s, only=())
        counts = {name: sum(each.service.backend == name for each in snapshot.services) for name in fleet.backends}
    if session.json:
        print(documents.dump([documents.backend(each) for each in snapshot.backends]))
        return 0
    print(
        text.table(
            ("BACKEND", "KIND", "STATE", "SERVICES", "READ-ONLY", "DETAIL"),
            [
                (
                    each.name,
                    each.kind,
                    each.state,
                    str(counts[each.name]),
                    "yes" if each.read_only else "no",
                    f"{each.detail}  → {each.advice}" if each.advice else each.detail,
                )
                for each in snapshot.backends
            ],
        )
    )
    return 0


async def models(session: Session) -> int:
    async with session.fleet() as fleet:
        found = await session.find(fleet)
        found = await with_statistics(session, fleet, found)
        reachable_or_raise(found)
        platforms = await _platforms(found)
    if session.json:
        print(documents.dump([documents.model(each, platforms.get(each.name)) for each in found.models]))
        return 0
    colour = text.use_colour(session.arguments.no_color)
    print(models_table(found, platforms, colour=colour))
    return 0


def models_table(status: ServiceStatus, platforms: dict[str, str], *, colour: bool) -> str:
    rows = []
    for each in sorted(status.models, key=lambda model: (model.level, model.name)):
        worst = each.worst
        stats = documents.model(each, None)["stats"]
        rows.append(
            (
                text.symbol(each.level, colour=colour),
                each.name,
                each.version or "–",
                str(worst.state) + (" (overridden)" if worst.overridden else ""),
                platforms.get(each.name, "–"),
                f"{each.ready_on}/{each.replicas}",
                figures.number(stats["success"]),
                figures.number(stats["failure"]),
                figures.duration_us(stats["avg_request_us"]),
                figures.duration_us(stats["avg_queue_us"]),
                short_reason(worst.reason) if worst.reason else "",
            )
        )
    headings = ("", "MODEL", "VER", "STATE", "BACKEND", "ON", "SUCCESS", "FAIL", "LATENCY", "QUEUE", "REASON")
    return text.table(headings, rows, right=(6, 7, 8, 9))


async def with_statistics(session: Session, fleet: Fleet, status: ServiceStatus) -> ServiceStatus:
    """The same service after a look that also read the statistics and, where the index is silent, the log."""
    before = status
    fleet.look_at([status.id], detailed=status.id)
    snapshot = fleet.snapshot
    try:
        async with asyncio.timeout(session.read_timeout_s):
            while snapshot.by_id.get(status.id, before).seen_at == before.seen_at:
                if any(each.error is not None for each in snapshot.by_id.get(status.id, before).replicas):
                    break
                snapshot = await fleet.changed(snapshot)
            await fleet.log_read(status.id)
    except TimeoutError:
        say(f"{status.id}: the statistics did not come within {session.read_timeout_s:g} s")
    return fleet.resolve(status.id)


async def _platforms(status: ServiceStatus) -> dict[str, str]:
    """What each loaded model runs on, as its own metadata says."""
    names = sorted({each.name for each in status.models if each.ready_on})
    target = first_reachable(status)
    limit = asyncio.Semaphore(_PARALLEL)
    found: dict[str, str] = {}
    async with client_of(target) as client:

        async def ask(name: str) -> None:
            async with limit:
                try:
                    platform = (await client.model_metadata(name)).get("platform")
                except TritonctlError:
                    return  # it went away between two calls
                if platform:
                    found[name] = str(platform)

        await asyncio.gather(*(ask(name) for name in names))
    return found


def first_reachable(status: ServiceStatus) -> ReplicaStatus:
    for each in status.replicas:
        if each.replica.address is not None and each.error is None and each.looked:
            return each
    raise service_error(status)


def client_of(target: ReplicaStatus, timeout_s: float = 10.0) -> ServerClient:
    if target.replica.address is None:
        raise Unreachable(target.replica.name, target.replica.no_address or "its server has no known address")
    return ServerClient(target.replica.address, timeout_s=timeout_s)


async def metrics(session: Session) -> int:
    window_s: float = session.arguments.window
    async with session.fleet(interval_s=window_s) as fleet:
        found = await session.find(fleet)
        reachable_or_raise(found)
        snapshot = fleet.snapshot
        deadline = time.monotonic() + session.read_timeout_s + window_s
        while (rates := fleet.resolve(found.id).rates) is None or rates.total.window_s is None:
            current = fleet.resolve(found.id)
            if current.rates is None and any(each.metrics_error for each in current.replicas):
                reason = next(each.metrics_error for each in current.replicas if each.metrics_error)
                raise Unreachable(f"metrics of {found.id}", str(reason), "set metrics = … for this server")
            async with asyncio.timeout(max(0.1, deadline - time.monotonic())):
                snapshot = await fleet.changed(snapshot)
    if session.json:
        print(documents.dump(documents.metrics(found.id, rates)))
        return 0
    document = documents.metrics(found.id, rates)
    print(f"{found.id}, over {rates.total.window_s:.1f} s")
    print(
        text.table(
            ("MODEL", "VER", "REQ/S", "INFER/S", "FAIL/S", "LATENCY", "QUEUE", "COMPUTE", "BATCH", "PENDING"),
            [
                (
                    each["name"],
                    each["version"],
                    figures.number(each["requests_per_s"]),
                    figures.number(each["inferences_per_s"]),
                    figures.number(each["failures_per_s"]),
                    figures.duration_us(each["avg_request_us"]),
                    figures.duration_us(each["avg_queue_us"]),
                    figures.duration_us(each["avg_compute_us"]),
                    figures.number(each["avg_batch"]),
                    figures.number(each["pending"]),
                )
                for each in document["models"]
            ],
            right=tuple(range(2, 10)),
        )
    )
    for gpu in rates.gpus:
        print(
            f"GPU {gpu.uuid}  {figures.percent(gpu.utilization)}  "
            f"{figures.number((gpu.memory_used_bytes or 0) / 2**30)}/{figures.number((gpu.memory_total_bytes or 0) / 2**30)} GiB"
            f"  {figures.number(gpu.power_watts, ' W')}"
        )
    if rates.cpu is not None:
        print(f"CPU of the host  {figures.percent(rates.cpu.utilization)}")
    return 0


async def model(session: Session) -> int:
    from tritonctl.server.modelconfig import as_text, schema

    name: str = session.arguments.model
    async with session.fleet() as fleet:
        found = await session.find(fleet)
        found = await with_statistics(session, fleet, found)
        reachable_or_raise(found)
        versions = [each for each in found.models if each.name == name]
        if not versions:
            known = ", ".join(sorted({each.name for each in found.models})) or "none"
            raise NotFound(f"model {name!r} of {found.id}", "there is no such model", f"models: {known}")
        metadata = config = None
        if any(each.ready_on for each in versions):
            async with client_of(first_reachable(found)) as client:
                metadata, config = await asyncio.gather(client.model_metadata(name), client.config(name))
    if session.json:
        document = {
            "name": name,
            "versions": [documents.model(each, (metadata or {}).get("platform")) for each in versions],
            "metadata": metadata,
            "config": config,
        }
        print(documents.dump(document))
        return 0
    only = replace(found, models=tuple(versions))
    print(models_table(only, {name: str((metadata or {}).get("platform", "–"))}, colour=False))
    for each in versions:
        if each.worst.reason:
            print(f"\nversion {each.version or '–'}: {_block(each.worst.reason)}")
    if metadata is not None and config is not None:
        shape = schema(metadata, config)
        print()
        rows = [("input", each.name, each.datatype, str(list(each.shape))) for each in shape.inputs]
        rows += [("output", each.name, each.datatype, str(list(each.shape))) for each in shape.outputs]
        print(text.table(("WAY", "TENSOR", "TYPE", "SHAPE"), rows))
        print()
        print(_block(as_text(config)))
    else:
        say("it is not loaded: schema and configuration are known only of loaded models")
    return 0


def _block(foreign: str) -> str:
    return "\n".join(text.clean(line) for line in foreign.splitlines())


async def logs(session: Session) -> int:
    arguments = session.arguments
    async with session.fleet() as fleet:
        await fleet.first_look(session.read_timeout_s, only=())
        found = fleet.resolve(arguments.service)
        backend = fleet.backend_of(found.service)
        several = len(found.replicas) > 1
        async for batch in backend.logs(
            found.service,
            replica=arguments.replica,
            tail=arguments.tail,
            follow=arguments.follow,
            previous=arguments.previous,
        ):
            for line in batch:
                if line.dropped:
                    say(f"… {line.dropped} lines were lost here")
                print(f"{line.replica}  {text.clean(line.text)}" if several else text.clean(line.text), flush=True)
    return 0


async def events(session: Session) -> int:
    async with session.fleet() as fleet:
        await fleet.first_look(session.read_timeout_s, only=())
        found = fleet.resolve(session.arguments.service)
        rows = await fleet.backend_of(found.service).events(found.service)
    if session.json:
        print(
            documents.dump(
                [{"at_s": row.at, "kind": row.kind, "text": row.text, "warning": row.warning} for row in rows]
            )
        )
    else:
        print(
            text.table(
                ("TIME", "KIND", "TEXT"),
                [(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.at)), row.kind, row.text) for row in rows],
            )
        )
    return 0


async def wait(session: Session) -> int:
    condition: str = session.arguments.condition
    kind, _, name = condition.partition("=")
    if not (condition in ("ready", "live") or (kind == "model" and name)):
        raise UsageError("wait", f"--for {condition!r} is not ready, live or model=NAME")
    status: ServiceStatus | None = None
    async with session.fleet(interval_s=0.5) as fleet:
        snapshot = fleet.snapshot
        try:
            async with asyncio.timeout(session.change_timeout_s):
                while True:
                    try:
                        status = fleet.resolve(session.arguments.service)
                        if _holds(status, kind, name):
                            return 0
                    except NotFound:
                        status = None
                    snapshot = await fleet.changed(snapshot)
        except TimeoutError:
            pass
    waited = f"waited {session.change_timeout_s:g} s for {session.arguments.service} to be {condition}"
    if status is None:
        raise NotFound(waited, "there is no such service")
    model = next((each.worst for each in status.models if each.name == name), None)
    if model is not None and model.failed:
        raise OperationFailed(waited, f"{name} {model.state}: {model.reason}")
    raise Unreachable(waited, status.note or server_word(status), kind="timeout")


def _holds(status: ServiceStatus, kind: str, name: str) -> bool:
    if kind == "ready":
        return status.ready is True
    if kind == "live":
        return status.live is True
    return any(each.name == name and 0 < each.ready_on == each.replicas for each in status.models)
