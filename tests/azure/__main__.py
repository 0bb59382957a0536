"""`python -m tests.azure`: the emulator until it is interrupted, with all that is needed to try the dashboard."""

from __future__ import annotations

import argparse
import signal
import socket
import tempfile
import threading
from pathlib import Path

from tests.azure.emulator import running
from tests.azure.sample import full
from tests.azure.storage import ACCOUNT


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.azure", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of Resource Manager and Entra; default a free one")
    parser.add_argument("--triton", metavar="URL", help="a tritonserver to put behind the scoring front")
    parser.add_argument("--crowd", type=int, default=0, metavar="N", help="N endpoints more, two deployments each")
    parser.add_argument("--latency", type=float, default=0.05, metavar="S", help="of each answer of Resource Manager")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="azure-") as folder, running(Path(folder), given.port) as emulator:
        sample = full(emulator, given.triton)
        if given.crowd:
            sample.crowd(given.crowd)
        emulator.state.latency_s = given.latency
        emulator.state.default_script.seconds = 20.0
        emulator.state.default_script.poll_ms = None
        config = Path(folder) / "config.toml"
        config.write_text(emulator.config({"ws1": "ws1"}, {"aks": "prod-aks"}), encoding="utf-8")
        print(f"resource manager and Entra   {emulator.base}")
        print(f"router of Kubernetes         https://localhost:{emulator.front.router}")
        print(f"machine identity             http://127.0.0.1:{emulator.plain_port}")
        print(f"CA                           {emulator.ca}")
        print(f"az                           {emulator.az.folder}/az")
        print(f"settings                     {config}\n")
        print(config.read_text(encoding="utf-8"))
        if words := unresolved(f"{ACCOUNT}.blob.localhost"):
            print(f"register                     {words}\n")
        print(f"try it:  PATH={emulator.az.folder}:$PATH tritonctl --config {config}\n", flush=True)
        stop = threading.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: stop.set())
        stop.wait()


def unresolved(host: str) -> str:
    """Uploads go to ACCOUNT.blob.localhost, as Azure's go to ACCOUNT.blob.core.windows.net; not every resolver sends it
    to loopback, as RFC 6761 wants it."""
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return f"needs its blob store, and {host} does not resolve here: echo 127.0.0.1 {host} >> /etc/hosts"
    return ""


if __name__ == "__main__":
    main()
