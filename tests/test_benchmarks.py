"""The bench runs by itself and writes one JSON document."""

from __future__ import annotations

import json
import subprocess
import sys


def test_a_row_is_measured_and_written_as_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "parse", "--runs", "1", "-o", "json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    document = json.loads(done.stdout)
    first = document["figures"][0]
    assert (first["row"], first["bar"], first["at_least"]) == ("parse", 5, True)
    assert first["value"] > 1
    assert first["passed"] is (first["value"] >= 5)
    assert document["not_measured"] == []
