"""`metrics`: the rates of known traffic, and what is said where the page cannot be read."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.commands.process import Tritonctl
from tests.commands.proxy import dead_port
from tests.servers import Factory, Running

REQUEST = {
    "inputs": [
        {"name": name, "datatype": "FP32", "shape": [4], "data": [1.0, 2.0, 3.0, 4.0]} for name in ("INPUT0", "INPUT1")
    ]
}


@contextmanager
def twenty_requests_a_second(server: Running) -> Iterator[None]:
    stop = threading.Event()

    def send() -> None:
        with httpx.Client() as client:
            while not stop.wait(0.05):
                client.post(f"{server.http}/v2/models/add_sub/infer", json=REQUEST).raise_for_status()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()


def test_the_document_has_the_promised_fields_and_the_rate_that_was_sent(
    tritonctl: Tritonctl, own_triton: Factory
) -> None:
    server = own_triton(load=("add_sub", "echo"), flags=("--metrics-interval-ms=200",))
    tritonctl.knows(it=server)
    with twenty_requests_a_second(server):
        document = tritonctl("metrics", "it", "-o", "json", "--window", "2").document
    assert list(document) == ["service", "window_s", "models", "gpus", "cpu"]
    assert document["service"] == "s/it"
    assert 0.4 < document["window_s"] < 4
    models = {each["name"]: each for each in document["models"]}
    assert list(models) == ["add_sub", "echo"]
    assert list(models["add_sub"]) == [
        *("name", "version", "requests_per_s", "inferences_per_s", "failures_per_s", "avg_request_us"),
        *("avg_queue_us", "avg_compute_us", "avg_batch", "pending"),
    ]
    assert 2 < models["add_sub"]["requests_per_s"] < 22
    assert models["add_sub"]["version"] == "1"
    assert models["add_sub"]["failures_per_s"] == 0
    assert models["add_sub"]["avg_request_us"] > models["add_sub"]["avg_compute_us"] > 0
    assert models["echo"]["requests_per_s"] == 0
    assert models["echo"]["avg_request_us"] is None
    assert document["gpus"] == []
    assert list(document["cpu"]) == ["utilization", "memory_used_bytes", "memory_total_bytes"]
    assert document["cpu"]["memory_total_bytes"] > 1 << 20


def test_the_table_has_units(tritonctl: Tritonctl, own_triton: Factory) -> None:
    server = own_triton(load=("add_sub",))
    tritonctl.knows(it=server)
    with twenty_requests_a_second(server):
        rows = tritonctl("metrics", "it", "--window", "1").rows
    assert rows[0].startswith("s/it, over ")
    assert rows[1].split()[:3] == ["MODEL", "VER", "REQ/S"]
    assert "µs" in rows[2] or "ms" in rows[2]
    assert rows[-1].startswith("CPU of the host")


def test_a_closed_metrics_port_is_said_at_once(tritonctl: Tritonctl, demo: Running) -> None:
    tritonctl.settings(
        '[backends.s]\nkind = "urls"\nservers = [{ name = "it", '
        f'http = "{demo.http}", grpc = "{demo.grpc}", metrics = "http://127.0.0.1:{dead_port()}/metrics" }}]'
    )
    began = time.monotonic()
    done = tritonctl("metrics", "it", "-o", "json", code=5)
    assert time.monotonic() - began < 20
    assert done.out == ""
    assert "nothing listens" in done.err
    assert "set metrics" in done.err


def test_a_window_that_cannot_be_is_a_usage_error(tritonctl: Tritonctl) -> None:
    for window in ("0", "-1", "nan", "inf", "soon", "1e9"):
        assert "--window" in tritonctl("metrics", "it", f"--window={window}", code=2).err
