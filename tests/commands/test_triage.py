"""tritonctl triage and tritonctl lint as a person and a script use them, over real servers known by their addresses."""

from __future__ import annotations

import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands.process import Tritonctl
from tests.servers import Factory, Running, write_model
from tritonctl.triage.bundle import ending, without_secrets

STAGES = ["server up", "models loaded", "ready", "answering", "healthy under traffic"]


def test_the_failing_sample_of_the_demo(tritonctl: Tritonctl, demo: Running) -> None:
    tritonctl.knows(demo=demo)
    document = tritonctl("triage", "s/demo", "-o", "json").document
    assert set(document) == {"service", "healthy", "stages", "findings"}
    assert document["service"] == "s/demo"
    assert document["healthy"] is False
    assert [rung["stage"] for rung in document["stages"]] == STAGES
    assert all(set(rung) == {"stage", "state", "seconds", "detail"} for rung in document["stages"])
    headline = document["findings"][0]
    assert set(headline) == {"id", "title", "cause", "confidence", "evidence", "next_steps", "doc"}
    assert headline["id"] == "python-module-missing"
    assert headline["confidence"] == "sure"
    assert "'shapely'" in headline["title"]
    assert headline["evidence"][0]["source"] == "index layout"
    assert "No module named 'shapely'" in headline["evidence"][0]["text"]
    assert any("tritonctl load s/demo layout" in step for step in headline["next_steps"])


def test_the_only_service_needs_no_name(tritonctl: Tritonctl, demo: Running) -> None:
    tritonctl.knows(demo=demo)
    done = tritonctl("triage")
    assert "layout needs the Python module 'shapely'" in done.out
    assert "next a" in done.out
    assert "log of demo" in done.err, "what could not be had is named"
    tritonctl.knows(demo=demo, other="http://127.0.0.1:9")
    assert "of which service?" in tritonctl("triage", code=2).err


def test_ascii(tritonctl: Tritonctl, demo: Running) -> None:
    tritonctl.knows(demo=demo)
    assert tritonctl("triage", env={"TRITONCTL_ASCII": "1"}).out.splitlines()[1].isascii()


