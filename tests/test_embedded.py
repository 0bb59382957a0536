"""The sample models on the real server: what is loaded, what each answers, and how the failing ones fail."""

from __future__ import annotations

import json
import math
import re
import struct
import time
from typing import Any

import httpx
import numpy as np
import pytest

from backends.embedded.backend import EmbeddedBackend
from backends.embedded.server import LOADED, SAMPLES, ServerExited
from backends.embedded.training import images
from tests.fakes import service
from tests.servers import Factory, Running, write_model
from tritonctl.backend import Capability, Intent
from tritonctl.errors import AlreadySo


@pytest.fixture
def demo(triton: Factory) -> Running:
    return triton.demo()


def post(url: str, body: object = None) -> httpx.Response:
    return httpx.post(url, json={} if body is None else body, timeout=20)


def infer(server: Running, model: str, *inputs: tuple[str, str, list[int], list[Any]]) -> dict[str, list[Any]]:
    """Outputs by name, flat."""
    tensors = [{"name": n, "datatype": t, "shape": s, "data": d} for n, t, s, d in inputs]
    answer = post(f"{server.http}/v2/models/{model}/infer", {"inputs": tensors})
    assert answer.status_code == 200, answer.text
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


def index(server: Running) -> dict[tuple[str, str], tuple[str, str]]:
    rows = post(f"{server.http}/v2/repository/index").json()
    return {(r["name"], r.get("version", "")): (r.get("state", ""), r.get("reason", "")) for r in rows}


def test_it_is_live_and_ready_with_two_models_failed(demo: Running) -> None:
    assert httpx.get(f"{demo.http}/v2/health/live").status_code == 200
    assert httpx.get(f"{demo.http}/v2/health/ready").status_code == 200
    assert httpx.get(f"{demo.http}/v2").json()["version"] == "2.51.0"


def test_the_index_shows_every_sample_and_nothing_else(demo: Running) -> None:
    rows = index(demo)
    ready = {key for key, (state, _) in rows.items() if state == "READY"}
    assert ready == {(name, "1") for name in LOADED} | {("digits", "2")}
    assert {name for name, _ in rows} == {folder.name for folder in SAMPLES.iterdir() if folder.is_dir()}


def test_layout_says_in_the_index_which_module_it_lacks(demo: Running) -> None:
    state, reason = index(demo)["layout", "1"]
    assert state == "UNAVAILABLE"
    assert reason.startswith("Internal: ModuleNotFoundError: No module named 'shapely'")
    answer = post(f"{demo.http}/v2/repository/models/layout/load")
    assert answer.status_code == 400
    assert "No module named 'shapely'" in answer.json()["error"]


def test_why_summary_fails_is_in_the_log_alone(demo: Running) -> None:
    assert index(demo)["summary", ""] == ("", "")
    answer = post(f"{demo.http}/v2/repository/models/summary/load")
    assert (answer.status_code, answer.json()["error"]) == (
        500,
        "failed to load 'summary', failed to poll from model repository",
    )
    assert "Poll failed for model directory 'summary': failed to read text proto" in demo.log
    assert 'Unknown enumeration value of "TYPE_TEXT" for field "data_type"' in demo.log


@pytest.mark.parametrize(("version", "least", "most"), [("1", 0.6, 0.9), ("2", 0.95, 1.0)])
def test_the_second_version_reads_digits_better(demo: Running, version: str, least: float, most: float) -> None:
    pixels, labels = images(160, seed=77)
    right = 0
    for at in range(0, len(pixels), 16):
        batch = pixels[at : at + 16]
        scores = infer(
            demo, f"digits/versions/{version}", ("IMAGE", "FP32", list(batch.shape), batch.reshape(-1).tolist())
        )["SCORES"]
        right += int((np.array(scores).reshape(-1, 10).argmax(axis=1) == labels[at : at + 16]).sum())
    assert least <= right / len(pixels) <= most


