"""Tokens, client secrets and endpoint keys are nowhere to be found: in no error, no log of any library, no audit."""

from __future__ import annotations

import json
import logging
import traceback
from pathlib import Path

import pytest

from backends.azure.arm import Arm
from backends.azure.credentials import Login
from tests.aks.place import listening, settings
from tests.azure.clients import API, arm, cloud
from tests.azure.emulator import Emulator
from tests.azure.entra import CLIENT
from tests.azure.http import Response
from tests.azure.sample import Sample
from tests.azure.shapes import TENANT
from tests.azure.state import Fault, refuse
from tritonctl.backend import Capability, Intent
from tritonctl.errors import TritonctlError
from tritonctl.plan import AuditLog, carry_out

KEY = "the0primary0key0of0the0endpoint0"
SECRET = "Zx8Q~client~secret~of~the~principal"


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "httpcore")  # its debugging prints the headers of an answer as they came
    return caplog


def issued(azure: Emulator) -> list[str]:
    """Every bearer token that Resource Manager has seen."""
    found = {each.authorization.removeprefix("Bearer ") for each in azure.state.made}
    assert found
    return sorted(found)


def check(text: str, secrets: list[str]) -> None:
    for secret in secrets:
        assert secret not in text
        assert secret.split(".")[-1] not in text, "the signature of a token"


async def said_by(client: Arm, path: str, *, method: str = "GET") -> str:
    """All that an error carries, and its traceback as a crash would print it."""
    try:
        await client.call(method, path, API)
    except TritonctlError as error:
        return "\n".join([str(error), repr(error), repr(error.__dict__), *traceback.format_exception(error)])
    raise AssertionError("it did not fail")


async def test_an_error_that_quotes_the_token(
    azure: Emulator, workspace: Sample, everything_logged: pytest.LogCaptureFixture
) -> None:
    async with arm(azure) as client:
        await client.get(workspace.path, API)
        (token,) = issued(azure)
        quoting = [
            refuse(400, "InvalidAuthenticationToken", f"The token '{token}' is not good."),
            refuse(403, "Forbidden", "no", [{"code": "X", "message": f"Authorization: Bearer {token}"}]),
            refuse(409, token, "the code is it"),
            Response(500, f"<html>{token}</html>".encode()),
            Response(400, json.dumps({"error": {"code": "X", "innererror": f"saw {token}"}}).encode()),
            Response(302, None, {"Location": f"https://evil.example/?token={token}"}),
        ]
        said = ""
        for response in quoting:
            azure.state.faults.append(Fault("POST", ".*", 1, response))
            said += await said_by(client, workspace.path, method="POST")
    check(said + everything_logged.text, [token])


async def test_a_refused_login(
    azure: Emulator,
    workspace: Sample,
    everything_logged: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("AZURE_TENANT_ID", TENANT), ("AZURE_CLIENT_ID", CLIENT), ("AZURE_CLIENT_SECRET", SECRET)):
        monkeypatch.setenv(name, value)
    client = Arm(cloud(azure), Login("environment", cloud(azure)))
    said = await said_by(client, workspace.path)
    azure.entra.refuse = f"AADSTS50000: the request had client_secret={SECRET}&grant_type=x"
    said += await said_by(Arm(cloud(azure), Login("environment", cloud(azure))), workspace.path)
    await client.aclose()
    assert "AADSTS50000" in said
    check(said + everything_logged.text, [SECRET])


async def test_az_that_prints_rubbish_with_the_token_in_it(azure: Emulator, workspace: Sample) -> None:
    token = "eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJ4In0.c2lnbmF0dXJl"
    (azure.az.folder / "az").write_text(f'#!/bin/sh\necho \'{{"accessToken": "{token}"\'\n', encoding="utf-8")
    async with arm(azure) as client:
        said = await said_by(client, workspace.path)
    (azure.az.folder / "az").write_text(f"#!/bin/sh\necho 'ERROR: {token} is bad' >&2; exit 1\n", encoding="utf-8")
    async with arm(azure) as client:
        said += await said_by(client, workspace.path)
    assert "another form" in said
    assert "is bad" in said
    check(said, [token])


async def test_nothing_shows_itself(azure: Emulator, workspace: Sample) -> None:
    async with arm(azure) as client:
        token = await client.login.token(client.cloud.arm_scope)
        shown = (
            f"{token!r} {token} {client.login!r} {vars(client.login)!r} {vars(client)!r} {client.login.credential!r}"
        )
    check(shown, [token.secret.reveal()])


async def test_the_keys_of_an_endpoint_are_in_the_answer_alone(
    azure: Emulator, workspace: Sample, everything_logged: pytest.LogCaptureFixture
) -> None:
    path = workspace.endpoint("the-ep", key=KEY)
    async with arm(azure) as client:
        changed = await client.change("POST", f"{path}/listKeys", API)
        assert changed.body["primaryKey"] == KEY
        azure.state.faults.append(Fault("POST", "listKeys", 1, edit=lambda body: [body]))
        await client.change("POST", f"{path}/listKeys", API)
    check(everything_logged.text, [KEY, *issued(azure)])


async def test_a_change_of_a_cluster_leaves_no_token_in_the_audit(
    azure: Emulator, workspace: Sample, everything_logged: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    workspace.cluster("prod-aks", power="Stopped")
    async with listening(settings(azure)) as aks:
        await aks.until(lambda known: known.listed)
        plan = await aks.backend.plan(Intent(Capability.START, aks.services["aks/prod-aks"]))
        (token, *_) = issued(azure)
        azure.state.faults.append(Fault("POST", "/start", 1, refuse(409, "Conflict", f"Bearer {token}")))
        audit = AuditLog(tmp_path / "audit.jsonl")
        first = await carry_out(plan, audit, read_only=False)
        assert first.error is not None
        second = await carry_out(plan, audit, read_only=False)
        assert second.error is None
    written = audit.path.read_text(encoding="utf-8")
    assert written.count("az aks start") >= 2
    check(written + everything_logged.text + repr(plan) + str(first.error), issued(azure))
