"""Services that are posted to: typed fields, files, streams, deployments, refusals; over a server that answers so."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.answering import free_port
from tests.places import Place, one
from tests.places import service as placed
from tests.scoring import EXAMPLE, TOKEN, Scoring, scoring
from tritonctl.errors import Forbidden, NotFound, OperationFailed, Unreachable, UsageError
from tritonctl.fleet import Fleet
from tritonctl.server.address import Secret, ServerAddress, Speaks
from tritonctl.server.control import plan_load, plan_unload
from tritonctl.server.score import Body, ScoreClient
from tritonctl.workbench import body as bodies
from tritonctl.workbench import case, posted
from tritonctl.workbench.load import LoadPlan, run_load
from tui.cli import main


@pytest.fixture(scope="module")
def service() -> Iterator[Scoring]:
    with scoring() as seen:
        yield seen


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def address(service: Scoring, path: str = "/score", **headers: str) -> ServerAddress:
    secrets = {name: Secret(value) for name, value in headers.items()}
    return ServerAddress(service.url(path), headers=secrets, protocol=Speaks.SCORE)


class Shell:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.out = self.err = ""

    def run(self, url: str, *words: str) -> int:
        return self.command(url, "infer", "s/s", *words)

    def command(self, url: str, *words: str) -> int:
        settings = f'[backends.s]\nkind = "urls"\nservers = [{{ name = "s", protocol = "score", http = "{url}" }}]\n'
        Path("config.toml").write_text(settings)
        code = main(["--config", "config.toml", *words])
        self.out, self.err = self.capsys.readouterr()
        return code

    def json(self, url: str, *words: str) -> Any:
        self.run(url, *words, "-o", "json")
        return json.loads(self.out)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


# What is sent


def test_fields_become_one_object(service: Scoring, shell: Shell) -> None:
    document = shell.json(service.url(), "--input", "data=[[1,2,3],[4,5,6]]", "--parameter", "n=2")
    assert json.loads(service.bodies[-1]) == {"data": [[1, 2, 3], [4, 5, 6]], "n": 2}
    assert (document["answer"], document["deployment"], document["error"]) == ({"sums": [6, 15]}, "blue", None)
    assert document["latency_us"]["p50"] > 0


def test_a_file_is_sent_as_it_is(service: Scoring, shell: Shell) -> None:
    Path("body.json").write_text('{"data":  [[10, 20]]}')
    assert shell.json(service.url(), "--request", "body.json")["answer"] == {"sums": [30]}
    assert service.bodies[-1] == b'{"data":  [[10, 20]]}'
    Path("cat.jpg").write_bytes(b"\xff\xd8jpeg")
    assert shell.json(service.url("/image"), "--request", "cat.jpg")["answer"]["type"] == "image/jpeg"
    Path("noise").write_bytes(bytes(range(256)))
    assert shell.json(service.url("/image"), "--request", "noise")["answer"] == {
        "type": "application/octet-stream",
        "bytes": 256,
    }


def test_fields_out_of_files(service: Scoring, shell: Shell) -> None:
    np.save("rows.npy", np.array([[1.5, 2.5]]))
    assert shell.json(service.url(), "--input", "data=@rows.npy")["answer"] == {"sums": [4.0]}
    Path("rows.csv").write_text("1,2\n3,4.5\n")
    assert shell.json(service.url(), "--input", "data=@rows.csv")["answer"] == {"sums": [3, 7.5]}
    Path("rows.json").write_text("[[7]]")
    assert shell.json(service.url(), "--input", "data=@rows.json")["answer"] == {"sums": [7]}
    Path("cat.png").write_bytes(b"\x89PNG\xff")
    Path("words.txt").write_text("grün")
    shell.run(service.url("/image"), "--input", "a=@cat.png", "--input", "b=@words.txt", "--input", "c=NaN")
    assert json.loads(service.bodies[-1]) == {"a": "iVBOR/8=", "b": "grün", "c": "NaN"}


def test_a_url_is_enough(service: Scoring, capsys: pytest.CaptureFixture[str]) -> None:
    url = service.url()
    assert main(["--url", url, "infer", url.split("/")[2], "--input", "data=[[1,2]]"]) == 0
    assert "sums: [3]" in capsys.readouterr().out


def test_its_own_example_is_sent_where_nothing_is_given(service: Scoring, shell: Shell) -> None:
    assert shell.run(service.url()) == 0
    assert json.loads(service.bodies[-1]) == EXAMPLE
    assert "/swagger.json" in shell.err
    assert "sums: [3, 7]" in shell.out
    assert "answered by deployment blue" in shell.out


def test_what_was_sent_last_is_sent_again_with_changes(service: Scoring, shell: Shell) -> None:
    shell.run(service.url(), "--input", "data=[[1]]", "--parameter", "n=1")
    shell.run(service.url(), "--last", "--input", "data=[[2]]")
    assert json.loads(service.bodies[-1]) == {"data": [[2]], "n": 1}


def test_a_file_that_was_sent_last_is_sent_again(service: Scoring, shell: Shell) -> None:
    Path("r.json").write_text('{"data": [[7, 7]]}')
    shell.run(service.url(), "--input", "data=[[1]]")
    assert shell.run(service.url(), "--request", "r.json") == 0
    assert shell.run(service.url(), "--last") == 0
    assert json.loads(service.bodies[-1]) == {"data": [[7, 7]]}
    assert shell.run(service.url(), "--last", "--input", "data=[[2]]") == 2
    assert "was a whole body" in shell.err


def test_what_came_by_stdin_is_not_taken_for_what_was_sent_before(
    service: Scoring, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.run(service.url(), "--input", "data=[[1]]")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"data": [[9]]}')))
    assert shell.run(service.url(), "--request", "-") == 0
    assert json.loads(service.bodies[-1]) == {"data": [[9]]}
    before = len(service.bodies)
    assert shell.run(service.url(), "--last") == 2
    assert "came by stdin" in shell.err
    assert len(service.bodies) == before


def test_a_deployment_is_chosen_and_shown(service: Scoring, shell: Shell) -> None:
    assert shell.json(service.url(), "--deployment", "green")["deployment"] == "green"
    assert service.headers["azureml-model-deployment"] == "green"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model"], "it has no models"),
        (["--zeros"], "no schema"),
        (["--batch", "3"], "no schema"),
        (["--sequence-start"], "no schema"),
        (["--priority", "1"], "no schema"),
        (["--protocol", "grpc"], "by HTTP alone"),
        (["--generate"], "no schema"),
        (["--request", "absent.json"], "cannot be read: No such file"),
        (["--request", "broken.json"], "it is not JSON"),
        (["--request", "broken.json", "--input", "a=1"], "the whole body"),
        (["--input", "a=@absent"], "cannot read absent"),
        (["--input", "a=@nan.npy"], "NaN or infinities"),
        (["--input", "a=@pickled.npy"], "not a whole .npy file of numbers"),
        (["--last", "--save", "x"], "nothing was sent to this service"),
        (["--request", "body.json", "--save", "absent/x"], "No such file"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    service: Scoring, shell: Shell, words: list[str], said: str
) -> None:
    Path("broken.json").write_text("{")
    Path("body.json").write_text('{"data": []}')
    np.save("nan.npy", np.array([np.nan]))
    np.save("pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert shell.run(service.url(), *words) == 2
    assert said in shell.err
    assert shell.out == "" or "--save" in words


# What comes back


@pytest.mark.parametrize(
    ("path", "body", "kind", "said"),
    [
        ("/score", b"{}", OperationFailed, "500: the script failed: KeyError.*Azure ML calls it model_error"),
        ("/nowhere", b"{}", NotFound, "404"),
        ("/guarded", b"{}", Forbidden, "key_auth_access_denied"),
    ],
)
async def test_a_refusal_is_quoted(service: Scoring, path: str, body: bytes, kind: type[Exception], said: str) -> None:
    async with ScoreClient(address(service, path)) as client:
        with pytest.raises(kind, match=said):
            await anext(client.ask(Body(body), 10.0))


@pytest.mark.parametrize(
    ("words", "lacks"),
    [
        (["load", "s/s", "m", "--yes"], "models"),
        (["unload", "s/s", "m", "--yes"], "models"),
        (["models", "s/s"], "models"),
        (["model", "s/s", "m"], "models"),
        (["wait", "s/s", "--for", "model=m"], "models"),
        (["mode", "s/s"], "control mode"),
        (["mode", "s/s", "explicit", "--yes"], "control mode"),
        (["metrics", "s/s"], "metrics"),
    ],
)
def test_what_only_triton_has_is_refused_and_nothing_is_asked(
    service: Scoring, shell: Shell, words: list[str], lacks: str
) -> None:
    before = len(service.bodies)
    assert shell.command(service.url(), *words) == 2
    assert f"this service is posted to, it has no {lacks}" in shell.err
    assert len(service.bodies) == before


async def test_no_load_is_planned_of_what_is_no_triton(service: Scoring) -> None:
    async with Fleet([Place("here", placed("s", address(service)))], deadline_s=20) as fleet:
        status = one(await fleet.first_look(3))
    for planning in (plan_load(status, "m", config="{}"), plan_unload(status, "m")):
        with pytest.raises(UsageError, match="it has no models"):
            await planning


async def test_the_token_goes_along_and_is_not_told(service: Scoring) -> None:
    async with ScoreClient(address(service, "/guarded", Authorization=f"Bearer {TOKEN}")) as client:
        assert (await anext(client.ask(Body(b"{}"), 10.0))).document == {"let": "in"}
    async with ScoreClient(address(service, "/nowhere", Authorization=f"Bearer {TOKEN}")) as client:
        with pytest.raises(NotFound) as caught:
            await anext(client.ask(Body(b"{}"), 10.0))
        assert TOKEN not in repr(caught.value)


async def test_nobody_there_and_nobody_answering(service: Scoring) -> None:
    async with ScoreClient(ServerAddress(f"http://127.0.0.1:{free_port()}/score")) as client:
        with pytest.raises(Unreachable, match="nothing listens"):
            await anext(client.ask(Body(b"{}"), 10.0))
    async with ScoreClient(address(service, "/slow")) as client:
        with pytest.raises(Unreachable, match="no end within"):
            await anext(client.ask(Body(b'{"data": []}'), 0.005))


async def test_an_answer_of_hundreds_of_megabytes_is_not_read_to_its_end(service: Scoring) -> None:
    service.sent = 0
    async with ScoreClient(address(service, "/huge"), max_bytes=8 << 20) as client:
        with pytest.raises(Unreachable, match="larger than 8 MiB") as caught:
            await anext(client.ask(Body(b"{}"), 60.0))
    assert caught.value.kind == "too large"
    assert "--max-answer" in caught.value.advice
    assert service.sent < 100  # what the sockets between hold may have gone out


def test_an_empty_answer_is_said(service: Scoring, shell: Shell) -> None:
    assert shell.run(service.url("/none"), "--input", "a=1") == 0
    assert "0 bytes" in shell.out


def test_204_is_an_answer(service: Scoring, shell: Shell) -> None:
    assert shell.run(service.url("/nothing"), "--input", "a=1") == 0
    assert "answered, 0 bytes" in shell.out


def test_nan_is_null_in_a_document_and_that_is_said(service: Scoring, shell: Shell) -> None:
    document = shell.json(service.url("/nan"), "--input", "a=1", "--save", "kept.json")
    assert document["answer"] == {"scores": [None, 1.5]}
    assert "are null here" in shell.err
    assert Path("kept.json").read_text() == '{"scores": [NaN, 1.5]}'
    shell.json(service.url(), "--input", "data=[[1]]")
    assert "null" not in shell.err


def test_no_control_character_reaches_the_terminal(service: Scoring, shell: Shell) -> None:
    assert shell.run(service.url("/hostile"), "--input", "a=1") == 0
    assert "38 bytes that are no text" in shell.out
    assert shell.run(service.url("/generate_stream"), "--input", "words=\x1b[31mred\x07") == 0
    assert "\x1b" not in shell.out + shell.err
    assert "\x07" not in shell.out + shell.err


# Streams


async def test_pieces_come_as_they_come_and_closing_ends_them(service: Scoring) -> None:
    async with ScoreClient(address(service, "/generate_stream")) as client:
        pieces = [each async for each in client.ask(Body(b"{}"), 10.0)]
        assert "".join(each.said for each in pieces) == "one two three four five "
        assert pieces[1].latency_us - pieces[0].latency_us > 10_000
        service.sent = 0
        endless = Body(json.dumps({"words": "word " * 2000}).encode())
        async with aclosing(client.ask(endless, 60.0)) as stream:
            assert (await anext(stream)).said == "word "
    await _ends(lambda: service.sent)
    assert service.sent < 1000


async def _ends(count: Any) -> None:
    """Until the count stands still."""
    end, before = time.monotonic() + 20, -1
    while count() != before:
        assert time.monotonic() < end
        before = count()
        await asyncio.sleep(0.5)


def test_a_stream_is_written_as_it_comes(service: Scoring, shell: Shell) -> None:
    assert shell.run(service.url("/generate_stream"), "--input", "words=a b c") == 0
    assert shell.out == "a b c \n"
    assert "3 pieces, first after" in shell.err
    document = shell.json(service.url("/generate_stream"), "--input", "words=a b")
    assert [each["text_output"] for each in document["answer"]] == ["a ", "b "]
    assert len(document["at_us"]) == 2


def test_an_error_in_mid_stream_is_quoted(service: Scoring, shell: Shell) -> None:
    assert shell.run(service.url("/generate_stream"), "--input", "words=a broken c") == 1
    assert "out of words" in shell.err
    assert shell.out.startswith("a ")
    document = shell.json(service.url("/generate_stream"), "--input", "words=a broken c")  # one document, not two
    assert [each["text_output"] for each in document["answer"]] == ["a "]
    assert "out of words" in document["error"]


# Load


async def test_a_load_is_as_wide_as_it_says(service: Scoring) -> None:
    async with ScoreClient(address(service, "/slow")) as client:
        send = await client.sender(Body(b'{"data": [[1]]}'), 10.0)
        result = await run_load(LoadPlan(concurrency=20, requests=60), send)
    assert (result.done, result.failed) == (60, 0)
    assert 16 <= service.most_at_once <= 20


def test_a_load_asks_where_others_cannot_be_seen(service: Scoring, shell: Shell) -> None:
    words = ("--input", "data=[[1]]", "--concurrency", "2", "--repeat", "20")
    assert shell.run(service.url(), *words) == 6
    assert "gives no statistics" in shell.err
    assert shell.run(service.url(), *words, "--yes") == 0
    assert "20 answered" in shell.out
    assert shell.run(service.url(), "--input", "data=[1]", "--concurrency", "2", "--yes") == 1
    assert "the script failed" in shell.err


# Cases


def test_a_posted_request_is_a_case(service: Scoring, shell: Shell, tmp_path: Path) -> None:
    url, folder = service.url(), tmp_path / "cases" / "sums"
    assert shell.run(url, "--input", "data=[[1,2],[3,4.5]]", "--save-case", "cases/sums") == 0, shell.err
    assert sorted(each.name for each in folder.iterdir()) == ["answer.json", "case.json", "request.json"]
    assert json.loads((folder / "answer.json").read_text()) == {"sums": [3, 7.5]}
    sent = len(service.bodies)
    assert shell.command(url, "cases", "s/s", "cases") == 0, shell.err
    assert shell.out == "alike    cases/sums\n"
    assert service.bodies[sent:] == [(folder / "request.json").read_bytes()]


def test_a_posted_case_that_differs_says_where(service: Scoring, shell: Shell, tmp_path: Path) -> None:
    url, answer = service.url(), tmp_path / "c" / "answer.json"
    assert shell.run(url, "--input", "data=[[1,2],[3,4.5]]", "--save-case", "c") == 0, shell.err
    answer.write_text('{"sums": [3, 7.25], "model": "old"}')
    assert shell.command(url, "cases", "s/s", "c") == 1
    assert "sums[1] 7.5, expected 7.25; by 0.25" in shell.out
    assert "model missing" in shell.out
    assert shell.command(url, "cases", "s/s", "c", "-o", "json") == 1
    assert json.loads(shell.out)["cases"][0]["differences"][0]["output"] == "sums[1]"
    case = tmp_path / "c" / "case.json"
    case.write_text(case.read_text().replace('"*": {', '"sums": {"absolute": 0.5}, "*": {'))
    answer.write_text('{"sums": [3, 7.25]}')
    assert shell.command(url, "cases", "s/s", "c") == 0, shell.out
    assert shell.run(url, "--input", "data=[[1,1]]", "--save-case", "c") == 0, shell.err
    assert json.loads(case.read_text())["tolerances"]["sums"] == {"absolute": 0.5}


def test_a_stream_and_an_image_are_cases(service: Scoring, shell: Shell, tmp_path: Path) -> None:
    Path("cat.jpg").write_bytes(b"\xff\xd8\xff\xe0 not really a cat")
    for url, words, kept in (
        (service.url("/image"), ("--request", "cat.jpg"), "request.jpg"),
        (service.url("/generate_stream"), ("--input", "words=a b c"), "request.json"),
    ):
        folder = f"case-{kept}"
        assert shell.run(url, *words, "--save-case", folder) == 0, shell.err
        assert (tmp_path / folder / kept).exists()
        assert shell.command(url, "cases", "s/s", folder) == 0, shell.out + shell.err


def test_a_posted_case_side_by_side(service: Scoring, shell: Shell) -> None:
    url = service.url()
    assert shell.run(url, "--input", "data=[[1,2]]", "--save-case", "c") == 0, shell.err
    settings = "".join(
        f'[backends.{name}]\nkind = "urls"\nservers = [{{ name = "s", protocol = "score", http = "{where}" }}]\n'
        for name, where in (("s", url), ("t", service.url("/slow")), ("u", service.url("/image")))
    )
    Path("two.toml").write_text(settings)
    assert main(["--config", "two.toml", "cases", "s/s", "c", "--against", "t/s"]) == 0
    assert main(["--config", "two.toml", "cases", "s/s", "c", "--against", "u/s"]) == 1
    out = shell.capsys.readouterr().out
    assert "sums was not there before" in out
    assert "type missing" in out


def test_the_script_that_fails_on_a_case_is_quoted(service: Scoring, shell: Shell, tmp_path: Path) -> None:
    assert shell.run(service.url(), "--input", "data=[[1]]", "--save-case", "c") == 0, shell.err
    (tmp_path / "c" / "request.json").write_text('{"rows": []}')
    assert shell.command(service.url(), "cases", "s/s", "c") == 1
    assert shell.out.startswith("failed   c  ")
    assert "KeyError('data')" in shell.out


def test_a_case_that_is_broken_stops_no_other(service: Scoring, shell: Shell, tmp_path: Path) -> None:
    assert shell.run(service.url(), "--input", "data=[[1]]", "--save-case", "all/whole") == 0, shell.err
    (tmp_path / "all" / "a-broken").mkdir()
    (tmp_path / "all" / "a-broken" / "case.json").write_text("{oops")
    assert shell.command(service.url(), "cases", "s/s", "all") == 1
    assert "failed   all/a-broken  case.json is not whole: it is no JSON" in shell.out
    assert "alike    all/whole" in shell.out


def test_a_case_of_one_kind_is_not_sent_as_the_other(service: Scoring, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "case.json").write_text('{"form": 1, "model": "digits"}')
    assert shell.command(service.url(), "cases", "s/s", "t") == 2
    assert "it is of tensors, of digits: this service is posted to" in shell.err
    assert shell.run(service.url(), "--input", "data=[[1]]", "--save-case", "t") == 2
    assert "the directory holds a case of digits" in shell.err
    assert shell.run(service.url(), "--input", "data=[[1]]", "--save-case", "c") == 0
    with pytest.raises(UsageError, match="it is of a posted request, and a model takes tensors"):
        case.load(tmp_path / "c")
    assert shell.command(service.url(), "cases", "s/s", "c", "--version", "2") == 2


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        ({"a": 1.0}, {"a": 1.0000001}, []),
        ({"a": float("nan")}, {"a": float("nan")}, []),
        ({"a": float("inf")}, {"a": 1.0}, ["a 1.0, expected Infinity; by inf"]),
        ([1, 2], [1, 2, 3], ["answer has 3 elements, expected 2"]),
        ({"a": 2**70}, {"a": 2**70 + 1}, [f"a {2**70 + 1}, expected {2**70}; by 1"]),
        ({"a": True}, {"a": 1}, ["a 1, expected true"]),
        ({"a": "1"}, {"a": 1}, ['a 1, expected "1"']),
        ({"a": None}, {"a": None}, []),
        (b"\x00", b"\x01", ["answer 1 bytes 01, expected 1 bytes 00"]),
        (list(range(30)), [each + 1 for each in range(30)], ["answer differs in 10 more places"]),
    ],
)
def test_answers_are_compared_as_json(expected: Any, got: Any, words: list[str]) -> None:
    found = [f"{each.output} {each.words}" for each in posted.compare(expected, got, {})]
    assert found[-1:] == words


def test_an_answer_nested_without_end_is_said() -> None:
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    assert "nested too deep" in posted.compare(deep, deep, {})[0].words


def test_stdin_is_the_keyboard_where_a_dashboard_runs() -> None:
    """What a command sent from there is in the history, and must not be waited for again."""
    with pytest.raises(UsageError, match="stdin"):
        bodies.of_text("@-")
