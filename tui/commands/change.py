"""The commands that change something: each makes a plan, shows it, has it confirmed, carries it out."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tritonctl.backend import MIRROR, Backend, Capability, Intent, Registration
from tritonctl.errors import AlreadySo, OperationFailed, Refused, TritonctlError, UsageError
from tritonctl.fleet import Fleet
from tritonctl.halfway import left_halfway
from tritonctl.inventory import Service
from tritonctl.plan import AuditLog, Outcome, Plan, StepResult, StepState, audit_path, carry_out, choose
from tritonctl.server import control
from tui.commands import documents, text
from tui.commands.serving import place_for, serving, split_place
from tui.commands.session import Session, reachable_or_raise
from tui.commands.streams import answered, say, say_left, tell

_SETTLES = ("deploy", Capability.SCALE, Capability.SETTINGS, Capability.TRAFFIC, Capability.RESTART)
_MAX_FILE_BYTES = 512 * 1024 * 1024
_SO_FAR_S = 10.0  # between two lines about what takes long


async def load(session: Session) -> int:
    arguments = session.arguments
    config = _config(arguments.model_config)
    files = dict(_file(each) for each in arguments.file)
    if files and config is None:
        raise UsageError("load", "--file needs a model configuration", "the server takes files only with --config FILE")
    _refuse_early(session, f"load {arguments.model}")
    async with session.fleet() as fleet:
        found = await session.find(fleet, patient=True)
        read_only = _read_only(session, fleet, found.service)
        control.need_triton(found, f"load {found.id} {arguments.model}")
        reachable_or_raise(found)
        plan = await control.plan_load(
            found,
            arguments.model,
            replica=arguments.replica,
            config=config,
            files=files,
            deadline_s=session.change_timeout_s,
        )
        return await _execute(session, plan, read_only=read_only)


async def unload(session: Session) -> int:
    arguments = session.arguments
    _refuse_early(session, f"unload {arguments.model}")
    async with session.fleet() as fleet:
        found = await session.find(fleet, patient=True)
        read_only = _read_only(session, fleet, found.service)
        control.need_triton(found, f"unload {found.id} {arguments.model}")
        reachable_or_raise(found)
        plan = await control.plan_unload(
            found,
            arguments.model,
            replica=arguments.replica,
            dependents=arguments.dependents,
            deadline_s=session.change_timeout_s,
        )
        return await _execute(session, plan, read_only=read_only)


async def mode(session: Session) -> int:
    """Without a value, the mode that is in force; with one, the plan of the place that can switch it."""
    if session.arguments.mode is not None:
        return await _of_the_place(session, Capability.MODE, session.arguments.mode)
    async with session.fleet() as fleet:
        found = await session.find(fleet)
        control.need_triton(found, f"mode {found.id}", "control mode")
        reachable_or_raise(found)
        read_only = session.settings.read_only or fleet.backend_of(found.service).read_only
    if session.json:
        replicas = [{"replica": each.replica.name, "control_mode": each.control_mode} for each in found.replicas]
        tell(documents.dump({"service": found.id, "control_mode": found.control_mode, "replicas": replicas}))
    elif len(found.control_modes) > 1:
        for each in found.replicas:
            tell(f"{text.clean(each.replica.name)}  {each.control_mode or 'unknown'}")
    else:
        tell(found.mode_words or "unknown")
        if not found.control_modes and read_only:
            say("the server tells it only when it is asked for a change, and read-only mode asks for none")
    return 0


async def start(session: Session) -> int:
    return await _of_the_place(session, Capability.START, "")


async def stop(session: Session) -> int:
    return await _of_the_place(session, Capability.STOP, "")


async def restart(session: Session) -> int:
    return await _of_the_place(session, Capability.RESTART, "")


async def scale(session: Session) -> int:
    if session.arguments.count < 0:
        raise UsageError("scale", "the number of replicas cannot be negative")
    return await _of_the_place(session, Capability.SCALE, str(session.arguments.count))


async def delete(session: Session) -> int:
    arguments = session.arguments
    options = (*arguments.along, *(name for name in ("volumes", "image") if getattr(arguments, name)))
    return await _of_the_place(session, Capability.DELETE, "", options)


async def traffic(session: Session) -> int:
    """SERVICE is the endpoint, or one of its deployments."""
    arguments = session.arguments
    shares = (*arguments.shares, *([f"{MIRROR}{arguments.mirror}"] if arguments.mirror else []))
    return await _of_the_place(session, Capability.TRAFFIC, "", shares, looked=False)


async def set_settings(session: Session) -> int:
    return await _of_the_place(session, Capability.SETTINGS, "", tuple(session.arguments.changes))


async def keys(session: Session) -> int:
    """The keys of an endpoint, shown only where that is asked for in so many words; or another one made."""
    arguments = session.arguments
    if arguments.regenerate is not None:
        return await _of_the_place(session, Capability.KEYS, arguments.regenerate, looked=False)
    if arguments.show and session.json:
        raise UsageError("keys --show -o json", "no secret goes into a document", "leave out -o json")
    async with session.fleet() as fleet:
        found = await session.within(fleet)
        known = await fleet.keys(found.service)
    if session.json:
        tell(documents.dump({"service": found.id, "keys": list(known)}))
    elif arguments.show:
        for name, secret in known.items():
            tell(f"{name}  {text.clean(secret.reveal())}")
    else:
        tell(f"{found.id} has the keys {', '.join(known)}")
        say("--show prints them")
    return 0


async def register(session: Session) -> int:
    """A model repository of this machine becomes a model of a place that has a registry."""
    arguments = session.arguments
    wanted = Registration(
        arguments.folder,
        arguments.name or "",
        arguments.model_version or "",
        arguments.workspace or "",
        session.settings.timeout_s,
    )
    return await _of_a_place(session, f"register {arguments.folder}", lambda place: place.plan_register(wanted))


async def deploy(session: Session) -> int:
    arguments = session.arguments
    place, name = split_place(arguments.service, [each.name for each in session.settings.backends])
    wanted = serving(arguments, name, session.settings.timeout_s)
    return await _of_a_place(session, f"deploy {arguments.model}", lambda it: it.plan_deploy(wanted), place)


async def _of_a_place(
    session: Session, what: str, make: Callable[[Backend], Awaitable[Plan]], named: str | None = None
) -> int:
    """A change that is of no service that exists. Raises UsageError where the place is not clear."""
    _refuse_early(session, what)
    backends = session.places.backends(session.settings)
    try:
        place = place_for(what, backends, named)
        read_only = session.settings.read_only or place.read_only
        if read_only and not session.arguments.dry_run:
            raise Refused(what, "read-only mode", f"set read_only = false for the backend {place.name}")
        async for told in place.sign_in():
            say(f"backend {place.name}: {told.advice or told.text}")
        return await _execute(session, await make(place), read_only=read_only)
    finally:
        await asyncio.gather(*(each.aclose() for each in backends), return_exceptions=True)


async def _of_the_place(
    session: Session, action: Capability, value: str, options: tuple[str, ...] = (), *, looked: bool = True
) -> int:
    """`looked`: after a look at its servers, for the models that are loaded."""
    _refuse_early(session, f"{action} {session.arguments.service}")
    async with session.fleet() as fleet:
        found = await (session.find(fleet, patient=True) if looked else session.within(fleet))
        read_only = _read_only(session, fleet, found.service)
        if action is Capability.MODE:
            control.need_triton(found, f"mode {found.id} {value}", "control mode")
        loaded = tuple(sorted({model.name for model in found.models if model.ready_on}))
        intent = Intent(action, found.service, value, loaded, options, ready_s=session.settings.timeout_s)
        try:
            plan = await fleet.backend_of(found.service).plan(intent)
        except AlreadySo as error:
            return _nothing_to_do(session, action, found.id, error)
        _check_choices(plan, getattr(session.arguments, "along", ()))
        return await _execute(session, plan, read_only=read_only)


def _nothing_to_do(session: Session, action: str, service: str, error: AlreadySo) -> int:
    """The document is that of a plan, or of a change, without steps."""
    if session.json and session.arguments.dry_run:
        _print_plan(session, Plan(action, service, error.tried, (), now=error.answer))
    elif session.json:
        tell(documents.dump({"action": action, "service": service, "seconds": 0.0, "steps": []}))
        say(str(error))
    else:
        tell(text.clean(str(error)))
    return error.exit_code


def _check_choices(plan: Plan, named: Sequence[str]) -> None:
    """Raises UsageError where something was to go along that the plan knows nothing of: it would stay unnoticed."""
    choose(plan.choices, named)


def _refuse_early(session: Session, what: str) -> None:
    """Read-only refuses again where plans are carried out; here it saves the way there."""
    if session.settings.read_only and not session.arguments.dry_run:
        raise Refused(what, "read-only mode", "start without --read-only")


def _read_only(session: Session, fleet: Fleet, service: Service) -> bool:
    """Whether nothing may be changed there. Raises Refused for a backend that is read-only by itself."""
    backend = fleet.backend_of(service)
    if backend.read_only and not session.arguments.dry_run:
        raise Refused(service.id, "read-only mode", f"set read_only = false for the backend {backend.name}")
    return session.settings.read_only or backend.read_only


async def _execute(session: Session, plan: Plan, *, read_only: bool) -> int:
    if session.arguments.dry_run:
        _print_plan(session, plan)
        return 0
    for line in plan.lines():
        say(line)
    await _confirm(session, plan)
    told: dict[int, StepState] = {}
    newest: tuple[StepResult, ...] = ()

    def where(place: int) -> str:
        step = plan.steps[place]
        if not plan.parallel and len(plan.steps) > 1:
            return f"{place + 1} {text.shortened(step.call)}: "
        return f"{step.replica}: " if step.replica and plan.parallel else ""

    def progress(results: tuple[StepResult, ...]) -> None:
        nonlocal newest
        newest = results
        for place, result in enumerate(results):
            if told.get(place) is not result.state and result.state is not StepState.WAITING:
                told[place] = result.state
                seconds = f" {result.seconds:.1f} s" if result.state is not StepState.RUNNING else ""
                answer = f": {result.answer}" if result.state is StepState.UNDONE and result.answer else ""
                say(f"{where(place)}{result.state}{seconds}{answer}")

    async def tick() -> None:
        while True:
            await asyncio.sleep(_SO_FAR_S)
            for place, result in enumerate(newest):
                if result.state is StepState.RUNNING and (words := result.step.so_far()):
                    say(f"{where(place)}{words}")

    ticking = asyncio.create_task(tick(), name="tell how far it is")
    try:
        outcome = await carry_out(plan, AuditLog(audit_path()), read_only=read_only, progress=progress)
    except asyncio.CancelledError:
        whole = ("interrupted: what was asked of a server goes on there, and nobody waits for it any more",)
        say_left((*(left_halfway(plan, newest) or whole), *_taken_up_by(plan)))
        raise
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
    if session.json:
        tell(documents.dump(_outcome(outcome)))
    errors = [(each.step.replica, each.error) for each in outcome.results if each.error is not None]
    for replica, error in errors:
        say(f"{replica}: {error}" if replica and len(outcome.results) > 1 else f"tritonctl: {error}")
    if not errors and not session.json:
        tell(f"{text.clean(plan.title)}: done in {outcome.seconds:.1f} s")
    first: TritonctlError | None = outcome.error
    return first.exit_code if first is not None else 0


def _taken_up_by(plan: Plan) -> tuple[str, ...]:
    """What waits again for a change that is its place's to finish, in any later process."""
    if plan.action not in _SETTLES:
        return ()
    return ("this waits for its end again:", f"  tritonctl wait {shlex.quote(plan.service)} --for settled")


