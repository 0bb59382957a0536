"""Test requests of the dashboard to services that are no Triton, and what a large tensor does to the screen."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.urls import UrlsBackend
from tests.inference_models import write_repository
from tests.predicting import predicting
from tests.scoring import EXAMPLE, Scoring, scoring
from tests.servers import Factory, Running
from tests.test_request_pane import Page, page
from tritonctl.fleet import Fleet
from tritonctl.plan import AuditLog
from tritonctl.server.address import ServerAddress, Speaks
from tritonctl.settings_servers import ServerSettings
from tritonctl.workbench import case, posted
from tui.app import TritonctlApp
from tui.panes.request.posting import PostPane


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def service() -> Iterator[Scoring]:
    with scoring() as seen:
        yield seen


@asynccontextmanager
async def services(address: ServerAddress) -> AsyncIterator[Page]:
    """The first screen, with one service."""
    async with Fleet([UrlsBackend("u", [ServerSettings("t", "here", address)])], probing=False) as fleet:
        app = TritonctlApp(fleet, AuditLog(Path("audit")), theme="textual-dark")
        async with app.run_test(size=(110, 36)) as pilot:
            yield Page(app, pilot)


@asynccontextmanager
async def posting(service: Scoring, path: str = "/score") -> AsyncIterator[Page]:
    """Its test request, opened as a person does."""
    async with services(ServerAddress(service.url(path), protocol=Speaks.SCORE)) as one:
        await one.until("ready")
        await one.press("i")
        await one.until("[ Send ]")
        yield one


async def fill(one: Page, name: str, text: str) -> None:
    pane = one.app.screen.query_one(PostPane)
    pane.query_one("#fields").move_to(name)  # type: ignore[attr-defined]
    await one.press("enter")
    await one.type(text)


async def test_its_own_example_is_one_key_away(service: Scoring) -> None:
    async with posting(service) as one:
        assert f"POST {service.url()}" in one.text()
        assert service.bodies == []
        await one.press("enter")
        text = await one.until("sums: [3, 7]")
        assert "deployment blue" in text
        assert json.loads(service.bodies[-1]) == EXAMPLE


async def test_a_body_is_typed_or_read_and_kept(service: Scoring, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_text('{"data": [[10, 20]]}')
    async with posting(service) as one:
        await fill(one, "body", "{")
        await one.until("it is not JSON")
        await one.press("s")
        await one.until("it is not JSON")
        await fill(one, "body", '{"data": [[5, 6]]}')
        await fill(one, "deployment", "green")
        await one.press("s")
        text = await one.until("sums: [11]")
        assert "deployment green" in text
        await fill(one, "body", "@body.json")
        await one.press("s")
        await one.until("sums: [30]")
        await one.press("ctrl+s")
        await one.type("answer.json")
        await one.until("saved answer.json")
        assert json.loads((tmp_path / "answer.json").read_text()) == {"sums": [30]}
        await fill(one, "body", '{"data": 1}')
        await one.press("s")
        await one.until("500: the script failed")
    async with posting(service) as one:
        await one.press("left_square_bracket", "left_square_bracket")
        await one.until("@body.json")


async def test_pieces_come_as_they_come_and_escape_ends_them(service: Scoring, tmp_path: Path) -> None:
    (tmp_path / "long.json").write_text(json.dumps({"words": "word " * 1000}))
    async with posting(service, "/generate_stream") as one:
        await fill(one, "body", "@long.json")
        await one.press("s")
        await one.until("text as it comes; esc stops it")
        await one.press("escape")
        await one.until("stopped")
        before = -1
        while service.sent != before:  # it stands still once the service has met the closed connection
            before = service.sent
            await asyncio.sleep(0.5)
        assert service.sent < 900
        await fill(one, "body", '{"words": "a b c"}')
        await one.press("s")
        assert "3, first after" in await one.until("total")
        await one.press("ctrl+s")
        await one.type("pieces")
        await one.until("saved pieces")
        assert len((tmp_path / "pieces").read_text().splitlines()) == 3


async def test_a_posted_request_is_kept_as_a_case_and_sent_again(service: Scoring, tmp_path: Path) -> None:
    async with posting(service) as one:
        await one.press("w")
        await one.type("cases/sums")
        await one.until("there is no answer yet")
        await one.press("s")
        await one.until("sums")
        await one.press("w")
        await one.type("cases/sums")
        await one.until("saved the case in cases/sums")
        await one.press("o")
        await one.type("cases")
        await one.until("the answer is alike")
        (tmp_path / "cases" / "sums" / "answer.json").write_text('{"sums": [3, 8]}')
        await one.press("o")
        await one.type("cases/sums")
        await one.until("7, expected 8; by 1")
        await one.press("o")
        await one.type("absent")
        await one.until("there is no case.json in it")


async def test_the_screen_goes_on_while_what_was_answered_is_written(
    service: Scoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop_thread = threading.get_ident()
    threads: dict[str, int] = {}

    def noted(owner: Any, name: str) -> None:
        work = getattr(owner, name)

        def note(*given: Any) -> Any:
            threads[name] = threading.get_ident()
            return work(*given)

        monkeypatch.setattr(owner, name, note)

    noted(Path, "write_bytes")
    noted(posted, "save")
    noted(case, "find")
    async with posting(service) as one:
        await one.press("s")
        await one.until("sums")
        await one.press("ctrl+s")
        await one.type("answer.json")
        await one.until("saved answer.json")
        await one.press("ctrl+s")
        await one.type("absent/answer.json")
        await one.until("absent/answer.json: No such file")
        await one.press("w")
        await one.type("cases/sums")
        await one.until("saved the case in cases/sums")
        await one.press("o")
        await one.type("cases")
        await one.until("the answer is alike")
    assert set(threads) == {"write_bytes", "save", "find"}
    assert loop_thread not in threads.values()


async def test_a_load_asks_and_shows_its_curve(service: Scoring) -> None:
    async with posting(service) as one:
        await fill(one, "load", "concurrency=2 duration=2")
        await one.press("s")
        await one.until("gives no statistics")
        await one.type("yes")
        await one.until("latency p90")
        await one.until(lambda text: "answered" in text and "running" not in text)


async def test_the_service_page_leads_there(service: Scoring) -> None:
    async with services(ServerAddress(service.url(), protocol=Speaks.SCORE)) as one:
        await one.until("ready")
        await one.press("enter")
        await one.until("takes what is posted to it")
        await one.press("i")
        await one.until("[ Send ]")


async def test_a_model_of_tensorflow_serving_is_asked_for_by_name() -> None:
    async with predicting() as serving:
        address = ServerAddress("", grpc=f"127.0.0.1:{serving.port}", protocol=Speaks.TENSORFLOW)
        async with services(address) as one:
            await one.until("answers")
            await one.press("i")
            await one.until("model =")
            await one.type("resnet")
            text = await one.until("[ Send ]")
            assert "FP32 [-1, 8, 8, 3]" in text
            await one.press("s")
            text = await one.until("answered by")
            assert "version 3 over grpc" in text
            assert "OUT_image  FP32 [1,8,8,3]" in text


# A large tensor

_MOST_S = 0.1


@pytest.fixture(scope="module")
def triton(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Running:
    work = tmp_path_factory.mktemp("triton")
    write_repository(work / "repository")
    return triton_factory(work / "repository", control_mode="none")


async def test_64_megabytes_are_sent_and_shown_while_the_screen_goes_on(triton: Running) -> None:
    np.save("large.npy", np.random.default_rng(0).random((4096, 4096), np.float32))
    async with page(triton, "echo") as one:
        await one.press("s")  # what is loaded once is loaded now
        await one.until("answered by")
        await one.field("input IN_FP32", "@large.npy")
        await one.until("@large.npy")
        lags: list[float] = []

        async def beat() -> None:
            last = time.perf_counter()
            while True:
                await asyncio.sleep(0.002)
                now = time.perf_counter()
                lags.append(now - last - 0.002)
                last = now

        best = 9.9
        for _ in range(3):  # the machine may be busy with others: one quiet run shows that it is not us
            lags.clear()
            task = asyncio.create_task(beat())
            await one.press("s")
            await one.until("FP32 [4096,4096] · min")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            best = min(best, max(lags))
            if best < _MOST_S:
                break
            await one.press("z")
        assert best < _MOST_S
        await one.press("c")
        await one.until("too large to copy")
