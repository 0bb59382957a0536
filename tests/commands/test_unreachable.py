"""Servers that refuse, hang, or are something else: the exit code, a clear word, and never a secret."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import pytest
import trustme

from tests.commands.process import Tritonctl
from tests.commands.proxy import answering, dead_port, recording, silent
from tests.servers import Running

TOKEN = "s3cr3t-t0ken"


@pytest.mark.parametrize(
    "command",
    [
        ("models", "it"),
        ("model", "it", "m"),
        ("metrics", "it"),
        ("mode", "it"),
        ("load", "it", "m", "--yes"),
        ("unload", "it", "m", "--yes"),
        ("infer", "it", "m"),
        ("services",),
    ],
)
def test_every_command_has_a_word_for_each_of_them(tritonctl: Tritonctl, command: tuple[str, ...]) -> None:
    tritonctl.environment["TOKEN"] = TOKEN

    def it(port: int) -> None:
        tritonctl.settings(
            '[backends.s]\nkind = "urls"\nservers = '
            f'[{{ name = "it", http = "http://127.0.0.1:{port}", token_env = "TOKEN" }}]'
        )

    it(dead_port())
    done = tritonctl(*command, code=5)
    assert "nothing listens" in done.err + done.out
    with answering(401, '{"error": "who are you"}') as port:
        it(port)
        done = tritonctl(*command, code=4)
        assert "who are you" in done.err + done.out
        assert TOKEN not in done.err + done.out
    with answering(200, "<html>welcome</html>") as port:
        it(port)
        assert "a web page came back" in (done := tritonctl(*command, code=5)).err + done.out
    with answering(500, '{"error": "out of \\u001b[31mluck"}') as port:
        it(port)
        done = tritonctl(*command, code=1)
        assert "out of luck" in done.err + done.out
        assert "\x1b" not in done.err + done.out
    with silent() as port:
        it(port)
        began = time.monotonic()
        done = tritonctl(*command, "--timeout", "1", code=5)
        assert time.monotonic() - began < 25
        assert "no answer within 1 s" in done.err + done.out


def test_the_token_is_sent_and_never_shown(tritonctl: Tritonctl, demo: Running) -> None:
    tritonctl.environment["TOKEN"] = TOKEN
    with recording(demo.ports.http) as seen:
        tritonctl.settings(
            f'[backends.s]\nkind = "urls"\nservers = [{{ name = "it", http = "{seen.http}", token_env = "TOKEN" }}]'
        )
        done = [
            tritonctl(*command, *output, code=None)
            for output in ((), ("-o", "json"))
            for command in (
                *(("services",), ("models", "it"), ("model", "it", "add_sub"), ("backends",), ("doctor",)),
                *(("load", "it", "echo", "--dry-run"), ("load", "it", "layout", "--yes"), ("infer", "it", "add_sub")),
                *(("events", "it"), ("infer", "it", "nope")),
            )
        ]
    assert any(f"authorization: bearer {TOKEN}" in head.lower() for head in seen.heads)
    assert all(TOKEN not in each.out + each.err for each in done)
    assert not any(TOKEN in path.read_text() for path in tritonctl.home.rglob("*") if path.is_file())


def test_a_certificate_must_verify(tritonctl: Tritonctl, demo: Running) -> None:
    authority = trustme.CA()
    ca = tritonctl.settings("").with_name("ca.pem")
    authority.cert_pem.write_to_path(str(ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with recording(demo.ports.http, context) as seen:
        https = seen.http.replace("http:", "https:")
        entry = f'name = "it", http = "{https}"'
        tritonctl.settings(f'[backends.s]\nkind = "urls"\nservers = [{{ {entry} }}]')
        assert "does not verify" in tritonctl("models", "it", code=5).err
        assert seen.requests == []
        tritonctl.settings(f'[backends.s]\nkind = "urls"\nservers = [{{ {entry}, ca = "ca.pem" }}]')
        tritonctl("models", "it")
        assert "GET /v2/health/ready" in seen.requests
        tritonctl.settings(f'[backends.s]\nkind = "urls"\nservers = [{{ {entry}, ca = "nowhere.pem" }}]')
        assert "set ca to a readable PEM file" in tritonctl("models", "it", code=5).err
    tls_to_plain = f"https://127.0.0.1:{demo.ports.http}"
    tritonctl("--url", tls_to_plain, "models", f"127.0.0.1:{demo.ports.http}", code=5)


def test_a_server_that_hangs_delays_no_other_one(tritonctl: Tritonctl, demo: Running) -> None:
    with silent() as port:
        tritonctl.knows(it=demo, hangs=f"http://127.0.0.1:{port}")
        began = time.monotonic()
        tritonctl("models", "it", "--timeout", "60")
        assert time.monotonic() - began < 25


def test_a_command_about_one_service_asks_nothing_of_another(tritonctl: Tritonctl, demo: Running) -> None:
    with recording(demo.ports.http) as other:
        tritonctl.knows(it=demo, other=other.http)
        for command in (("models", "it"), ("metrics", "it"), ("logs", "it"), ("wait", "it", "--for", "ready")):
            tritonctl(*command, code=None)
        assert other.requests == []
        tritonctl("models", "other")
        assert "GET /v2/health/ready" in other.requests


def test_a_place_that_hangs_delays_no_other_one(tritonctl: Tritonctl, demo: Running, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "engine.sock"))
        engine.listen(16)  # it takes connections and never answers
        tritonctl.knows(it=demo)
        path = tritonctl.home / "config_home/tritonctl/config.toml"
        path.write_text(f'{path.read_text()}[backends.d]\nkind = "docker"\nhost = "unix://{tmp_path}/engine.sock"\n')
        took = {}
        for name in ("s/it", "it"):
            began = time.monotonic()
            done = tritonctl("models", name, "--timeout", "50")
            took[name] = time.monotonic() - began
            assert "add_sub" in done.out
            assert took[name] < 25
        assert "'it' is taken for s/it: d did not tell" in done.err
