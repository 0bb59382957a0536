"""Rates, averages and shares are those of what was counted between two scrapes, and unknown where that is unknown."""

from __future__ import annotations

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from tritonctl.server.counters import ModelKey
from tritonctl.server.metrics import parse
from tritonctl.server.rates import Scrape, combine, rates

REAL_PAGE = (Path(__file__).parent / "data" / "metrics-2.51.0.txt").read_text(encoding="utf-8")
KEY = ModelKey("m", "1")
FAMILIES = {
    "success": "nv_inference_request_success",
    "count": "nv_inference_count",
    "execs": "nv_inference_exec_count",
    "request": "nv_inference_request_duration_us",
    "queue": "nv_inference_queue_duration_us",
    "input": "nv_inference_compute_input_duration_us",
    "infer": "nv_inference_compute_infer_duration_us",
    "output": "nv_inference_compute_output_duration_us",
    "hits": "nv_cache_num_hits_per_model",
    "misses": "nv_cache_num_misses_per_model",
    "pending": "nv_inference_pending_request_count",
}
ZERO = dict.fromkeys(["success", "count", "execs", "request", "queue", "input", "infer", "output"], 0.0)


def rows(model: str = "m", gpu: str = "", failures: dict[str, float] | None = None, **counters: float) -> str:
    labels = f'model="{model}",version="1"' + (f',gpu_uuid="{gpu}"' if gpu else "")
    text = "".join(f"{FAMILIES[name]}{{{labels}}} {value}\n" for name, value in counters.items())
    for reason, value in (failures or {}).items():
        text += f'nv_inference_request_failure{{{labels},reason="{reason}"}} {value}\n'
    return text


def scrape(text: str, at_s: float) -> Scrape:
    return Scrape(parse(text), at_s)


def test_formulas() -> None:
    before = rows(success=100, count=300, execs=50, request=9e6, queue=1e6, input=10, infer=1e6, output=10,
                  hits=20, misses=80, pending=1, failures={"BACKEND": 5, "REJECTED": 0})  # fmt: skip
    after = rows(success=120, count=348, execs=56, request=9.2e6, queue=1.05e6, input=1610, infer=1.08e6, output=3210,
                 hits=24, misses=96, pending=7, failures={"BACKEND": 9, "REJECTED": 1})  # fmt: skip
    found = rates(scrape(before, 100.0), scrape(after, 104.0))
    model = found.models[KEY]
    assert model.window_s == 4
    assert model.requests_per_s == 5
    assert model.inferences_per_s == 12
    assert model.failures_per_s == 1.25
    assert model.failures_per_s_by_reason == {"BACKEND": 1, "REJECTED": 0.25}
    assert model.avg_request_us == 10_000
    assert model.avg_queue_us == 2_500
    assert model.queue_share == 0.25
    # 4 of the 20 requests came from the cache and were not computed
    assert (model.avg_compute_input_us, model.avg_compute_infer_us, model.avg_compute_output_us) == (100, 5_000, 200)
    assert model.avg_compute_us == 5_300
    assert model.avg_batch == 8
    assert model.cache_hit_rate == 0.2
    assert (model.pending, found.pending) == (7, 7)
    assert found.total.requests_per_s == 5
    assert found.total.avg_compute_us == 5_300
    assert found.total.failures_per_s_by_reason == {"BACKEND": 1, "REJECTED": 0.25}


def test_rows_of_several_gpus_are_one_model() -> None:
    def page(a: float, b: float) -> str:
        gpus = rows(gpu="GPU-a", **(ZERO | {"success": a})) + rows(gpu="GPU-b", **(ZERO | {"success": b}))
        return gpus + rows(**ZERO, pending=3, failures={"OTHER": 0})

    found = rates(scrape(page(10, 20), 0), scrape(page(14, 26), 2))
    assert list(found.models) == [KEY]
    assert found.models[KEY].requests_per_s == 5
    assert found.models[KEY].pending == 3
    # A row that went or came is a reset also where the sum grew.
    lone = rows(gpu="GPU-a", **(ZERO | {"success": 50}))
    assert rates(scrape(page(10, 20), 0), scrape(lone, 2)).models[KEY].requests_per_s is None
    assert rates(scrape(lone, 0), scrape(page(50, 20), 2)).models[KEY].requests_per_s is None
    # So is one GPU's fall that another one's rise hides.
    assert rates(scrape(page(10, 20), 0), scrape(page(5, 90), 2)).models[KEY].requests_per_s is None


