"""A stand-in for the `az` command: a script that says what the real one says, logged in, logged out or hanging."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.azure.shapes import SUBSCRIPTION, TENANT

_SCRIPT = """#!{python} -IS
import json, os, sys, time
sys.path.insert(0, {root!r})
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "az-calls.log"), "a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
with open(os.path.join(here, "az-state.json")) as file:
    state = json.load(file)
while state["mode"] == "hanging":
    time.sleep(0.05)
    with open(os.path.join(here, "az-state.json")) as file:  # gone with the emulator, and so is this
        state = json.load(file)
if state["delay_s"]:
    time.sleep(state["delay_s"])
if state["mode"] == "logged out":
    sys.stderr.write("ERROR: Please run 'az login' to setup account.\\n")
    sys.exit(1)
if state["mode"] == "expired":
    sys.stderr.write(state["words"] + "\\n")
    sys.exit(1)
args = sys.argv[1:]
after = lambda name, other: args[args.index(name) + 1] if name in args else other
if args[:2] == ["account", "get-access-token"]:
    from tests.azure import tokens
    tenant = after("--tenant", state["tenant"])
    life = state["lifetime_s"]
    resource = after("--resource", "https://management.core.windows.net/")
    token = state["tokens"].get(resource) or tokens.make(resource, tenant=tenant, lifetime_s=life)
    print(json.dumps(dict(
        accessToken=token,
        expiresOn=time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + life)) + ".000000",
        expires_on=int(time.time() + life),
        subscription=state["subscription"],
        tenant=tenant,
        tokenType="Bearer",
    ), indent=2))
elif args[:2] == ["account", "show"]:
    print(json.dumps(dict(
        environmentName="AzureCloud",
        id=state["subscription"],
        isDefault=True,
        name="Triton",
        state="Enabled",
        tenantId=state["tenant"],
        user=dict(name="nancy@example.com", type="user"),
    ), indent=2))
else:
    sys.stderr.write("ERROR: '" + " ".join(args) + "' is misspelled or not recognized by the system.\\n")
    sys.exit(2)
"""
# What az says when more than a plain login is asked for (AADSTS50076), word for word but for the ids.
MORE_IS_NEEDED = (
    "ERROR: AADSTS50076: Due to a configuration change made by your administrator, or because you moved to a new "
    f"location, you must use multi-factor authentication to access. Trace ID: 0\nInteractive authentication is needed. "
    f"Please run:\naz login --tenant {TENANT} --scope https://management.core.windows.net//.default"
)


class Az:
    """The script `az` in a folder of its own, which goes first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        root = str(Path(__file__).parents[2])
        (folder / "az").write_text(_SCRIPT.format(python=sys.executable, root=root), encoding="utf-8")
        (folder / "az").chmod(stat.S_IRWXU)
        self.set()

    def set(
        self,
        mode: str = "logged in",
        *,
        tenant: str = TENANT,
        lifetime_s: float = 3600.0,
        delay_s: float = 0.0,
        words: str = MORE_IS_NEEDED,
        given: Mapping[str, str] | None = None,
    ) -> None:
        """`mode` is "logged in", "logged out", "expired" (it then says `words`) or "hanging". `given` are tokens that
        somebody else made, by their resource: those of a real cluster."""
        state = {
            "mode": mode,
            "tenant": tenant,
            "lifetime_s": lifetime_s,
            "delay_s": delay_s,
            "words": words,
            "subscription": SUBSCRIPTION,
            "tokens": dict(given or {}),
        }
        # At once: `az` may be reading it.
        (self.folder / "next.json").write_text(json.dumps(state), encoding="utf-8")
        (self.folder / "next.json").replace(self.folder / "az-state.json")

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each call so far."""
        log = self.folder / "az-calls.log"
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
