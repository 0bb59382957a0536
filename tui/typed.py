"""What each command that can be typed after `:` does."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from tritonctl.backend import MIRROR, Backend, Capability, Intent
from tritonctl.errors import OperationFailed, Refused, TritonctlError, UsageError
from tritonctl.inventory import ServiceStatus
from tui.completion import COMMANDS, NAMES_A_SERVICE, CompletingApp
from tui.messages import OpenModel, OpenPlace, OpenService, Propose
from tui.screens.base import LiveScreen

_WITH_A_VALUE = (Capability.MODE, Capability.SCALE)
_WITH_WORDS = (Capability.TRAFFIC, Capability.SETTINGS)
_OF_THE_PLACE = {
    "mode": Capability.MODE,
    "start": Capability.START,
    "stop": Capability.STOP,
    "restart": Capability.RESTART,
    "scale": Capability.SCALE,
    "traffic": Capability.TRAFFIC,
    "delete": Capability.DELETE,
    "set": Capability.SETTINGS,
}


class CommandedApp(CompletingApp):
    """The part of the app that understands commands; what they open and change is the app's."""

    lists_all = False

    def open_service(self, event: OpenService) -> None:
        """Open the page of a service."""
        raise NotImplementedError

    def open_place(self, event: OpenPlace) -> None:
        """Open the page of a backend."""
        raise NotImplementedError

    def open_model(self, event: OpenModel) -> None:
        """Open the page of a model."""
        raise NotImplementedError

    def propose(self, event: Propose) -> None:
        """Ask about a plan."""
        raise NotImplementedError

    def offer_keys(self, service_id: str) -> None:
        """Ask whether the keys of a service are to be shown."""
        raise NotImplementedError

    def leave(self) -> None:
        """Quit, or ask once where a change is at work."""
        raise NotImplementedError

    def action_help(self) -> None:
        """Show the keys."""
        raise NotImplementedError

    def say(self, text: str, state: str = "") -> None:
        """A word in the reserved line of the screen in view."""
        if isinstance(self.screen, LiveScreen):
            self.screen.say(text, state)

    def action_command(self) -> None:
        if isinstance(self.screen, LiveScreen):
            self.screen.ask(":", complete=self._complete)

    def ask_value(self, action: Capability) -> None:
        """Begin the command whose value is wanted, where the service's place can do it."""
        try:
            status, _ = self._of_the_place(action, self._service_here())
        except TritonctlError as error:
            self.say(error.headline, "warn")
            return
        value = str(status.replicas_total) if action is Capability.SCALE else ""
        if isinstance(self.screen, LiveScreen):
            self.screen.ask(":", f"{action} {value}", complete=self._complete)

    def _of_the_place(self, action: Capability, service: str) -> tuple[ServiceStatus, Backend]:
        """That service and its backend. Raises OperationFailed where the place cannot do it."""
        status = self.fleet.resolve(service)
        backend = self.fleet.backend_of(status.service)
        if (why := backend.why_not(action, status.service)) is not None:
            raise OperationFailed(f"{action} of {status.id}", why, backend.instead_of(action, status.service))
        return status, backend

    def run_command(self, line: str) -> None:
        """What was typed after `:`. A service's name opens it."""
        try:
            words = shlex.split(line)
        except ValueError as error:
            self.say(f"{line}: {error}", "failed")
            return
        if not words:
            return
        try:
            self._run(words[0], words[1:])
        except TritonctlError as error:
            self.say(f"{error.headline}{'  → ' + error.advice if error.advice else ''}", "failed")

    def _run(self, name: str, rest: list[str]) -> None:
        if name in ("q", "quit", "exit"):
            _no_more("quit", rest)
            self.leave()
        elif name in ("help", "?"):
            _no_more("help", rest)
            self.action_help()
        elif name == "all":
            _no_more(name, rest)
            self._list_all()
        elif name in ("services", "s"):
            _no_more("services", rest)
            while len(self.screen_stack) > 1:
                self.pop_screen()
        elif name == "theme" and rest:
            _no_more(name, rest[1:])
            if rest[0] not in self.available_themes:
                raise UsageError("theme", f"no theme {rest[0]!r}", ", ".join(sorted(self.available_themes)))
            self.theme = rest[0]
        elif name in ("load", "unload") and rest:
            service, (model, *more) = self._meant(rest, 1)
            _no_more(name, more)
            self._propose_model(name, service, model)
        elif name in ("model", "infer") and rest:
            service, (model, *more) = self._meant(rest, 1)
            _no_more(name, more)
            self.open_model(OpenModel(service, model, "schema" if name == "model" else "request"))
        elif name in _OF_THE_PLACE and (rest or _OF_THE_PLACE[name] not in (*_WITH_A_VALUE, *_WITH_WORDS)):
            action = _OF_THE_PLACE[name]
            needed = 1 if action in (*_WITH_A_VALUE, *_WITH_WORDS) else 0
            service, words = self._meant(
                rest, needed, loose=action is Capability.DELETE, under=action is Capability.TRAFFIC
            )
            if action not in _WITH_WORDS and action is not Capability.DELETE:
                _no_more(name, words[needed:])
            self._propose_place(action, service, words)
        elif name == "keys":
            self._keys(rest)
        elif name == "deploy" and rest:
            self._deploy(rest)
        elif name == "describe" and rest and rest[0] in self.fleet.backends:
            _no_more(name, rest[1:])
            self.open_place(OpenPlace(rest[0]))
        elif name in NAMES_A_SERVICE:
            _no_more(name, rest[1:])
            service = self.fleet.resolve(rest[0]).id if rest else self._service_here()
            self.open_service(OpenService(service, "models" if name == "service" else name))
        elif name in COMMANDS:
            raise UsageError(f":{name}", "it needs more", f":{COMMANDS[name]}")
        else:
            self._open_named(name, rest)

    def _open_named(self, name: str, rest: Sequence[str]) -> None:
        """The service or the place of that name."""
        try:
            service = self.fleet.resolve(name).id
        except TritonctlError:
            if name not in self.fleet.backends:
                raise UsageError(f":{name}", f"there is no command or service {name!r}", "? lists them") from None
            _no_more(name, rest)
            self.open_place(OpenPlace(name))
        else:
            _no_more(name, rest)
            self.open_service(OpenService(service))

    def _list_all(self) -> None:
        """Also what is not Triton; once more, no longer."""
        self.lists_all = not self.lists_all
        places = ", ".join(self.fleet.list_all(self.lists_all))
        if not places:
            self.lists_all = False
            raise UsageError(":all", "no backend here can list what is not Triton")
        self.say(
            f"{places}: {'everything is listed; :all again hides it' if self.lists_all else 'only Triton is listed'}"
        )

    def _keys(self, rest: list[str]) -> None:
        """By themselves they are only offered; another one is made by a plan."""
        service, words = self._meant(rest, 0, under=True)
        if not words:
            status, _ = self._of_the_place(Capability.KEYS, service)
            self.offer_keys(status.id)
        elif words[0] == "--regenerate" and len(words) == 2:
            self._propose_place(Capability.KEYS, service, words[1:])
        else:
            raise UsageError(":keys", f"it does not take {' '.join(words)}", f":{COMMANDS['keys']}")

    def _deploy(self, rest: list[str]) -> None:
        """Of no service that must exist; without a name the one that is meant here is deployed anew."""
        from tui.commands.arguments import parse_deploy
        from tui.commands.serving import place_for, serving, split_place

        try:
            arguments = parse_deploy(rest)
        except UsageError as error:
            raise UsageError(":deploy", error.answer, f":{COMMANDS['deploy']}") from None
        if arguments.service:
            named, name = split_place(arguments.service, list(self.fleet.backends))
        else:
            here = self.fleet.resolve(self._service_here()).service
            named, name = here.backend, here.name
        place = place_for(":deploy", list(self.fleet.backends.values()), named)
        if self.fleet.read_only_for(place.name):
            raise Refused(":deploy", "read-only mode", "start without --read-only, or see read_only in the settings")
        wanted = serving(arguments, name)
        self.propose(Propose(f"deploy {wanted.model}", lambda: place.plan_deploy(wanted)))

    def _meant(
        self, words: list[str], needed: int, *, loose: bool = False, under: bool = False
    ) -> tuple[str, list[str]]:
        """The service that is meant and the other words: its name may stand before them, as in a shell, where so many
        are left after it; else it is the one that is open or under the cursor.

        `under`: it may also be what several services stand under, an endpoint. Raises NotFound or UsageError where no
        service has that name, unless, `loose`, it may be another word.
        """
        if len(words) > needed and "=" not in words[0] and not words[0].startswith("-"):
            try:
                return self.fleet.resolve(words[0]).id, words[1:]
            except TritonctlError:
                if under and (below := self.fleet.below(words[0])):
                    return below[0].id, words[1:]
                if not loose:
                    raise
        return self._service_here(), words

    def _propose_model(self, what: str, service: str, model: str) -> None:
        from tritonctl.server import control

        status = self.fleet.resolve(service)
        plan = control.plan_load if what == "load" else control.plan_unload
        self.propose(Propose(f"{what} {model}", lambda: plan(status, model)))

    def _propose_place(self, action: Capability, service: str, rest: list[str]) -> None:
        """A change that the service's place makes: its plan is the backend's."""
        status, backend = self._of_the_place(action, service)
        loaded = tuple(sorted({model.name for model in status.models if model.ready_on}))
        value, options = _split(action, rest)
        intent = Intent(action, status.service, value, loaded, options)
        self.propose(
            Propose(
                str(action),
                lambda: backend.plan(intent),
                lambda chosen: backend.plan(replace(intent, options=chosen)),
            )
        )


