"""What was typed wrong, or is wrong in the settings: exit code 2, a word on it, nothing on stdout."""

from __future__ import annotations

import pytest

from tests.commands.process import Tritonctl
from tests.commands.proxy import dead_port


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("nope",), "nope"),
        (("services", "--nope"), "--nope"),
        (("services", "extra"), "extra"),
        (("models",), "SERVICE"),
        (("load", "it"), "MODEL"),
        (("services", "-o", "yaml"), "yaml"),
        (("services", "--timeout", "soon"), "soon"),
        (("services", "--timeout", "0"), "seconds"),
        (("services", "--timeout", "nan"), "seconds"),
        (("mode", "it", "sometimes"), "sometimes"),
        (("scale", "it", "many"), "many"),
        (("scale", "it", "-1"), "negative"),
        (("logs", "it", "--tail", "-5"), "--tail"),
        (("infer", "it", "m", "--repeat", "0"), "--repeat"),
        (("traffic", "it", "blue"), "NAME=PERCENT"),
        (("traffic", "it", "blue=101"), "NAME=PERCENT"),
        (("services", "--read"), "--read"),  # not taken for --read-only: abbreviations change their meaning
        (("--url", "http://localhost", "services"), "no port"),
        (("--url", "ftp://localhost:8000", "services"), "ftp"),
        (("--url", "http://", "services"), "no host"),
        (("--backend", "nowhere", "services"), "nowhere"),
        (("--config", "/nowhere/config.toml", "services"), "/nowhere/config.toml"),
        ((), "not a terminal"),
    ],
)
def test_it_says_what_is_wrong(tritonctl: Tritonctl, arguments: tuple[str, ...], word: str) -> None:
    done = tritonctl(*arguments, code=2)
    assert word in done.err
    assert done.err.startswith("tritonctl: ")
    assert done.out == ""


def test_a_password_in_a_url_is_refused_and_not_repeated(tritonctl: Tritonctl) -> None:
    done = tritonctl("--url", "http://me:hunter2@localhost:8000", "services", code=2)
    assert "password" in done.err
    assert "hunter2" not in done.err


def test_an_ambiguous_end_names_the_candidates(tritonctl: Tritonctl) -> None:
    server = f'servers = [{{ name = "it", http = "http://127.0.0.1:{dead_port()}" }}]'
    tritonctl.settings(f'[backends.a]\nkind = "urls"\n{server}\n[backends.b]\nkind = "urls"\n{server}')
    done = tritonctl("models", "it", code=2)
    assert "a/it, b/it" in done.err
    assert "nothing listens" in tritonctl("models", "a/it", code=5).err
    assert "nothing listens" in tritonctl("models", "it", "--backend", "b", code=5).err


def test_a_wrong_key_in_the_settings_names_line_and_nearest_key(tritonctl: Tritonctl) -> None:
    path = tritonctl.settings("interval_s = 2\nread_olny = true\n")
    for command in ("services", "doctor", "backends"):
        done = tritonctl(command, code=2)
        assert f"{path}:2" in done.err
        assert "read_only" in done.err
        assert done.out == ""


def test_help_and_version_go_to_stdout(tritonctl: Tritonctl) -> None:
    assert tritonctl("--version").out.startswith("tritonctl ")
    for arguments in (("--help",), ("load", "--help")):
        done = tritonctl(*arguments)
        assert done.out.startswith("usage: tritonctl")
        assert done.err == ""


def test_common_options_stand_before_or_after_the_command(tritonctl: Tritonctl) -> None:
    url = f"http://127.0.0.1:{dead_port()}"
    before = tritonctl("--url", url, "-o", "json", "--timeout", "3", "services", code=5)
    after = tritonctl("services", "--url", url, "-o", "json", "--timeout", "3", code=5)
    assert before.document == after.document
