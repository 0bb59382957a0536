"""Tests side by side: one that must be alone is, whatever the other workers do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.components import ROOT

CONFTEST = """
import os
import time
from tests.conftest import pytest_configure, pytest_runtest_protocol, pytest_unconfigure


def note(word):
    with open(os.environ["NOTES"], "a") as file:
        file.write(f"{word} {time.monotonic()}\\n")
"""
BESIDE = """
import time
import conftest
import pytest


@pytest.mark.parametrize("place", range(4))
def test_beside(place):
    conftest.note("beside begins")
    time.sleep(0.1)
    conftest.note("beside ends")
"""
ALONE = """
import time
import conftest
import pytest
from tests.sidebyside import must_be_alone

def test_not_alone():
    with pytest.raises(pytest.fail.Exception, match="mark this test"):
        must_be_alone("it stops the engine")

@pytest.mark.alone
@pytest.mark.parametrize("place", range(2))
def test_alone(place):
    must_be_alone("it stops the engine")
    conftest.note("alone begins")
    time.sleep(0.2)
    conftest.note("alone ends")
"""


def test_nothing_runs_beside_a_test_that_is_alone(tmp_path: Path) -> None:
    for name, text in (("conftest", CONFTEST), ("test_alone", ALONE), ("test_a", BESIDE), ("test_b", BESIDE)):
        (tmp_path / f"{name}.py").write_text(text)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-n", "3", "--dist", "loadfile", "-p", "no:cacheprovider"),
            *("--strict-markers", "--rootdir", str(tmp_path), "-c", "/dev/null", str(tmp_path)),
        ],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{tmp_path}", "NOTES": str(tmp_path / "notes")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "11 passed" in done.stdout, done.stdout + done.stderr
    running: list[str] = []
    for line in (tmp_path / "notes").read_text().splitlines():
        who, what, _ = line.split()
        if what == "begins":
            running.append(who)
        assert "alone" not in running or running == ["alone"]
        if what == "ends":
            running.remove(who)