@pytest.mark.parametrize("name", [*ZERO, "hits", "misses"])
@pytest.mark.parametrize("change", ["falls", "goes", "is not a number", "is infinite"])
def test_reset_of_any_counter_leaves_no_window(name: str, change: str) -> None:
    before = ZERO | {"hits": 1.0, "misses": 1.0} | {"success": 10.0, name: 100.0}
    after = {counter: value + 1000 for counter, value in before.items()}
    assert rates(scrape(rows(**before), 0), scrape(rows(**after), 1)).models[KEY].requests_per_s is not None
    if change == "goes":
        del after[name]
    else:
        after[name] = {"falls": 99.0, "is not a number": math.nan, "is infinite": math.inf}[change]
    other = rows("other", **ZERO)
    found = rates(scrape(rows(**before) + other, 0), scrape(rows(**after) + other, 1))
    if KEY in found.models:
        assert found.models[KEY].windows == ()
        assert found.models[KEY].requests_per_s is None
        assert found.models[KEY].avg_request_us is None
        assert found.models[KEY].failures_per_s_by_reason == {}
    else:
        assert (name, change) == ("success", "goes")
    assert found.models[ModelKey("other", "1")].requests_per_s == 0.0
    assert found.total.requests_per_s == 0.0


def test_restarted_server_shows_in_its_failures_too() -> None:
    before, after = rows(**ZERO, failures={"OTHER": 3}), rows(**ZERO, failures={"OTHER": 2})
    assert rates(scrape(before, 0), scrape(after, 1)).models[KEY].requests_per_s is None


def test_model_that_comes_goes_and_comes_again() -> None:
    ghost = rows(failures={"BACKEND": 4})  # Triton never removes these
    loaded = rows(**(ZERO | {"success": 50}), failures={"BACKEND": 4})
    gone = rates(scrape(loaded, 0), scrape(ghost, 1))
    assert (gone.models, gone.total.requests_per_s) == ({}, None)
    assert rates(scrape(ghost, 1), scrape(loaded, 2)).models[KEY].requests_per_s is None
    assert rates(scrape(loaded, 2), scrape(loaded, 3)).models[KEY].requests_per_s == 0.0


def test_zero_is_known_only_where_the_server_counts() -> None:
    idle = rates(scrape(rows(**ZERO, failures={"OTHER": 0}), 0), scrape(rows(**ZERO, failures={"OTHER": 0}), 1))
    model = idle.models[KEY]
    assert (model.requests_per_s, model.inferences_per_s, model.failures_per_s) == (0.0, 0.0, 0.0)
    averages = (model.avg_request_us, model.avg_queue_us, model.avg_compute_us, model.avg_batch, model.queue_share)
    assert averages == (None,) * 5
    assert model.cache_hit_rate is None
    # counter_latencies=false: no durations, and the other counters stay at 0 for ever
    frozen = rows(success=0, count=0, execs=0, pending=2, failures={"OTHER": 0})
    model = rates(scrape(frozen, 0), scrape(frozen, 1)).models[KEY]
    assert (model.requests_per_s, model.failures_per_s, model.pending) == (None, None, 2)


def test_all_from_the_cache_has_no_compute_time_and_no_batch() -> None:
    before, after = rows(**ZERO, hits=0, misses=0), rows(**(ZERO | {"success": 5, "request": 50}), hits=5, misses=0)
    model = rates(scrape(before, 0), scrape(after, 1)).models[KEY]
    assert (model.avg_compute_us, model.avg_batch, model.cache_hit_rate, model.avg_request_us) == (None, None, 1, 10)


