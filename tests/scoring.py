"""A scoring service as Azure ML's inference server is one: /score runs a function of the body, / says it is healthy."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "s3cr3t-sc0re"
EXAMPLE = {"data": [[1, 2], [3, 4]]}
WORDS = "one two three four five"


@dataclass
class Scoring:
    """`bodies` are what was posted, `sent` the pieces of streams that went out, `headers` the last request's;
    `most_at_once` is how many slow requests were under way together."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    at_once: int = 0
    most_at_once: int = 0

    def url(self, path: str = "/score") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


def _run(document: Any) -> Any:
    """What the script does: the sum of each row."""
    return {"sums": [sum(row) for row in document["data"]]}


@contextmanager
def scoring() -> Iterator[Scoring]:
    """POST /score sums rows, /slow takes its time, /generate_stream streams words for ever, /guarded wants TOKEN,
    /image tells what kind of body came, /huge answers 300 MB, /none with nothing, /nothing with
    204, /nan with what JSON has not."""
    seen = Scoring()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            if self.path == "/":
                self.answer(200, b"Healthy", "text/plain")
            elif self.path == "/swagger.json":
                self.answer(200, json.dumps({"definitions": {"ServiceInput": {"example": EXAMPLE}}}).encode())
            else:
                self.answer(404, b"not found", "text/plain")

        def do_POST(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                self.post()

        def post(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.bodies.append(body)
            seen.headers = {name.lower(): value for name, value in self.headers.items()}
            chosen = seen.headers.get("azureml-model-deployment", "blue")
            if self.path in ("/score", "/slow"):
                if self.path == "/slow":
                    seen.at_once += 1
                    seen.most_at_once = max(seen.most_at_once, seen.at_once)
                    time.sleep(0.2)
                    seen.at_once -= 1
                try:
                    done = json.dumps(_run(json.loads(body))).encode()
                except (ValueError, KeyError, TypeError) as error:
                    reason = {
                        "ms_azureml_model_error_statuscode": "500",
                        "ms_azureml_model_error_reason": "model_error",
                    }
                    self.answer(424, f"the script failed: {error!r}".encode(), "text/plain", **reason)
                    return
                self.answer(200, done, azureml_model_deployment=chosen)
            elif self.path == "/generate_stream":
                self.stream(json.loads(body).get("words", WORDS).split())
            elif self.path == "/guarded":
                allowed = seen.headers.get("authorization") == f"Bearer {TOKEN}"
                self.answer(200 if allowed else 401, b'{"let": "in"}' if allowed else b"key_auth_access_denied")
            elif self.path == "/image":
                self.answer(200, json.dumps({"type": seen.headers["content-type"], "bytes": len(body)}).encode())
            elif self.path == "/huge":
                self.huge()
            elif self.path == "/hostile":
                self.answer(200, b'{"a": "\\u001b[31mred\\u0007"}\x1b]0;title\x07', "text/plain")
            elif self.path == "/nothing":
                self.send_response(204)
                self.end_headers()
            elif self.path == "/nan":
                self.answer(200, b'{"scores": [NaN, 1.5]}')
            elif self.path == "/none":
                self.answer(200, b"")
            else:
                self.answer(404, b"")

        def stream(self, words: list[str]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for word in words:
                event = {"error": "out of words"} if word == "broken" else {"text_output": f"{word} "}
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
                seen.sent += 1
                time.sleep(0.03)
            self.close_connection = True

        def huge(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(300 << 20))
            self.end_headers()
            for _ in range(300):
                self.wfile.write(b"1" * (1 << 20))
                seen.sent += 1

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as server:
        seen.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join()