def test_digits_answers_with_labels(demo: Running) -> None:
    pixels, _ = images(8, seed=5)
    body = {
        "inputs": [{"name": "IMAGE", "datatype": "FP32", "shape": [1, 28, 28], "data": pixels[7].reshape(-1).tolist()}],
        "outputs": [{"name": "SCORES", "parameters": {"classification": 1}}],
    }
    answer = post(f"{demo.http}/v2/models/digits/infer", body).json()
    assert answer["model_version"] == "2"
    score, position, label = answer["outputs"][0]["data"][0].split(":")
    assert 0 < float(score) <= 1
    assert label == (SAMPLES / "digits/labels.txt").read_text().split()[int(position)]


def test_the_ensemble_reads_and_writes(demo: Running) -> None:
    pixels, _ = images(4, seed=5)
    outputs = infer(demo, "digits_report", ("IMAGE", "FP32", [1, 28, 28], pixels[3].reshape(-1).tolist()))
    assert re.match(r"3 \(three\), \d+% sure", outputs["TEXT"][0])


def test_add_sub_adds_and_subtracts(demo: Running) -> None:
    outputs = infer(demo, "add_sub", ("INPUT0", "FP32", [4], [1, 2, 3, 4]), ("INPUT1", "FP32", [4], [5, 5, 5, 5]))
    assert outputs == {"OUTPUT0": [6, 7, 8, 9], "OUTPUT1": [-4, -3, -2, -1]}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("where are you going with my umbrella", "English"),
        ("ich möchte bitte noch ein Stück Kuchen", "German"),
        ("nous avons mangé dans la cuisine", "French"),
        ("mañana vamos a la playa con los niños", "Spanish"),
        ("andiamo al mare con gli amici", "Italian"),
    ],
)
def test_language_is_guessed(demo: Running, text: str, language: str) -> None:
    assert infer(demo, "language", ("TEXT", "BYTES", [1, 1], [text]))["LANGUAGE"] == [language]


def test_text_that_is_not_utf8_fails_in_the_backend_and_is_counted(demo: Running) -> None:
    def failures() -> float:
        line = re.search(
            r'nv_inference_request_failure\{model="language",reason="BACKEND",version="1"\} (\d+)',
            httpx.get(demo.metrics).text,
        )
        assert line
        return float(line[1])

    before = failures()
    text = "café".encode("latin-1")
    data = struct.pack("<I", len(text)) + text
    tensor = {"name": "TEXT", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(data)}}
    header = json.dumps({"inputs": [tensor]}).encode()
    answer = httpx.post(
        f"{demo.http}/v2/models/language/infer",
        content=header + data,
        headers={"Inference-Header-Content-Length": str(len(header))},
    )
    assert answer.status_code == 500
    assert "UnicodeDecodeError" in answer.json()["error"]
    assert failures() == before + 1


def test_tokens_come_one_by_one(demo: Running) -> None:
    tokens, times = [], []
    with httpx.stream(
        "POST", f"{demo.http}/v2/models/tokens/generate_stream", json={"text_input": "a b c d e"}
    ) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                tokens.append(json.loads(line[6:])["text_output"])
                times.append(time.monotonic())
    assert "".join(tokens) == "a b c d e"
    assert times[-1] - times[0] > 0.05  # 20 ms each: streamed, not sent in one go


def test_embedding_is_a_unit_vector_of_its_words(demo: Running) -> None:
    one, same, other = (
        np.array(infer(demo, "embedding", ("TEXT", "BYTES", [1, 1], [text]))["EMBEDDING"])
        for text in ("red bird", "bird red", "blue fish")
    )
    assert math.isclose(float(one @ one), 1, rel_tol=1e-4)
    assert float(one @ same) > 0.99 > float(one @ other)


