"""An exec credential plugin that answers, fails, hangs or is not there: in time, in words, and without a storm."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from backends.kubernetes.client import plugin
from backends.kubernetes.client.access import Access, ExecPlugin, Identity
from backends.kubernetes.client.credentials import KubeconfigCredentials, Renewed
from backends.kubernetes.client.plugin import Credential
from tests.waiting import runs, until
from tritonctl.errors import Forbidden, Unreachable, UsageError
from tritonctl.server.address import Secret

ACCESS = Access("https://10.0.0.1", "the test", "prod")
SECRET = "t0ken-of-the-test"


def script(folder: Path, text: str, *arguments: str, hint: str = "") -> ExecPlugin:
    path = folder / "kubelogin"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return ExecPlugin(str(path), arguments, (("SETTING", "set"),), install_hint=hint)


def printing(token: str, expires: str = "") -> str:
    status = {"token": token, **({"expirationTimestamp": expires} if expires else {})}
    document = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": status}
    return f"echo '{json.dumps(document)}'"


async def test_a_token_is_taken_with_its_end(tmp_path: Path) -> None:
    text = f'echo "$1 $SETTING $KUBERNETES_EXEC_INFO" > {tmp_path}/said\n' + printing(SECRET, "2031-01-02T03:04:05Z")
    found = await plugin.run(script(tmp_path, text, "get-token"), ACCESS)
    assert found.token == Secret(SECRET)
    assert found.expires_at == 1925089445.0
    word, setting, info = (tmp_path / "said").read_text().split(" ", 2)
    assert (word, setting) == ("get-token", "set")
    assert json.loads(info)["spec"] == {"interactive": False}
    assert SECRET not in repr(found)


async def test_it_is_told_of_its_cluster_where_it_asks(tmp_path: Path) -> None:
    config = {
        "server": "https://other",
        "certificate-authority": "ca.pem",
        "tls-server-name": "api",
        "extensions": [
            {"name": "somebody", "extension": {"last-update": datetime(2026, 1, 2, tzinfo=UTC)}},
            {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}},
        ],
    }
    access = replace(ACCESS, ca="-----BEGIN CERTIFICATE-----\n", config=config)
    text = f'echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/said\n' + printing(SECRET)
    await plugin.run(replace(script(tmp_path, text), provide_cluster=True), access)
    assert json.loads((tmp_path / "said").read_text())["spec"]["cluster"] == {
        "server": ACCESS.server,
        "certificate-authority-data": base64.b64encode(b"-----BEGIN CERTIFICATE-----\n").decode(),
        "tls-server-name": "api",
        "config": {"audience": "a"},
    }


async def test_one_that_hangs_is_ended_with_what_it_started_and_in_time(tmp_path: Path) -> None:
    text = f"sleep 300 & echo $! > {tmp_path}/child\nexec sleep 300"
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"did not end within 0\.5 s") as caught:
        await plugin.run(script(tmp_path, text, "get-token", SECRET), ACCESS, deadline_s=0.5)
    assert time.monotonic() - began < 3
    assert caught.value.kind == "timeout"
    assert "get-token" in caught.value.advice
    assert SECRET not in str(caught.value)
    child = int((tmp_path / "child").read_text())
    await until(lambda: not runs(child))


async def test_one_whose_child_keeps_its_output_open_holds_up_nothing(tmp_path: Path) -> None:
    """The child has left the plugin's process group, and nothing that is ended with it closes the pipe."""
    child = f"setsid sh -c 'echo $$ > {tmp_path}/child; exec sleep 60' &"
    text = f"{child}\nwhile [ ! -s {tmp_path}/child ]; do sleep 0.01; done\n{printing(SECRET)}"
    began = time.monotonic()
    try:
        found = await plugin.run(script(tmp_path, text), ACCESS)
        assert found.token == Secret(SECRET)
        assert time.monotonic() - began < 10
    finally:
        os.kill(int((tmp_path / "child").read_text()), 9)


