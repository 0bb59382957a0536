"""The commands that can be typed after `:`, each with what follows it, and what completes a line of them."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import App

from tritonctl.backend import Capability
from tritonctl.errors import TritonctlError, UsageError
from tritonctl.fleet import Fleet
from tritonctl.inventory import ServiceStatus

COMMANDS = {
    "services": "services",
    "service": "service NAME",
    "all": "all",
    "load": "load [NAME] MODEL",
    "unload": "unload [NAME] MODEL",
    "model": "model [NAME] MODEL",
    "infer": "infer [NAME] MODEL",
    "logs": "logs NAME",
    "metrics": "metrics NAME",
    "events": "events NAME",
    "describe": "describe NAME|PLACE",
    "triage": "triage NAME",
    "mode": "mode [NAME] none|poll|explicit",
    "start": "start [NAME]",
    "stop": "stop [NAME]",
    "restart": "restart [NAME]",
    "scale": "scale [NAME] N",
    "traffic": "traffic NAME=PERCENT … [--mirror NAME=PERCENT]",
    "delete": "delete [NAME] [ID …]",
    "set": "set [NAME] KEY=VALUE …",
    "deploy": "deploy MODEL:VERSION [ENDPOINT/DEPLOYMENT] [--instance-type T] [--count N] [--all-traffic] …",
    "keys": "keys [NAME] [--regenerate primary|secondary]",
    "theme": "theme NAME",
    "help": "help",
    "quit": "quit",
}
NAMES_A_SERVICE = ("service", "logs", "triage", "describe", "metrics", "events")
_OF_A_NAMED_ONE = ("load", "unload", "model", "infer", "mode")  # a word follows the service's name


class CompletingApp(App[int]):
    """The part of the app that knows what may be the next word."""

    fleet: Fleet

    def _complete(self, typed: str) -> Sequence[str]:
        words = typed.split(" ")
        if len(words) == 1:
            names = [*COMMANDS, *self.fleet.backends, *(each.id for each in self.fleet.snapshot.services)]
            return [name for name in names if name.startswith(typed)]
        before, last = " ".join(words[:-1]), words[-1]
        return [f"{before} {name}" for name in self._candidates(words[0], words[1:-1]) if name.startswith(last)]

    def _candidates(self, command: str, between: Sequence[str]) -> Sequence[str]:
        """What may be the next word of a command, after those `between`."""
        services = [each.id for each in self.fleet.snapshot.services]
        if command == "traffic":
            return [f"{name}=" for name in self._siblings()]
        if command == "deploy":
            return self._deployment(between)
        if command == "keys":
            after = {"": [*self._parents(), *services, "--regenerate"], "--regenerate": ["primary", "secondary"]}
            return after.get(between[-1] if between else "", ["--regenerate"] if len(between) == 1 else [])
        if len(between) > (1 if command in _OF_A_NAMED_ONE else 0):
            return []
        if command == "mode":
            return ["none", "poll", "explicit", *(services if not between else [])]
        if command in ("load", "unload", "model", "infer"):
            models = {model.name for each in self._services_here(*between) for model in each.models}
            return [*sorted(models), *(services if not between else [])]
        if command in NAMES_A_SERVICE or command in ("start", "stop", "restart", "scale", "delete"):
            return [*(self.fleet.backends if command == "describe" else ()), *services]
        return []

    def _services_here(self, named: str | None = None) -> list[ServiceStatus]:
        if named is not None:
            try:
                return [self.fleet.resolve(named)]
            except TritonctlError:
                return []
        service_id = getattr(self.screen, "service_id", None)
        return [each for each in self.fleet.snapshot.services if service_id in (None, each.id)]

    def _deployment(self, between: Sequence[str]) -> list[str]:
        """What is registered only its place knows; where it may go is known here."""
        from tui.commands.arguments import DEPLOY_OPTIONS

        if not between:
            return []
        if (option := DEPLOY_OPTIONS.get(between[-1])) is not None and "action" not in option:
            return list(option.get("choices", ()))
        able = [name for name, each in self.fleet.backends.items() if Capability.DEPLOY in each.capabilities]
        services = [each.id for each in self.fleet.snapshot.services if each.service.backend in able]
        return [*(services if len(between) == 1 else ()), *(name for name in DEPLOY_OPTIONS if name not in between)]

    def _parents(self) -> list[str]:
        """What several services may stand under, such as endpoints."""
        return sorted({part_of for each in self.fleet.snapshot.services if (part_of := each.service.part_of)})

    def _siblings(self) -> list[str]:
        """The last parts of the names beside the service that is meant: the deployments of its endpoint."""
        try:
            here = self.fleet.resolve(self._service_here()).service.part_of
        except TritonctlError:
            return []
        beside = (each for each in self.fleet.snapshot.services if here and each.service.part_of == here)
        return [each.id.rpartition("/")[2] for each in beside]

    def _service_here(self) -> str:
        service_id = getattr(self.screen, "service_id", None)
        if isinstance(service_id, str):
            return service_id
        services = self.fleet.snapshot.services
        if len(services) == 1:
            return services[0].id
        raise UsageError("", "of which service?", "open it first, with enter")