def test_a_service_that_is_well(tritonctl: Tritonctl, own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path / "r", "same")
    server = own_triton(tmp_path / "r", control_mode="none")
    tritonctl.knows(good=server)
    document = tritonctl("triage", "good", "-o", "json").document
    assert document["healthy"] is True
    assert document["findings"] == []
    assert "nothing was found against it" in tritonctl("triage", "good").out


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """A port that takes connections and says this to whatever is asked, or nothing for ever."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                if answer is not None:
                    connection.recv(65536)
                    connection.sendall(answer)
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            for connection in held:
                connection.close()


PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<html>x</html>"
REFUSED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "cause"),
    [(PAGE, "unreachable-not-triton"), (REFUSED, "unreachable-forbidden"), (None, "unreachable-timeout")],
)
def test_what_answers_is_not_triton(tritonctl: Tritonctl, answer: bytes | None, cause: str) -> None:
    with listening(answer) as port:
        tritonctl.knows(odd=f"http://127.0.0.1:{port}")
        document = tritonctl("triage", "odd", "-o", "json", "--timeout", "2").document
    assert [each["id"] for each in document["findings"]] == [cause]
    assert str(port) in document["findings"][0]["evidence"][0]["text"]
    assert document["stages"][0]["state"] == "failed"


def test_nothing_listens_and_a_name_that_is_none(tritonctl: Tritonctl) -> None:
    tritonctl.knows(dead="http://127.0.0.1:9", nameless="http://no-such-host.invalid:8000")
    assert tritonctl("triage", "dead", "-o", "json").document["findings"][0]["id"] == "unreachable-refused"
    assert tritonctl("triage", "nameless", "-o", "json").document["findings"][0]["id"] == "unreachable-name"


def test_the_metrics_port_given_for_the_http_port(tritonctl: Tritonctl, demo: Running) -> None:
    tritonctl.knows(wrong=f"http://127.0.0.1:{demo.ports.metrics}")
    assert tritonctl("triage", "wrong", "-o", "json").document["findings"][0]["id"] == "unreachable-not-triton"


def test_explain_an_entry_a_text_and_nothing(tritonctl: Tritonctl) -> None:
    assert "EXECUTION_ENV_PATH" in tritonctl("triage", "--explain", "python-module-missing").out
    assert "L5" in tritonctl("triage", "--explain", "L5").out
    text = "inference request batch-size must be <= 8 for 'identity'"
    rows = tritonctl("triage", "--explain", text, "-o", "json").document
    assert [row["id"] for row in rows] == ["request-batch-size"]
    assert "identity" in tritonctl("triage", "--explain", text).out
    assert "none fits" in tritonctl("triage", "--explain", "the moon is full", code=3).err


def test_an_entry_of_the_users_own_and_a_broken_one(tritonctl: Tritonctl, demo: Running) -> None:
    tritonctl.knows(demo=demo)
    folder = tritonctl.home / "config_home/tritonctl/catalogue"
    folder.mkdir(parents=True)
    (folder / "ours.toml").write_text(
        '[[signature]]\nid = "ours"\ntitle = "no {module} here"\nhas = "shapely"\n'
        "pattern = '''No module named '(?P<module>\\w+)'''\ncause = \"x\"\nsteps = \"ask us\"\nrank = 1\n"
        '[[signature]]\nid = "bad"\ntitle = "x"\nhas = "x"\npattern = "("\ncause = "x"\n'
    )
    done = tritonctl("triage", "-o", "json")
    assert "ours" in [each["id"] for each in done.document["findings"]]
    assert f"{folder / 'ours.toml'}:13: not a regular expression" in done.err


SECRETS = (
    "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "AZURE_STORAGE_KEY: 'Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4=='",
    '"password": "hunter2hunter2"',
    "Authorization: Bearer abcdefghijklmnop.qrstuv",
    "https://user:p4ssw0rd@registry.example.com/v2/",
    "https://a.blob.core.windows.net/c?sv=2022&sig=AbCdEf%2BGh%3D",
    "token eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
    "AKIAIOSFODNN7EXAMPLE",
    "hf_abcdefghijklmnopqrstuvwx",
    "nvapi-abcdefghijklmnopqrstuvwxyz",
    "OPENAI=sk-proj-abcdefghijklmnopqrstuvwx1234",
    "glpat-abcdefghij0123456789",
    "--cache-config=redis,password=s3cr3tvalue",
    "--http-restricted-api=health,metadata:admin-key=0p3nup",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
)
KEPT_OUT = (
    "wJalr",
    "Zm9v",
    "hunter2",
    "qrstuv",
    "p4ssw0rd",
    "AbCdEf",
    "eyJzdWI",
    "AKIAI",
    "hf_abc",
    "nvapi-a",
    "sk-proj",
    "glpat-",
    "s3cr3t",
    "0p3nup",
    "MIIE",
)


@pytest.mark.parametrize(("text", "secret"), list(zip(SECRETS, KEPT_OUT, strict=True)))
def test_a_secret_is_taken_out(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in without_secrets(text)
    assert "***" in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "failed to load 'tokens' version 1: Internal: SyntaxError: invalid syntax (model.py, line 2)",
        "prompt_tokens_total 17",
        "model_control_mode = MODE_NONE",
        "max_tokens: null",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text or "prompt_tokens" in text or "max_tokens" in text
    assert "SyntaxError" not in text or "SyntaxError" in without_secrets(text)


def test_a_bundle_without_the_planted_secrets(tritonctl: Tritonctl, own_triton: Factory, tmp_path: Path) -> None:
    printed = "\n".join(f"print({secret!r}, flush=True)" for secret in SECRETS)
    write_model(tmp_path / "r", "same", code=f"{printed}\nimport nothing_of_this_name\n")
    server = own_triton(tmp_path / "r", control_mode="none", flags=("--exit-on-error=false",))
    tritonctl.knows(leaky=server)
    path = tmp_path / "bundle.tar.gz"
    began = time.monotonic()
    done = tritonctl("triage", "leaky", "--bundle", str(path))
    assert time.monotonic() - began < 60
    assert "without secrets" in done.err
    assert path.stat().st_mode & 0o077 == 0
    assert path.stat().st_size < 25 << 20
    with tarfile.open(path) as archive:
        names = archive.getnames()
        whole = "\n".join(archive.extractfile(name).read().decode() for name in names)  # type: ignore[union-attr]
    assert "tritonctl-triage/summary.txt" in names
    assert "nothing_of_this_name" in whole
    for secret in KEPT_OUT:
        assert secret not in whole
    assert "File exists" in tritonctl("triage", "leaky", "--bundle", str(path), code=1).err


def test_lint(tritonctl: Tritonctl, tmp_path: Path) -> None:
    write_model(tmp_path / "r", "fine")
    done = tritonctl("lint", str(tmp_path / "r"))
    assert done.out == ""
    assert "0 errors" in done.err
    (write_model(tmp_path / "r", "m") / "config.pbtxt").write_text("max_batchsize: 4\n")
    done = tritonctl("lint", str(tmp_path / "r"), "-o", "json", code=1)
    assert [(row["rule"], row["line"]) for row in done.document] == [("L2", 1)]
    assert "config.pbtxt:1:" in tritonctl("lint", str(tmp_path / "r"), code=1).out
    assert tritonctl("lint", str(tmp_path / "nowhere"), code=2)


def test_a_cut_parts_no_secret_from_its_name() -> None:
    secret = "hunter2hunter2"
    lines = "".join(f"line {number} password={secret}\n" for number in range(2000))
    for most in range(4000, 4060):
        cut = ending(lines, most)
        assert len(cut) <= most
        assert secret.encode() not in cut
        assert cut.startswith(b"line ")
    assert ending("short\n", 4000) == b"short\n"
