"""The form of a test request: what is typed, made up, and kept for the next time."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tensor_strategies import same_bits
from tritonctl.errors import UsageError
from tritonctl.server.modelconfig import schema
from tritonctl.server.request import Parameter
from tritonctl.workbench import form as forms
from tritonctl.workbench.form import Form, Made
from tritonctl.workbench.history import KEPT, STOPPED, History, Sent
from tui.panes.request.keeping import history_fields

MODEL = schema(
    {
        "name": "m",
        "inputs": [
            {"name": "A", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "B", "datatype": "INT8", "shape": [-1, -1]},
            {"name": "C", "datatype": "BYTES", "shape": [-1, 1]},
        ],
    },
    {"max_batch_size": 4, "input": [{"name": "C", "optional": True}]},
)


def test_what_is_open_is_made_up_in_the_batch_of_what_is_given() -> None:
    filled = forms.fill(Form({"A": "[[1,2],[3,4]]"}, shapes={"B": (2, 5)}), MODEL)
    assert filled.errors == {}
    assert {name: tensor.shape for name, tensor in filled.tensors.items()} == {"A": (2, 2), "B": (2, 5)}


def test_one_element_is_sent_so_many_times_as_the_batch_says() -> None:
    form = Form({"A": "[1,2]"}, batch=3)
    filled = forms.fill(form, MODEL)
    assert filled.tensors["A"].data.tolist() == [[1, 2]] * 3
    assert filled.tensors["B"].shape == (3, 1)
    filled = forms.fill(Form({"A": "[[1,2],[3,4]]"}, batch=3), MODEL)
    assert "it has a batch of 2, and 3 is asked for" in filled.errors["A"].answer


def test_values_are_made_up_as_asked_for() -> None:
    form = Form({"A": ":ones", "B": ":random -3,3", "C": ":zeros"}, Made(seed=1), {"B": (1, 500)})
    tensors = forms.fill(form, MODEL).tensors
    assert tensors["A"].data.tolist() == [[1, 1]]
    assert set(tensors["B"].data.reshape(-1).tolist()) == set(range(-3, 4))
    assert tensors["C"].data.tolist() == [[b""]]
    again = forms.fill(form, MODEL).tensors
    assert same_bits(tensors["B"].data, again["B"].data)
    floats = forms.fill(Form(made=Made(between=(5, 6))), MODEL).tensors["A"].data
    assert ((floats >= 5) & (floats < 6)).all()


def test_every_wrong_field_is_told_at_once() -> None:
    filled = forms.fill(Form({"A": "[1,x]", "B": ":random 0,999", "Z": "1"}), MODEL)
    assert set(filled.errors) == {"A", "B", "Z"}
    assert "INT8" in str(filled.errors["B"])
    assert "no such input" in str(filled.errors["Z"])


def test_a_sequence_needs_an_id() -> None:
    model = schema({"name": "s"}, {"sequence_batching": {}})
    with pytest.raises(UsageError, match="sequence"):
        forms.as_request(Form(), model, {})
    given_id = Form(parameters={"sequence_id": 7, "sequence_start": True})
    assert forms.as_request(given_id, model, {}).parameters["sequence_id"] == 7
    assert forms.sequence_of(given_id.parameters) == "sequence 7, start"


def test_the_requests_id_is_typed_among_the_parameters() -> None:
    form = forms.with_line(Form(), "priority=2 request_id=17 note=x")
    assert (form.parameters, form.request_id) == ({"priority": 2, "note": "x"}, "17")
    assert forms.with_line(Form(), forms.line_of(form)) == form
    for odd in ("007", "true", "-1.50", "a b", 'say "hi"', "\\"):
        named = Form(request_id=odd)
        assert forms.with_line(Form(), forms.line_of(named)) == named
    assert forms.with_line(Form(), "request_id=007").request_id == "007"
    assert forms.with_line(form, "").request_id == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k=1", 1),
        ("k=-2", -2),
        ("k=true", True),
        ("k=1.5", 1.5),
        ("k=abc", "abc"),
        ('k="1"', "1"),
        ("k=", ""),
        ("k=1e5", "1e5"),
    ],
)
def test_a_parameter_is_what_it_looks_like(text: str, value: Parameter) -> None:
    name, found = forms.parse_parameter(text)
    assert (name, found, type(found)) == ("k", value, type(value))


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
        st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.from_regex(r"[a-z0-9.]{0,8}", fullmatch=True)
        | st.text(max_size=8),
        max_size=4,
    )
)
def test_parameters_are_read_back_as_they_were(parameters: dict[str, Parameter]) -> None:
    again = forms.parse_parameters(forms.parameters_line(parameters))
    assert again == parameters
    assert [type(each) for each in again.values()] == [type(each) for each in parameters.values()]


@pytest.mark.parametrize("text", ["", "1", "2,1", "a,b", "1,inf", "nan,1"])
def test_a_range_that_is_none(text: str) -> None:
    with pytest.raises(UsageError):
        forms.parse_range(text)


@pytest.mark.parametrize(("text", "shape"), [("1,2,3", (1, 2, 3)), ("[4, 5]", (4, 5)), ("2x3", (2, 3)), ("", ())])
def test_a_shape(text: str, shape: tuple[int, ...]) -> None:
    assert forms.parse_shape(text) == shape


def test_a_shape_that_is_none() -> None:
    with pytest.raises(UsageError):
        forms.parse_shape("1,-2")
    with pytest.raises(UsageError):
        forms.parse_parameter("k=99999999999999999999")


# The history


def form_of(number: int) -> Form:
    return Form({"A": f"[{number}, 0]"}, Made("zeros", 3, (0.0, 1.0)), {"B": (1, 2)}, 2, "1", {"priority": 1}, "id")


def test_what_was_sent_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    history = History(tmp_path / "deep" / "requests")
    assert history.last("../m") is None
    for number in range(KEPT + 10):
        history.add("../m", Sent(float(number), "u/t", form_of(number), 1.5, ""))
    kept = history.of("../m")
    assert len(kept) == KEPT
    assert kept[-1].form == form_of(KEPT + 9)
    assert history.last("../m") == kept[-1].form
    (file,) = history.folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert history.folder.stat().st_mode & 0o777 == 0o700
    assert file.parent == history.folder


def test_two_that_write_at_once_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Each takes what is there, adds its own and writes it all."""
    program = (
        "import sys; from pathlib import Path; from tritonctl.workbench.history import History, Sent;"
        "from tritonctl.workbench.form import Form\n"
        "sys.stdin.readline()\n"
        "for at in range(20): History(Path(sys.argv[1])).add('m', Sent(float(at), sys.argv[2], Form(), None, ''))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    both = [subprocess.Popen([*command, name], stdin=subprocess.PIPE) for name in ("a/a", "b/b")]
    for each in both:
        each.communicate(b"go\n", timeout=30)
    kept = [(each.service, each.at) for each in History(tmp_path).of("m")]
    assert sorted(kept) == [(name, float(at)) for name in ("a/a", "b/b") for at in range(20)]


def test_one_that_holds_the_history_for_ever_keeps_nobody_from_it(tmp_path: Path) -> None:
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    began = time.monotonic()
    History(tmp_path).add("m", Sent(1.0, "u/t", Form(), None, ""))
    os.close(held)
    assert len(History(tmp_path).of("m")) == 1
    assert time.monotonic() - began < 5


def test_a_broken_history_is_read_as_far_as_it_can_be(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.add("m", Sent(1.0, "u/t", form_of(1), None, "no"))
    (file,) = tmp_path.iterdir()
    file.write_text('nonsense\n{"at": 1}\n[]\n' + file.read_text() + '{"at": "x", "form": {"made": 1}}\n')
    assert [each.form for each in history.of("m")] == [form_of(1)]
    history.add("m", Sent(2.0, "u/t", Form({"A": "x" * 100_000}), None, ""))  # too long to keep
    assert len(history.of("m")) == 1


def test_a_history_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = History(tmp_path / "file")
    history.add("m", Sent(1.0, "u/t", Form(), None, ""))
    assert history.of("m") == []


def test_what_a_person_stopped_is_not_called_failed() -> None:
    sent = [Sent(1.0, "u/t", form_of(1), None, outcome) for outcome in ("no", STOPPED)]
    stopped, failed = history_fields(sent)
    assert "stopped" in str(stopped)
    assert "failed" not in str(stopped)
    assert "failed" in str(failed)