@pytest.mark.parametrize("before", [None, scrape(REAL_PAGE, 5.0), scrape(REAL_PAGE, 6.0)])
def test_without_time_between_there_are_gauges_but_no_rates(before: Scrape | None) -> None:
    found = rates(before, scrape(REAL_PAGE, 5.0))
    assert {key.model for key in found.models} == {"batched", "cached", "failing", "ens"}
    for model in found.models.values():
        assert (model.requests_per_s, model.window_s, model.pending) == (None, None, 0)
    assert found.total.requests_per_s is None
    assert found.cpu is not None
    assert 0 < found.cpu.memory_used_bytes < found.cpu.memory_total_bytes
    assert found.pinned_memory is not None
    assert found.pinned_memory.total_bytes == 256 * 2**20
    assert found.response_cache is not None
    assert (found.response_cache.hits, found.response_cache.lookups) == (2, 3)
    assert found.gpus == ()
    quantiles = found.models[ModelKey("batched", "1")].quantiles_us
    assert set(quantiles) == {"request", "queue", "compute_input", "compute_infer", "compute_output"}
    assert list(quantiles["request"]) == [0.5, 0.9, 0.95, 0.99, 0.999]
    assert quantiles["request"][0.99] > 10_000
    assert found.models[ModelKey("failing", "1")].quantiles_us == {}  # idle, all Nan


def gpu(uuid: str, utilization: float, used: float, total: float, power: float, limit: float, energy: float) -> str:
    names = ["gpu_utilization", "gpu_memory_used_bytes", "gpu_memory_total_bytes", "gpu_power_usage",
             "gpu_power_limit", "energy_consumption"]  # fmt: skip
    values = [utilization, used, total, power, limit, energy]
    return "".join(f'nv_{n}{{gpu_uuid="{uuid}"}} {v}\n' for n, v in zip(names, values, strict=True))


def test_gpu_gauges_that_could_not_be_read_are_unknown() -> None:
    page = (
        gpu("GPU-b", 0, 0, 0, 0, 0, 0) + gpu("GPU-a", 0, 0, 80e9, 71.5, 700, 0) + gpu("GPU-c", 0.5, 1e9, 80e9, 0, 0, 9)
    )
    page += 'nv_gpu_utilization{gpu_uuid="GPU-d"} Nan\nnv_gpu_power_usage{gpu_uuid="GPU-d"} 30\n'
    found = [
        (g.uuid, g.utilization, g.memory_used_bytes, g.memory_total_bytes, g.power_watts, g.power_limit_watts,
         g.energy_joules)
        for g in rates(None, scrape(page, 0)).gpus
    ]  # fmt: skip
    assert found == [
        ("GPU-a", 0, 0, 80e9, 71.5, 700, 0),  # idle
        ("GPU-b", None, None, None, None, None, None),
        ("GPU-c", 0.5, 1e9, 80e9, None, None, 9),
        ("GPU-d", None, None, None, 30, None, None),
    ]


def test_gauges_before_the_first_poll_are_unknown() -> None:
    page = "nv_cpu_utilization 0\nnv_cpu_memory_total_bytes 0\nnv_cpu_memory_used_bytes 0\n"
    page += "nv_pinned_memory_pool_total_bytes 0\nnv_pinned_memory_pool_used_bytes 0\n"
    found = rates(None, scrape(page, 0))
    assert (found.cpu, found.pinned_memory, found.response_cache) == (None, None, None)


def test_load_seconds_and_the_quantiles_of_several_gpus() -> None:
    page = rows(**ZERO) + 'nv_model_load_duration_secs{model="m",version="1"} 2.5\n'
    row = 'nv_inference_queue_summary_us{{model="m",version="1",gpu_uuid="{}",quantile="0.5"}} {}\n'
    one = rates(None, scrape(page + row.format("GPU-a", 7), 0)).models[KEY]
    assert (one.load_s, one.quantiles_us) == (2.5, {"queue": {0.5: 7}})
    two = rates(None, scrape(page + row.format("GPU-a", 7) + row.format("GPU-b", 9), 0)).models[KEY]
    assert two.quantiles_us == {}


