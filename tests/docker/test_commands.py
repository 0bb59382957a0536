"""The command line on a container that was started by a plain `docker run`: everything from listing to deleting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

from tests.docker.place import ROOT, Place


def tritonctl(place: Place, *words: str, code: int = 0, err: bool = False) -> str:
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TRITONCTL_", "DOCKER_"))},
        "DOCKER_HOST": place.host,
        "XDG_CONFIG_HOME": str(place.folder / "config"),
        "XDG_STATE_HOME": str(place.folder / "state"),
    }
    command = [sys.executable, "-m", "tui.cli", "--backend", "docker", *words]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == code, f"{words}: {done.stdout} {done.stderr}"
    return done.stderr if err else done.stdout


def test_from_listing_to_deleting(place: Place) -> None:
    flags = ("-p", "127.0.0.1::8000", "-p", "127.0.0.1::8001", "-v", f"{place.mark}-data:/data")
    name = place.triton("t", flags=flags)
    service = f"docker/{name}"
    tritonctl(place, "wait", service, "--for", "ready", "--timeout", "30")
    listed = {each["id"]: each for each in json.loads(tritonctl(place, "services", "-o", "json"))}
    assert listed[service]["models"]["ready"] == 2
    assert listed[service]["server"]["control_mode"] == "none"
    before = place.inspect(name)
    tritonctl(place, "mode", service, "explicit", "--dry-run")
    assert place.inspect(name)["Id"] == before["Id"]
    tritonctl(place, "mode", service, "explicit", "--read-only", "--yes", code=6)
    tritonctl(place, "mode", service, "explicit", "--yes")
    assert tritonctl(place, "mode", service).strip() == "explicit"
    assert place.inspect(name)["HostConfig"] == before["HostConfig"]
    for asked in (("mode", service, "explicit"), ("start", service)):  # it is so: that is no failure
        done = json.loads(tritonctl(place, *asked, "--yes", "-o", "json"))
        assert (done["action"], done["service"], done["steps"]) == (asked[0], service, [])
    assert "in control mode explicit already" in tritonctl(place, "mode", service, "explicit", "--yes")
    tritonctl(place, "unload", service, "two", "--yes")
    models = json.loads(tritonctl(place, "models", service, "-o", "json"))
    assert {each["name"]: each["state"] for each in models}["one"] == "READY"
    tritonctl(place, "load", service, "two", "--yes")
    answer = json.loads(tritonctl(place, "infer", service, "one", "--zeros", "-o", "json"))
    assert answer["error"] is None
    assert "Started HTTPService" in tritonctl(place, "logs", service)
    kinds = [each["kind"] for each in json.loads(tritonctl(place, "events", service, "-o", "json"))]
    assert "start" in kinds
    tritonctl(place, "stop", service, "--yes")
    assert place.inspect(name)["State"]["Running"] is False
    tritonctl(place, "start", service, "--yes")
    tritonctl(place, "restart", service, "--yes")
    document = json.loads(tritonctl(place, "delete", service, "--dry-run", "-o", "json"))
    assert [each["call"] for each in document["steps"]] == [f"docker stop -t 30 {name}", f"docker rm {name}"]
    assert place.names() == {name}
    choices = {each["id"]: each["chosen"] for each in document["choices"]}  # the image too, where nobody else has it
    assert f"volume:{place.mark}-data" in choices
    assert set(choices.values()) == {False}
    for words in (("--volumes",), ("--with", "all"), ("--with", f"volume:{place.mark}-data")):
        assert f"docker volume rm {place.mark}-data" in tritonctl(place, "delete", service, *words, "--dry-run")
    tritonctl(place, "delete", service, "--with", "nothing-of-it", "--dry-run", code=2)
    tritonctl(place, "delete", service, "--yes")
    assert place.names() == set()
    audit = (place.folder / "state" / "tritonctl" / "audit.jsonl").read_text().splitlines()
    assert any(json.loads(line)["call"] == f"docker rm {name}" for line in audit)


def test_who_waits_for_one_that_has_ended_is_told_at_once(place: Place) -> None:
    ended = place.run("ended", "tritonserver", "--model-repository=/nowhere")
    again = place.run("again", "tritonserver", "--model-repository=/nowhere", flags=("--restart", "on-failure:50"))
    place.docker("wait", ended)
    for condition in ("ready", "model=one"):
        began = time.monotonic()
        done = tritonctl(place, "wait", f"docker/{ended}", "--for", condition, "--timeout", "60", code=1, err=True)
        assert time.monotonic() - began < 30
        assert "exited 1" in done
        assert "nothing starts it again by itself" in done
        assert f"tritonctl start docker/{ended}" in done
    done = tritonctl(place, "wait", f"docker/{again}", "--for", "ready", "--timeout", "6", code=5, err=True)
    assert "waited 6 s" in done, "one that the engine starts again may come yet"


def test_who_waits_is_told_of_no_end_by_a_restart(place: Place) -> None:
    name = place.triton("t")
    tritonctl(place, "wait", f"docker/{name}", "--for", "ready", "--timeout", "30")
    place.docker("stop", name)
    starting = threading.Timer(1.0, place.docker, ("start", name))
    starting.start()
    tritonctl(place, "wait", f"docker/{name}", "--for", "ready", "--timeout", "60")
    starting.join()
