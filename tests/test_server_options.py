"""tritonserver's command line: found, read, and written for another mode, in every form that people start it in."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritonctl.inventory import ControlMode
from tritonctl.server.commandline import find_servers
from tritonctl.server.options import ServerOptions, read, read_tables, servers_of, with_mode

SHELL = (
    "set -e; pip list > /tmp/x 2>&1\n"
    "exec tritonserver --model-repository=/models --http-port $P \\\n"
    "  --load-model='a b' --model-control-mode explicit 2>&1 | tee /log & "
    "tritonserver --http-port=${Q:-9100} --allow-grpc false & wait"
)


def test_options_have_tritons_defaults() -> None:
    assert read(()) == ServerOptions()
    assert (ServerOptions().http_port, ServerOptions().grpc_port, ServerOptions().metrics_port) == (8000, 8001, 8002)


@pytest.mark.parametrize(
    ("argv", "http", "mode"),
    [
        (("tritonserver", "--http-port=9000"), 9000, "none"),
        (("/opt/tritonserver/bin/tritonserver", "--http-port", "9000"), 9000, "none"),
        (("/opt/nvidia/nvidia_entrypoint.sh", "tritonserver", "--model-control-mode=poll"), 8000, "poll"),
        (("tini", "--", "sh", "-c", "exec tritonserver --http-port=9000"), 9000, "none"),
        (("bash", "-lc", "A=1 numactl -N0 tritonserver --model-control-mode explicit"), 8000, "explicit"),
        (("sh", "-c", "cd /m; tritonserver --http-port 70000"), 8000, "none"),
        (("mpirun", "-n", "1", "tritonserver", "--http-port=9000", ":", "-n", "1", "tritonserver"), 9000, "none"),
        (("tritonserver", "--http-port=1000", "--http-port=9000"), 9000, "none"),
    ],
)
def test_a_server_is_found_and_read(argv: tuple[str, ...], http: int, mode: str) -> None:
    (found,) = servers_of(argv)
    assert (found.http_port, found.control_mode) == (http, ControlMode(mode))


@pytest.mark.parametrize(
    "argv",
    [
        ("sh", "-c", "echo tritonserver"),
        ("sleep", "600"),
        ("sh", "-c", "pkill tritonserver; sleep 1"),
        ("sh", "-c", "# tritonserver --http-port=1\nsleep 1"),
        ("python3", "/opt/tritonserver/launch.py"),
        ("which", "tritonserver"),
    ],
)
def test_what_only_speaks_of_it_is_none(argv: tuple[str, ...]) -> None:
    assert servers_of(argv) == ()


def test_a_shell_string_with_two_servers_and_variables() -> None:
    first, second = servers_of(("bash", "-c", SHELL), {"P": "9000"})
    assert (first.http_port, first.load_models, first.control_mode) == (9000, ("a b",), ControlMode.EXPLICIT)
    assert (second.http_port, second.grpc_port) == (9100, None)


def test_another_mode_leaves_the_rest_of_the_text_alone() -> None:
    changed = with_mode(("bash", "-c", SHELL), ControlMode.NONE, [(), ()], {"P": "9000"})[2]
    assert changed == SHELL.replace(
        "--load-model='a b' --model-control-mode explicit", "--model-control-mode=none"
    ).replace("--allow-grpc false &", "--allow-grpc false --model-control-mode=none &")


def test_the_flags_go_where_they_were_or_to_the_end() -> None:
    argv = ("tritonserver", "--load-model", "x", "--model-control-mode", "explicit", "--id=a")
    assert with_mode(argv, ControlMode.POLL, [()]) == ("tritonserver", "--model-control-mode=poll", "--id=a")
    assert with_mode(("tritonserver", "--id=a"), ControlMode.EXPLICIT, [("m", "n o")]) == (
        *("tritonserver", "--id=a", "--model-control-mode=explicit", "--load-model=m", "--load-model=n o"),
    )


def test_flags_out_of_reach_are_an_error_with_the_reason() -> None:
    with pytest.raises(ValueError, match="out of a variable"):
        with_mode(("sh", "-c", "tritonserver $ARGS"), ControlMode.NONE, [()], {"ARGS": "--load-model=q --id=x"})
    with pytest.raises(ValueError, match="inside a script"):
        with_mode(("/start.sh",), ControlMode.NONE, [()])


WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=("Cs",)), min_size=1, max_size=12
)


@given(st.lists(WORDS.filter(lambda word: word != ":" and "tritonserver" not in word), max_size=5))
def test_quoted_words_are_read_as_a_shell_reads_them(words: list[str]) -> None:
    text = "exec tritonserver " + shlex.join(words)
    (found,) = find_servers(("sh", "-c", text))
    assert list(found.texts) == words


def test_a_rewritten_shell_string_means_what_it_says_to_a_real_shell() -> None:
    text = "P=1; tritonserver --id='it''s' --model-control-mode=none \"a b\" >/dev/null & wait"
    changed = with_mode(("sh", "-c", text), ControlMode.EXPLICIT, [("m n", "it's")])[2]
    show = "import sys; print(sys.argv[1:], file=sys.stderr)"
    shown = f'tritonserver() {{ {shlex.quote(sys.executable)} -c "{show}" "$@"; }}'
    done = subprocess.run(["sh", "-c", f"{shown}; {changed}"], capture_output=True, text=True, timeout=20, check=True)
    flags = ["--model-control-mode=explicit", "--load-model=m n", "--load-model=it's"]
    assert done.stderr.strip() == str(["--id=its", *flags, "a b"])


TABLES = """
I1121 01:27:44.334322 1 server.cc:674]
+--------+---------+------------------------------------+
| Model  | Version | Status                             |
+--------+---------+------------------------------------+
| echo   | 1       | READY                              |
| broken | 1       | UNAVAILABLE: Internal: a | in it   |
|        |         | At: model.py                       |
| nover  | -       | Not loaded: No model version found |
+--------+---------+------------------------------------+

+----------------------+---------------+
| Option               | Value         |
+----------------------+---------------+
| model_control_mode   | MODE_EXPLICIT |
| startup_models_0     | echo          |
| model_config_name    |               |
+----------------------+---------------+

I1121 01:27:44.338820 1 http_server.cc:4713] "Started HTTPService at 0.0.0.0:8000"
"""


def test_the_start_up_tables_are_read() -> None:
    found = read_tables(TABLES.splitlines())
    assert found.control_mode is ControlMode.EXPLICIT
    assert found.options["startup_models_0"] == "echo"
    assert [name for name, _, _ in found.models] == ["echo", "broken", "nover"]
    assert found.models[1][2] == "UNAVAILABLE: Internal: a | in it\nAt: model.py"