def test_combined_averages_weigh_by_what_was_counted() -> None:
    host = "nv_cpu_memory_total_bytes 8\nnv_cpu_memory_used_bytes 4\n" + gpu("G", 1, 1, 2, 3, 4, 5)
    zero = rows(**ZERO, pending=0)
    busy = (
        rows(**(ZERO | {"success": 90, "request": 90 * 100, "queue": 0}), pending=4) + host + "nv_cpu_utilization 0.9\n"
    )
    slow = (
        rows(**(ZERO | {"success": 10, "request": 10 * 1000, "queue": 9500}), pending=1)
        + host
        + "nv_cpu_utilization 0.2\n"
    )
    first, second = rates(scrape(zero, 0), scrape(busy, 1)), rates(scrape(zero, 0), scrape(slow, 2))
    fresh = rates(None, scrape(zero, 0))
    both = combine([combine([first, second]), fresh])
    for traffic in (both.models[KEY], both.total):
        assert traffic.requests_per_s == 90 + 5
        assert traffic.avg_request_us == (9_000 + 10_000) / 100  # not (100 + 1000) / 2
        assert traffic.queue_share == 9_500 / 19_000
        assert traffic.window_s == 2
    assert (both.replicas, both.models[KEY].replicas, len(both.models[KEY].windows)) == (3, 3, 2)
    assert (both.pending, both.models[KEY].pending) == (5, 5)
    assert [g.uuid for g in both.gpus] == ["G"]
    assert both.cpu is not None
    assert both.cpu.utilization == 0.9
    assert both.models[KEY].quantiles_us == {}
    nothing = combine([])
    assert (nothing.models, nothing.total.requests_per_s, nothing.pending, nothing.cpu) == ({}, None, None, None)


def test_quantiles_of_replicas_are_not_put_together() -> None:
    part = rates(None, scrape(REAL_PAGE, 0))
    key = ModelKey("batched", "1")
    assert combine([part]).models[key].quantiles_us == part.models[key].quantiles_us != {}
    assert combine([part, part]).models[key].quantiles_us == {}


def test_one_model_in_two_namespaces_is_summed() -> None:
    def page(a: float, b: float) -> str:
        texts = [rows(**(ZERO | {"success": count})) for count in (a, b)]
        return "".join(text.replace("{", f'{{namespace="n{n}",') for n, text in enumerate(texts))

    assert rates(scrape(page(1, 2), 0), scrape(page(4, 6), 1)).models[KEY].requests_per_s == 7


def test_many_models_cost_the_total_nothing() -> None:
    def page(count: float) -> str:
        return "".join(rows(f"m{n}", **(ZERO | {"success": count})) for n in range(300))

    found = rates(scrape(page(0), 0), scrape(page(2), 2))
    assert len(found.total.windows) == 1
    assert found.total.requests_per_s == 300


BATCHED = """
import time
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.02)
        inputs = [pb.get_input_tensor_by_name(r, "IN").as_numpy() for r in requests]
        if any((i < 0).any() for i in inputs):
            raise ValueError("negative")
        return [pb.InferenceResponse([pb.Tensor("OUT", i)]) for i in inputs]
"""
CONFIG = """
backend: "python" max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 50000 }
input [{ name: "IN" data_type: TYPE_FP32 dims: [ 1 ] }] output [{ name: "OUT" data_type: TYPE_FP32 dims: [ 1 ] }]
"""


