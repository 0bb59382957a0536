"""Pipes, terminals and encodings: what is written is what can be read, and nothing of it drives the terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.commands.process import DEADLINE_S, ROOT, Tritonctl, command
from tests.servers import Factory, Running, write_model

HOSTILE = "e\x1b]0;owned\x07vil\x9b31m[red]\nü\u202e日本"
RAISES = 'raise RuntimeError("\\x1b[2Jgone [bold]\\u202e\\x9b31m\\x00end")'


@pytest.fixture
def on_it(tritonctl: Tritonctl, demo: Running) -> Tritonctl:
    tritonctl.knows(it=demo)
    return tritonctl


def at_a_terminal(tritonctl: Tritonctl, *arguments: str, **environment: str) -> str:
    """What a terminal gets of stdout."""
    master, slave = pty.openpty()
    env = {**tritonctl.env, "TERM": "xterm-256color", **environment}
    process = subprocess.Popen(
        command(arguments), cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.DEVNULL
    )
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:  # Linux's word for: the other end is closed
        pass
    finally:
        os.close(master)
    assert process.wait(DEADLINE_S) == 0
    return shown.decode()


def test_colour_at_a_terminal_and_nowhere_else(on_it: Tritonctl) -> None:
    assert "\x1b[33m▲\x1b[0m s/it" in at_a_terminal(on_it, "services")
    assert "\x1b" not in at_a_terminal(on_it, "services", "--no-color")
    assert "\x1b" not in at_a_terminal(on_it, "--no-color", "services")
    assert "\x1b" not in at_a_terminal(on_it, "services", NO_COLOR="1")
    assert "\x1b" not in at_a_terminal(on_it, "services", TERM="dumb")
    assert "\x1b" not in at_a_terminal(on_it, "models", "it", "-o", "json")
    assert "\x1b" not in on_it("services").out


@pytest.mark.parametrize("arguments", [("services",), ("models", "it"), ("model", "it", "digits", "-o", "json")])
def test_a_reader_that_goes_away_is_no_failure(on_it: Tritonctl, arguments: tuple[str, ...]) -> None:
    process = on_it.start(*arguments)
    assert process.stdout is not None
    process.stdout.close()  # before anything is written
    _, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, b"")
    shell = f"{' '.join(command(arguments))} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}"], cwd=ROOT, env=on_it.env, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 1


def test_a_full_disk_is_an_error(on_it: Tritonctl) -> None:
    with open("/dev/full", "wb") as full:
        process = on_it.start("services", stdout=full)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert err == b"tritonctl: write the output: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_matter(on_it: Tritonctl, closed: str) -> None:
    shell = f"{' '.join(command(('services',)))} {closed}"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, env=on_it.env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


@pytest.mark.parametrize(
    "locale",
    [
        {"LANG": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_a_narrow_encoding_gets_the_nearest_characters(on_it: Tritonctl, locale: dict[str, str]) -> None:
    on_it.environment.update(locale)
    done = on_it("services")
    if "LANG" not in locale:  # Python makes C.UTF-8 of a plain C
        assert done.rows[1].startswith("^ s/it  ")
        assert done.out.isascii()
    assert on_it("services", "-o", "json").document[0]["id"] == "s/it"
    assert on_it("models", "it", "-o", "json").document
    on_it("models", "it")
    on_it("doctor")
    on_it("load", "it", "echo", "--dry-run")
    assert on_it("model", "it", "nöpe", code=3).err.startswith("tritonctl: model ")


def test_ascii_can_be_asked_for(on_it: Tritonctl) -> None:
    assert on_it("services", env={"TRITONCTL_ASCII": "1"}).rows[1].startswith("^ s/it")


def test_names_and_reasons_from_outside_are_harmless_in_tables_and_whole_in_documents(
    tritonctl: Tritonctl, own_triton: Factory, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    write_model(repository, "broken", RAISES)
    (repository / HOSTILE).mkdir()
    (repository / ("long" * 60)).mkdir()
    tritonctl.knows(it=own_triton(repository, load=("broken",), flags=("--exit-on-error=false",)))
    rows = {row["name"]: row for row in tritonctl("models", "it", "-o", "json").document}
    assert set(rows) == {"broken", HOSTILE, "long" * 60}
    assert "\x1b[2Jgone [bold]\u202e\x9b31m" in rows["broken"]["reason"]
    for arguments in (("services",), ("models", "it"), ("model", "it", "broken"), ("load", "it", "broken", "--yes")):
        done = tritonctl(*arguments, code=None)
        for written in (done.out, done.err):
            assert not set(written) & {"\x1b", "\x9b", "\x07", "\x00", "\u202e"}, arguments
            assert "\\u202e" not in written
    done = tritonctl("models", "it")
    assert len(done.rows) == 4
    assert "gone [bold]" in done.out
    raw = tritonctl("models", "it", "-o", "json").out
    assert not set(raw) & {"\x1b", "\x9b", "\x07", "\x00", "\u202e"}  # escaped, so that a terminal may show it too
    done = tritonctl("model", "it", HOSTILE)
    assert "not loaded" in done.err


def test_an_argument_that_is_no_utf_8(tritonctl: Tritonctl, demo: Running) -> None:
    tritonctl.knows(it=demo)
    process = tritonctl.start(b"models", b"\xff\xfe")  # type: ignore[arg-type]
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 3
    assert b"Traceback" not in err
