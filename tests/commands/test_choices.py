"""Keys and theme in the settings: what is wrong with them every command tells, with file and line."""

from __future__ import annotations

import pytest

from tests.commands.process import Tritonctl
from tests.commands.proxy import dead_port
from tui.choices import THEMES
from tui.keys import PRESETS, clashes


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ('[keys]\n"service.nope" = "x"', "2: unknown action 'service.nope' in keys"),
        ('[keys]\n"service.log" = "x"', "did you mean service.logs?"),
        ('[keys]\n"service.logs" = "U"', "2: U of service.logs is a key of service.unload too"),
        ('[keys]\n"logs.wrap" = "x"\n"service.mode" = "f2,x"', "x of logs.wrap is a key of service.mode too"),
        ('[keys]\n"move.down" = "q"', "2: q of move.down is a key of app.quit too"),
        ('[keys]\npreset = "vim"\n"services.describe" = "o"', "o of services.describe is a key of services.logs too"),
        ('read_only = true\ntheme = "drakula"', "2: there is no theme 'drakula'\n  → did you mean dracula?"),
        ("theme = 'dracula'\ntheme = 'nord'", "2:"),
    ],
)
@pytest.mark.parametrize("command", ["services", "doctor"])
def test_it_is_told_with_file_and_line(tritonctl: Tritonctl, settings: str, word: str, command: str) -> None:
    path = tritonctl.settings(settings)
    done = tritonctl(command, code=2)
    assert str(path) in done.err
    assert word in done.err
    assert done.out == ""


def test_what_can_be_is_taken(tritonctl: Tritonctl) -> None:
    tritonctl.settings(
        'theme = "nord"\n[keys]\n"service.logs" = "U"\n"service.unload" = "l"\n"model.request" = "f3"\n'
        '"services.mode" = "x"\n"request.shape" = "m"\n[backends.e]\nkind = "urls"\n\n'
        f'servers = [{{ http = "http://127.0.0.1:{dead_port()}" }}]\n'
    )
    assert "nothing listens" in tritonctl("services", code=5).out
    assert "no theme 'drakula'" in tritonctl("services", "--theme", "drakula", code=2).err


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_clashes_with_the_defaults_more_than_they_do_themselves(preset: str) -> None:
    assert clashes("k9s", PRESETS[preset]) == []


def test_the_themes_are_textuals() -> None:
    from textual.theme import BUILTIN_THEMES

    assert set(THEMES) == set(BUILTIN_THEMES)