def _print_plan(session: Session, plan: Plan) -> None:
    if session.json:
        document = {
            "action": plan.action,
            "service": plan.service,
            "title": plan.title,
            "now": plan.now,
            "steps": [{"call": step.call, "replica": step.replica, "undo": step.undo_call} for step in plan.steps],
            "choices": [
                {"id": each.id, "label": each.label, "chosen": each.chosen, "why": each.why or None}
                for each in plan.choices
            ],
            "warnings": list(plan.warnings),
            "undo": plan.undo,
        }
        tell(documents.dump(document))
        return
    for line in plan.lines():
        tell(text.clean(line))


async def _confirm(session: Session, plan: Plan) -> None:
    """Raises Refused unless --yes was given or a person at the terminal agrees."""
    if session.arguments.yes:
        return
    if not sys.stdin.isatty():
        raise Refused(plan.title, "not confirmed", "nobody is there to ask: add --yes, or look first with --dry-run")
    question = f"type {text.clean(plan.typed)} to do it: " if plan.typed else "do it? [y/N] "
    answer = await answered(question)
    if answer != plan.typed if plan.typed else answer.lower() not in ("y", "yes"):
        raise Refused(plan.title, "not confirmed")


def _outcome(outcome: Outcome) -> dict[str, object]:
    return {
        "action": outcome.plan.action,
        "service": outcome.plan.service,
        "seconds": round(outcome.seconds, 3),
        "steps": [
            {
                "replica": each.step.replica,
                "state": each.state,
                "seconds": round(each.seconds, 3),
                "answer": each.answer or None,
                "error": each.error.answer if each.error else None,
            }
            for each in outcome.results
        ],
    }


def _config(path: Path | None) -> str | None:
    """The override as the text of a JSON document, which is what the server takes."""
    if path is None:
        return None
    content = _read(path).decode("utf-8", "replace")
    try:
        document = json.loads(content)
    except ValueError as error:
        raise UsageError(
            f"{path}", f"this is not JSON: {error}", "an override is the JSON of `tritonctl model … -o json`, not pbtxt"
        ) from None
    if not isinstance(document, dict):
        raise UsageError(f"{path}", "a model configuration is a JSON object")
    return content


def _file(argument: str) -> tuple[str, bytes]:
    path, _, source = argument.partition("=")
    if not path or not source:
        raise UsageError(f"--file {argument}", "write it as PATH=FILE, such as 1/model.py=./model.py")
    return path, _read(Path(source))


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise OperationFailed(f"{path}", f"larger than {_MAX_FILE_BYTES // 2**20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}", error.strerror or "cannot be read") from None