async def test_cancelling_ends_it_too(tmp_path: Path) -> None:
    task = asyncio.create_task(plugin.run(script(tmp_path, f"echo $$ > {tmp_path}/pid\nexec sleep 300"), ACCESS))
    await until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not psutil.pid_exists(int((tmp_path / "pid").read_text())))


async def test_a_failure_is_told_in_its_own_words_with_what_to_type(tmp_path: Path) -> None:
    text = f"{printing(SECRET)}\necho 'AADSTS70043: please run az login' >&2\nexit 3"
    with pytest.raises(Forbidden) as caught:
        await plugin.run(script(tmp_path, text), ACCESS)
    assert "ended with 3: AADSTS70043" in caught.value.answer
    assert caught.value.advice == "az login"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "output", ["", "{}", "not json", '{"status": {"token": ""}}', '{"status": {"clientKeyData": "k"}}']
)
async def test_what_is_no_credential_is_told_and_not_shown(tmp_path: Path, output: str) -> None:
    with pytest.raises(UsageError) as caught:
        await plugin.run(script(tmp_path, f"echo '{output}{SECRET}' | head -c {len(output)}"), ACCESS)
    assert "no ExecCredential" in caught.value.answer


async def test_one_that_is_missing_is_told_with_its_own_hint(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        await plugin.run(ExecPlugin("tritonctl-no-such-plugin", install_hint="brew install it\nmore"), ACCESS)
    assert caught.value.advice == "brew install it"
    with pytest.raises(UsageError, match="az aks install-cli"):
        await plugin.run(ExecPlugin("/nowhere/kubelogin"), ACCESS)


async def test_many_requests_run_it_once_and_a_failure_is_not_repeated_by_all(tmp_path: Path) -> None:
    count = f"echo x >> {tmp_path}/runs\n"
    good = KubeconfigCredentials(
        Access("https://h", "s", identity=Identity(plugin=script(tmp_path, count + printing("a"))))
    )
    assert len(set(await asyncio.gather(*(good.headers() for _ in range(20))))) == 1
    assert (tmp_path / "runs").read_text().count("x") == 1
    bad = KubeconfigCredentials(Access("https://h", "s", identity=Identity(plugin=script(tmp_path, count + "exit 1"))))
    results = await asyncio.gather(*(bad.headers() for _ in range(20)), return_exceptions=True)
    assert all(isinstance(each, Forbidden) for each in results)
    assert (tmp_path / "runs").read_text().count("x") == 2


async def test_a_credential_is_renewed_before_it_ends_and_when_it_is_refused() -> None:
    made: list[float] = []

    async def make() -> Credential:
        made.append(time.monotonic())
        return Credential(Secret(f"t{len(made)}"), expires_at=time.time() + lifetime)

    lifetime = 3600.0
    renewed = Renewed(make, pauses_s=(0.05,))
    assert (await renewed.get()).token == (await renewed.get()).token == Secret("t1")
    assert not await renewed.renew()  # made a moment ago: the API server refuses it for another reason
    await asyncio.sleep(0.06)
    assert await renewed.renew()
    assert (await renewed.get()).token == Secret("t2")
    lifetime = 0.5
    short = Renewed(make, pauses_s=(0.05,))
    first = await short.get()
    assert await short.get() is first  # of a short life: not made anew for each request
    await until(lambda: time.time() > (first.expires_at or 0))
    assert await short.get() is not first


async def test_another_attempt_is_made_after_a_pause() -> None:
    tries = 0

    async def make() -> Credential:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unreachable("log in", "no answer", kind="timeout")
        return Credential(Secret("t"))

    renewed = Renewed(make, pauses_s=(0.2,))
    for _ in range(3):
        with pytest.raises(Unreachable) as caught:
            await renewed.get()
        assert caught.value.kind == "timeout"
    assert tries == 1
    await asyncio.sleep(0.25)
    assert (await renewed.get()).token == Secret("t")
