"""Which deployment of an Azure ML endpoint answered: a real Triton behind what puts Azure's header on each answer."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.commands.proxy import serving
from tests.inference_models import write_repository
from tests.servers import Factory, Running
from tests.test_request_pane import page
from tritonctl.server.address import ServerAddress
from tui.cli import main


@pytest.fixture(scope="module")
def triton(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Running:
    work = tmp_path_factory.mktemp("triton")
    write_repository(work / "repository")
    return triton_factory(work / "repository", control_mode="none")


@contextmanager
def endpoint(target_port: int) -> Iterator[int]:
    """Azure's front door, as far as the header goes: the one that was asked for, else blue, on each answer's head."""

    class Handler(socketserver.BaseRequestHandler):
        chosen = "blue"

        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", target_port)) as theirs:
                back = threading.Thread(target=self.answers, args=(theirs,))
                back.start()
                with suppress(OSError):
                    while chunk := self.request.recv(65536):
                        head = chunk.lower()
                        if b"azureml-model-deployment: " in head:
                            self.chosen = head.split(b"azureml-model-deployment: ")[1].split(b"\r\n")[0].decode()
                        theirs.sendall(chunk)
                with suppress(OSError):
                    theirs.shutdown(socket.SHUT_RDWR)
                back.join()

        def answers(self, theirs: socket.socket) -> None:
            with suppress(OSError):
                while chunk := theirs.recv(65536):
                    if chunk.startswith(b"HTTP/1.1 "):
                        status, rest = chunk.split(b"\r\n", 1)
                        chunk = status + f"\r\nazureml-model-deployment: {self.chosen}\r\n".encode() + rest
                    self.request.sendall(chunk)
            with suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)

    with serving(Handler) as port:
        yield port


def test_the_command_says_which_one_answered(
    triton: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with endpoint(triton.ports.http) as port:
        base = ["--url", f"http://127.0.0.1:{port}", "infer", f"127.0.0.1:{port}", "sum"]
        assert main(base) == 0
        assert "answered by http, deployment blue" in capsys.readouterr().out
        assert main([*base, "--deployment", "green", "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["deployment"] == "green"
    with_grpc = ["--url", triton.http, "infer", triton.http.split("/")[2], "sum", "-o", "json"]
    assert main(with_grpc) == 0
    assert json.loads(capsys.readouterr().out)["deployment"] is None


async def test_the_page_shows_which_one_answered(
    triton: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with endpoint(triton.ports.http) as port:
        behind = Behind(triton, ServerAddress(f"http://127.0.0.1:{port}"))
        async with page(behind, "sum") as one:
            await one.press("s")
            await one.until("version 1, deployment blue over http")


class Behind(Running):
    """A running server with another address."""

    def __init__(self, running: Running, address: ServerAddress) -> None:
        super().__init__(running.server, running.ports)
        object.__setattr__(self, "_behind", address)

    @property
    def address(self) -> ServerAddress:
        found = self.__dict__["_behind"]
        assert isinstance(found, ServerAddress)
        return found
