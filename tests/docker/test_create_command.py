"""The printed `docker create` is what is done: nothing twice, nothing missing, each value whole."""

from __future__ import annotations

import subprocess

import pytest

from backends.docker.command import connect_command, create_command, left_out, line
from backends.docker.recreate import order

VOLUME = "a" * 64
DOCUMENT = {
    "Id": "c" * 64,
    "Path": "tritonserver",
    "Config": {
        "Image": "tritonserver:1",
        "Volumes": {"/anon": {}, "/typed/": {}},
        "ExposedPorts": {"8000/tcp": {}, "9000/tcp": {}, "9001/udp": {}},
    },
    "HostConfig": {
        "NetworkMode": "one",
        "IpcMode": "shareable",
        "Runtime": "nvidia",
        "PortBindings": {"8000/tcp": [{"HostIp": "", "HostPort": "80"}]},
    },
    "Mounts": [
        {"Type": "volume", "Name": VOLUME, "Destination": "/anon"},
        {"Type": "volume", "Name": VOLUME, "Destination": "/typed"},
    ],
    "NetworkSettings": {
        "Networks": {
            "one": {"Aliases": ["c" * 12]},
            "two": {"Aliases": ["second", "c" * 12], "Links": ["db:base"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}},
        }
    },
}


def test_a_volume_without_a_name_is_mounted_once() -> None:
    words = create_command("t", order(DOCUMENT, ("tritonserver",), same_image=True).body, {}).split()
    mounts = [words[at + 1] for at, word in enumerate(words) if word == "-v"]
    assert mounts == [f"{VOLUME}:/anon", f"{VOLUME}:/typed"]


def test_no_secret_is_in_it() -> None:
    host = {"LogConfig": {"Type": "splunk", "Config": {"splunk-token": "hush", "splunk-url": "https://log"}}}
    check = {"Test": ["CMD-SHELL", "curl 'http://user:hush@localhost/?token=hush'"]}
    said = create_command("t", {"Image": "i", "HostConfig": host, "Healthcheck": check}, {})
    assert "hush" not in said
    assert "--log-opt splunk-url=https://log" in said


def test_what_is_left_out_of_it_is_named() -> None:
    body = {
        "Image": "i",
        "Env": ["MY_TOKEN=hush", "A=b", "IMAGE_KEY=the image's own"],
        "Labels": {"API_KEY": "hush", "team": "t"},
        "Cmd": ["tritonserver", "--api-token", "hush", "--http-restricted-api=health:key=hush"],
        "Healthcheck": {"Test": ["CMD-SHELL", "curl http://user:hush@localhost/"]},
    }
    image = {"Env": ["IMAGE_KEY=the image's own"]}
    assert "hush" not in create_command("t", body, image)
    named = ["API_KEY", "--health-cmd", "--api-token", "--http-restricted-api", "MY_TOKEN"]
    assert sorted(left_out(body, image)) == sorted(named)
    assert left_out({"Env": ["A=b"], "Cmd": ["tritonserver"]}, {}) == []


def test_what_docker_would_choose_otherwise_is_said() -> None:
    said = create_command("t", order(DOCUMENT, ("tritonserver",), same_image=True).body, {}, "runc")
    for flag in ("--ipc shareable", "--expose 9000", "--expose 9001/udp", "--runtime nvidia"):
        assert f" {flag} " in said
    assert "--expose 8000" not in said
    by_default = create_command("t", order(DOCUMENT, ("tritonserver",), same_image=True).body, {}, "nvidia")
    assert "--runtime" not in by_default


def test_further_networks_keep_their_names_links_and_addresses() -> None:
    ((network, settings),) = order(DOCUMENT, ("tritonserver",), same_image=True).networks
    said = connect_command(network, settings, "t")
    assert said == "docker network connect --alias second --link db:base --ip 10.0.0.9 two t"


@pytest.mark.parametrize("value", ["a\nb", "it's\ttwo \\n", "\x1b[31mred", "plain", "with space", "\u202eé\n", ""])
def test_any_value_is_one_line_that_a_shell_reads_back(value: str) -> None:
    said = line(["printf", "%s", value])
    assert said.isprintable()
    done = subprocess.run(["bash", "-c", said], capture_output=True, timeout=30, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.decode() == value