def test_a_repeated_translation_comes_from_the_cache(demo: Running) -> None:
    def hits() -> int:
        stats = httpx.get(f"{demo.http}/v2/models/translate/stats").json()["model_stats"][0]["inference_stats"]
        return int(stats["cache_hit"]["count"])

    text = f"good evening {time.monotonic_ns()}"
    first = infer(demo, "translate", ("TEXT", "BYTES", [1, 1], [text]))["TRANSLATION"]
    before = hits()
    assert infer(demo, "translate", ("TEXT", "BYTES", [1, 1], [text]))["TRANSLATION"] == first
    assert first[0].startswith("gut abend")
    assert hits() == before + 1
    assert re.search(
        r'nv_cache_num_hits_per_model\{model="translate",version="1"\} [1-9]', httpx.get(demo.metrics).text
    )


def test_pitch_is_slow_to_load_and_to_answer(own_triton: Factory) -> None:
    server = own_triton()
    start = time.monotonic()
    assert post(f"{server.http}/v2/repository/models/pitch/load").status_code == 200
    loaded = time.monotonic()
    sound = [math.sin(2 * math.pi * 440 * i / 16000) for i in range(1600)]
    hertz = infer(server, "pitch", ("AUDIO", "FP32", [1600], sound))["HERTZ"]
    assert loaded - start > 2.5
    assert time.monotonic() - loaded > 0.5
    assert abs(hertz[0] - 440) < 10


def test_echo_loads_and_unloads(triton: Factory) -> None:
    server = triton()
    assert post(f"{server.http}/v2/repository/models/echo/load").status_code == 200
    assert infer(server, "echo", ("INPUT", "BYTES", [2], ["a", "ü"]))["OUTPUT"] == ["a", "ü"]
    assert post(f"{server.http}/v2/repository/models/echo/unload").status_code == 200


def test_the_traffic_moves_every_loaded_model_and_follows_a_load(own_triton: Factory) -> None:
    server = own_triton.demo(traffic=True)
    assert post(f"{server.http}/v2/repository/models/echo/load").status_code == 200
    deadline = time.monotonic() + 40
    waiting = {*LOADED, "echo"}
    while waiting and time.monotonic() < deadline:
        for stats in httpx.get(f"{server.http}/v2/models/stats").json()["model_stats"]:
            if int(stats["inference_stats"]["success"]["count"]) > 0:
                waiting.discard(stats["name"])
        time.sleep(0.5)
    assert not waiting


def test_the_installed_samples_stay_untouched(demo: Running) -> None:
    assert demo.repository != SAMPLES
    assert not list(SAMPLES.rglob("__pycache__"))


def test_a_load_of_what_is_loaded_does_nothing(demo: Running) -> None:
    before = demo.log.count("loading: add_sub:1")
    assert post(f"{demo.http}/v2/repository/models/add_sub/load").status_code == 200
    assert demo.log.count("loading: add_sub:1") == before == 1


def test_a_server_that_does_not_come_up_says_why(own_triton: Factory, tmp_path: Any) -> None:
    write_model(tmp_path, "broken", code="import nothing_of_this_name\n")
    with pytest.raises(ServerExited) as caught:
        own_triton(tmp_path, control_mode="none")
    assert caught.value.code == 1
    assert "No module named 'nothing_of_this_name'" in caught.value.tail


def test_another_repository_and_mode(own_triton: Factory, tmp_path: Any) -> None:
    write_model(tmp_path, "same")
    server = own_triton(tmp_path, control_mode="none", flags=("--allow-metrics=false",))
    assert infer(server, "same", ("IN", "FP32", [1, 4], [1, 2, 3, 4]))["OUT"] == [1, 2, 3, 4]
    assert post(f"{server.http}/v2/repository/models/same/unload").status_code == 503


async def test_a_switch_to_the_mode_that_it_has_restarts_nothing(demo: Running) -> None:
    place = EmbeddedBackend("demo", demo.server)
    pid = demo.server.pid
    with pytest.raises(AlreadySo, match="control mode explicit already") as told:
        await place.plan(Intent(Capability.MODE, service("demo"), "explicit"))
    assert told.value.exit_code == 0
    assert "Restart" in (await place.plan(Intent(Capability.RESTART, service("demo")))).title
    assert demo.server.pid == pid