@pytest.fixture
def triton(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A real server with the model `m`: the addresses of its HTTP API and of its metrics."""
    if not find_spec("pytriton"):
        pytest.skip("tritonserver comes with nvidia-pytriton: pip install 'tritonctl[demo]'")
    root = Path(next(iter(find_spec("pytriton").submodule_search_locations))) / "tritonserver"  # type: ignore
    version = tmp_path / "models" / "m" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(BATCHED)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    backend = shutil.copytree(root / "backends" / "python", tmp_path / "backends" / "python")
    stub = f"{sys.version_info[0]}.{sys.version_info[1]}/triton_python_backend_stub"
    shutil.copy(root / "python_backend_stubs" / stub, backend)
    with socket.socket() as http, socket.socket() as metrics:
        http.bind(("127.0.0.1", 0))
        metrics.bind(("127.0.0.1", 0))
        ports = http.getsockname()[1], metrics.getsockname()[1]
    api = f"http://127.0.0.1:{ports[0]}"
    environment = dict(os.environ)
    environment["LD_LIBRARY_PATH"] = str(root.parent.parent / "nvidia_pytriton.libs")
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [root / "bin" / "tritonserver", f"--model-repository={tmp_path / 'models'}",
             f"--backend-directory={tmp_path / 'backends'}", "--http-address=127.0.0.1", f"--http-port={ports[0]}",
             f"--metrics-port={ports[1]}", "--allow-grpc=false", "--metrics-config=summary_latencies=true"],
            stdout=log, stderr=log, env=environment,
        )  # fmt: skip
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{api}/v2/health/ready", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
        yield api, f"http://127.0.0.1:{ports[1]}/metrics"
    finally:
        server.terminate()
        server.wait(30)


def test_real_server_agrees_with_what_was_sent(triton: tuple[str, str]) -> None:
    api, metrics = triton

    def take() -> Scrape:
        at_s = time.monotonic()
        with urllib.request.urlopen(metrics, timeout=5) as answer:
            return Scrape(parse(answer.read().decode()), at_s)

    def send(inputs: list[float]) -> float:
        body = {"inputs": [{"name": "IN", "shape": [len(inputs), 1], "datatype": "FP32", "data": inputs}]}
        request = urllib.request.Request(f"{api}/v2/models/m/infer", json.dumps(body).encode())
        start = time.monotonic()
        urllib.request.urlopen(request, timeout=5).close()
        return (time.monotonic() - start) * 1e6

    send([0.0])  # before the window: must not count
    before = take()
    with ThreadPoolExecutor(4) as pool:
        times_us = [t for _ in range(5) for t in pool.map(send, [[1.0, 2.0]] * 4)]
    with pytest.raises(urllib.error.HTTPError) as refused:
        send([-1.0])
    refused.value.close()
    after = take()
    model = rates(before, after).models[KEY]
    window_s = after.at_s - before.at_s
    assert model.window_s == window_s
    assert model.requests_per_s == pytest.approx(20 / window_s)
    assert model.inferences_per_s == pytest.approx(40 / window_s)
    assert model.failures_per_s_by_reason == {
        "REJECTED": 0,
        "CANCELED": 0,
        "BACKEND": pytest.approx(1 / window_s),
        "OTHER": 0,
    }
    assert model.avg_batch is not None
    assert 2 < model.avg_batch <= 8  # four clients of two inferences each were batched
    assert model.avg_request_us is not None
    client_us = sum(times_us) / len(times_us)
    assert 20_000 < model.avg_request_us < client_us
    assert model.avg_request_us > client_us * 0.2
    assert model.avg_queue_us is not None
    assert model.avg_compute_us is not None
    assert model.avg_compute_us >= 20_000
    assert model.avg_queue_us + model.avg_compute_us == pytest.approx(model.avg_request_us, rel=0.1)
    assert model.queue_share == pytest.approx(model.avg_queue_us / model.avg_request_us)
    assert model.cache_hit_rate is None
    assert model.quantiles_us["request"][0.5] == pytest.approx(model.avg_request_us, rel=0.8)
    quiet = rates(after, take()).models[KEY]
    assert (quiet.requests_per_s, quiet.avg_request_us) == (0.0, None)
