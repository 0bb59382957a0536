"""Signing in: each credential, tokens shared and renewed, a login that is lost, hangs or is refused."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from backends.azure import credentials
from backends.azure.az import Az, AzFailed
from backends.azure.clouds import Cloud, cloud_of
from backends.azure.credentials import Login, LoginLost, Logins
from tests.azure import tokens
from tests.azure.clients import cloud
from tests.azure.emulator import Emulator
from tests.azure.entra import CLIENT, SECRET
from tests.azure.shapes import TENANT
from tritonctl.errors import Unreachable, UsageError
from tritonctl.settings_backends import CloudSettings

OTHER = "99999999-86f1-41af-91ab-2d7cd011db47"


def clock(at: float = 0.0) -> Any:
    """A clock that stands until it is moved."""
    moving = SimpleNamespace(at=time.time() + at)
    return moving, lambda: moving.at


async def test_az_gives_a_token_that_is_not_asked_for_twice(azure: Emulator) -> None:
    login = Login("cli", cloud(azure))
    first = await login.token(login.cloud.arm_scope)
    assert await login.token(login.cloud.arm_scope) == first
    claims = tokens.read(first.secret.reveal())
    assert claims is not None
    assert claims["aud"] == azure.base
    assert login.expires_at(login.cloud.arm_scope) == pytest.approx(time.time() + 3600, abs=60)
    assert len(azure.az.calls) == 1


async def test_az_needs_no_package_of_azures(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("azure", "msal")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "azure", None)
    assert await Login("cli", cloud(azure)).token(f"{azure.base}/.default")
    azure.az.set("logged out")
    await _lost(Login("cli", cloud(azure)))
    with pytest.raises(UsageError, match="azure-identity is not installed") as missing:
        await Login("environment", cloud(azure)).token(f"{azure.base}/.default")
    assert missing.value.advice == "pip install 'tritonctl[azure]'"


async def test_many_askers_share_one_attempt(azure: Emulator) -> None:
    azure.az.set(delay_s=0.3)
    login = Login("cli", cloud(azure))
    found = await asyncio.gather(*(login.token(login.cloud.arm_scope) for _ in range(40)))
    assert len({token.secret for token in found}) == 1
    assert len(azure.az.calls) == 1


async def test_a_lost_login_names_the_line_and_is_no_storm(azure: Emulator) -> None:
    azure.az.set("logged out")
    login = Login("cli", cloud(azure), TENANT)
    answers = await asyncio.gather(*(login.token(login.cloud.arm_scope) for _ in range(20)), return_exceptions=True)
    answers += [await _lost(login) for _ in range(20)]
    assert all(isinstance(each, LoginLost) for each in answers)
    assert {each.advice for each in answers if isinstance(each, LoginLost)} == {
        f"az cloud set --name {azure.cloud_name} && az login --tenant {TENANT}"
    }
    assert len(azure.az.calls) == 1


async def test_who_signs_in_again_is_found_after_the_pause(azure: Emulator) -> None:
    moving, now = clock()
    azure.az.set("logged out")
    login = Login("cli", cloud(azure), clock=now)
    await _lost(login)
    azure.az.set()
    await _lost(login)
    moving.at += 2.1
    assert await login.token(login.cloud.arm_scope)


async def test_the_pause_grows_while_the_login_stays_lost(azure: Emulator) -> None:
    moving, now = clock()
    azure.az.set("logged out")
    login = Login("cli", cloud(azure), clock=now)
    for _ in range(300):  # five minutes
        await _lost(login)
        moving.at += 1.0
    assert 8 <= len(azure.az.calls) <= 14


async def test_az_that_writes_without_end_is_ended(azure: Emulator) -> None:
    for stream in ("", " >&2"):
        (azure.az.folder / "az").write_text(f"#!/bin/sh\nyes 0123456789abcdef{stream}\n", encoding="utf-8")
        lost = await _lost(Login("cli", cloud(azure)))
        assert "az wrote more than 1 MiB" in lost.answer


async def test_the_line_that_az_itself_names_is_the_advice(azure: Emulator) -> None:
    azure.az.set("expired")
    lost = await _lost(Login("cli", cloud(azure)))
    assert lost.advice == f"az login --tenant {TENANT} --scope https://management.core.windows.net//.default"
    assert "AADSTS50076" in lost.answer


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("AzureCloud", "az login --tenant T"),
        ("AzureUSGovernment", "az cloud set --name AzureUSGovernment && az login --tenant T"),
        ("AzureChinaCloud", "az cloud set --name AzureChinaCloud && az login --tenant T"),
    ],
)
def test_the_line_names_the_cloud(name: str, line: str) -> None:
    assert Login("cli", cloud_of(CloudSettings(name)), "T").line() == line


async def test_a_hanging_az_does_not_hold_anybody(azure: Emulator) -> None:
    azure.az.set("hanging")
    login = Login("cli", cloud(azure))
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    beating = asyncio.create_task(beat())
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"no token within 0\.5 s"):
        await login.token(login.cloud.arm_scope, deadline_s=0.5)
    assert time.monotonic() - began < 5.0
    assert beats > 10
    with pytest.raises(Unreachable):
        await login.token(login.cloud.arm_scope, deadline_s=0.1)
    assert len(azure.az.calls) <= 1  # on a busy machine it has not even begun
    beating.cancel()


async def test_az_that_is_not_there_is_said(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="not on PATH"):
        await Login("cli", cloud(azure)).token("x/.default")


async def test_a_token_is_renewed_before_it_expires_and_nobody_waits_for_it(azure: Emulator) -> None:
    moving, now = clock()
    login = Login("cli", cloud(azure), clock=now)
    scope = login.cloud.arm_scope
    first = await login.token(scope)
    moving.at += 3600 - 200
    assert await login.token(scope) == first  # good for 200 s still, and the next one is asked for meanwhile
    await _until(lambda: login.expires_at(scope) != first.expires_at or len(azure.az.calls) == 2)
    for _ in range(20):
        await login.token(scope)
    assert len(azure.az.calls) == 2


async def test_a_token_that_cannot_be_renewed_serves_to_its_end(azure: Emulator) -> None:
    moving, now = clock()
    login = Login("cli", cloud(azure), clock=now)
    scope = login.cloud.arm_scope
    first = await login.token(scope)
    azure.az.set("logged out")
    moving.at += 3600 - 200
    assert await login.token(scope) == first
    await _until(lambda: login.trouble(scope) is not None)
    assert await login.token(scope) == first
    moving.at += 300
    assert "az login" in (await _lost(login)).advice


async def test_a_service_principal_of_the_environment(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_CLIENT_SECRET", SECRET)):
        monkeypatch.setenv(name, value)
    login = Login("environment", cloud(azure))
    claims = tokens.read((await login.token(login.cloud.arm_scope)).secret.reveal())
    assert claims is not None
    assert claims["aud"] == azure.base
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    with pytest.raises(LoginLost, match="AADSTS7000215") as lost:
        await Login("environment", cloud(azure)).token(login.cloud.arm_scope)
    assert "wrong" not in str(lost.value)


async def test_the_default_is_the_first_way_that_works(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    # Else it would look for the identity of this machine, at an address that is none of ours.
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")
    login = Login("default", cloud(azure))
    assert await login.token(login.cloud.arm_scope, deadline_s=60)
    assert len(azure.az.calls) == 1
    azure.az.set("logged out")
    with pytest.raises(LoginLost) as lost:
        await Login("default", cloud(azure)).token(login.cloud.arm_scope, deadline_s=60)
    assert lost.value.headline == "no way to sign in to Azure worked"
    assert "\n  AzureCli: Please run 'az login' to set up an account\n" in lost.value.answer
    assert lost.value.advice.endswith("az login")


async def test_workload_identity(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    federated = azure.folder / "token"
    federated.write_text("a.federated.token", encoding="utf-8")
    with pytest.raises(UsageError, match="AZURE_FEDERATED_TOKEN_FILE"):
        await Login("workload_identity", cloud(azure)).token("x/.default")
    monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
    monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(federated))
    login = Login("workload_identity", cloud(azure))
    assert await login.token(login.cloud.arm_scope)
    assert azure.entra.grants == ["client_credentials"]


async def test_the_machines_own_identity(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.environment["AZURE_POD_IDENTITY_AUTHORITY_HOST"])
    login = Login("managed_identity", cloud(azure))
    claims = tokens.read((await login.token(login.cloud.arm_scope)).secret.reveal())
    assert claims is not None
    assert claims["aud"] == azure.base
    assert azure.entra.identity_calls == 1


async def test_a_device_code_is_told_and_waited_for(azure: Emulator) -> None:
    login = Login("device_code", cloud(azure), TENANT)
    scope = login.cloud.arm_scope
    told = []
    async for prompt in login.sign_in(scope):
        told.append(str(prompt))
        with pytest.raises(LoginLost) as waiting:  # who cannot wait is told the same
            await login.token(scope)
        assert "EZ4UTEXGR" in waiting.value.advice
        azure.entra.approved = True
    assert len(told) == 1
    assert "open https://microsoft.com/devicelogin and enter the code EZ4UTEXGR" in told[0]
    assert await login.token(scope)
    assert [each async for each in login.sign_in(scope)] == []
    assert azure.entra.grants.count("urn:ietf:params:oauth:grant-type:device_code") >= 1


async def test_a_declined_device_code_is_a_lost_login(azure: Emulator) -> None:
    login = Login("device_code", cloud(azure), TENANT)
    signing_in = login.sign_in(login.cloud.arm_scope)
    await anext(signing_in)
    azure.entra.declined = True
    with pytest.raises(LoginLost, match="declined"):
        await anext(signing_in)


async def test_an_authority_that_does_not_answer_is_unreachable(azure: Emulator) -> None:
    there = cloud(azure)
    gone = Cloud(there.name, there.resource_manager, "https://localhost:9", there.aml_resource, there.portal, True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_CLIENT_SECRET", SECRET)):
            patch.setenv(name, value)
        with pytest.raises(Unreachable, match="sign in"):
            await Login("environment", gone).token("x/.default", deadline_s=60)


async def test_a_token_of_another_tenant_is_asked_for(azure: Emulator) -> None:
    login = Login("cli", cloud(azure))
    found = await login.token(login.cloud.arm_scope, OTHER)
    claims = tokens.read(found.secret.reveal())
    assert claims is not None
    assert claims["tid"] == OTHER
    assert azure.az.calls[0][-2:] == ["--tenant", OTHER]


async def test_microsofts_clients_get_the_same_token(azure: Emulator) -> None:
    login = Login("cli", cloud(azure))
    ours = await login.token(login.cloud.arm_scope)
    theirs = await asyncio.to_thread(login.credential.get_token, login.cloud.arm_scope)
    assert theirs.token == ours.secret.reveal()
    assert len(azure.az.calls) == 1


def test_backends_that_sign_in_alike_share_a_login() -> None:
    logins, public = Logins(), cloud_of(CloudSettings("AzureCloud"))
    assert logins.of("cli", public) is logins.of("cli", cloud_of(CloudSettings("AzureCloud")))
    assert logins.of("cli", public) is not logins.of("cli", public, TENANT)
    assert logins.of("cli", public) is not logins.of("environment", public)


async def test_an_attempt_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, asked = threading.Event(), []

    class Stuck:
        def get_token(self, *scopes: str, tenant_id: str | None = None) -> Any:
            asked.append(scopes[0])
            if len(asked) == 1:
                stuck.wait(30)
            return SimpleNamespace(token="t", expires_on=time.time() + 3600)

    monkeypatch.setattr(credentials, "_ABANDON_S", 0.3)
    login = Login("cli", cloud_of(CloudSettings("AzureCloud")), make=lambda *_: Stuck())
    with pytest.raises(Unreachable):
        await login.token("x/.default", deadline_s=0.4)
    assert (await login.token("x/.default")).secret.reveal() == "t"
    stuck.set()


def test_a_hanging_az_is_killed_with_what_it_started(azure: Emulator) -> None:
    # As the real one is installed: a shell script that runs Python.
    (azure.az.folder / "az").write_text(
        '#!/bin/sh\necho $$ > "$(dirname "$0")/pid"\nsleep 300\necho\n', encoding="utf-8"
    )
    with pytest.raises(AzFailed, match=r"within 1 s"):
        Az(timeout_s=1.0).get_token("x/.default")
    session = int((azure.az.folder / "pid").read_text(encoding="utf-8"))
    assert [each for each in psutil.process_iter() if _session(each) == session] == []


def _session(process: Any) -> int:
    """0 where it is gone; a zombie that nobody has buried yet is gone."""
    try:
        return 0 if process.status() == psutil.STATUS_ZOMBIE else os.getsid(process.pid)
    except (OSError, psutil.Error):
        return 0


async def _lost(login: Login) -> LoginLost:
    with pytest.raises(LoginLost) as lost:
        await login.token(login.cloud.arm_scope)
    return lost.value


async def _until(true: Any, deadline_s: float = 20.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not true():  # noqa: ASYNC110  # it happens in a thread
            await asyncio.sleep(0.01)