def _no_more(name: str, words: Sequence[str]) -> None:
    """Raises UsageError where there are words beyond what the command takes: they may be meant for something."""
    if words:
        raise UsageError(f":{name}", f"it takes no more: {' '.join(words)}", f":{COMMANDS.get(name, name)}")


def _split(action: Capability, rest: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The value and the options of an intent, as the commands of the same names take them."""
    if action is Capability.TRAFFIC:
        return "", _shares(rest)
    if action is Capability.SCALE and not (rest and rest[0].isascii() and rest[0].isdigit()):
        raise UsageError(":scale", "how many replicas?", ":scale [NAME] N")
    return (rest[0], ()) if action in (*_WITH_A_VALUE, Capability.KEYS) else ("", tuple(rest))


def _shares(rest: Sequence[str]) -> tuple[str, ...]:
    """NAME=PERCENT …, and after --mirror the one that gets copies."""
    found = []
    before = ""
    for word in rest:
        if word == "--mirror":
            before = MIRROR
            continue
        name, _, percent = word.partition("=")
        if not name or not (percent.isascii() and percent.isdigit()) or int(percent) > 100:
            raise UsageError(":traffic", f"{word!r} is not NAME=PERCENT with a whole number from 0 to 100")
        found.append(before + word)
        before = ""
    if before:
        raise UsageError(":traffic", "--mirror of what?", ":traffic NAME=PERCENT … --mirror NAME=PERCENT")
    return tuple(found)
