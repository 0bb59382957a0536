"""docs/settings.md tells every key and every variable, and its example is a valid file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tritonctl import settings_backends, settings_servers
from tritonctl.settings import SCALARS, TOP_KEYS, VARIABLES, Flags, load
from tritonctl.settings_backends import UrlsSettings

DOCUMENT = Path(__file__).parent.parent / "docs" / "settings.md"


def test_the_document_names_every_key_and_no_other() -> None:
    text = DOCUMENT.read_text("utf-8")
    words = set(re.findall(r"`([^`\n]+)`", text.split("## A whole file")[0]))
    keys = {key for keys in settings_backends.KEYS.values() for key in keys}
    keys |= {*settings_servers.SERVER_KEYS, *settings_backends.CLOUD_KEYS, *settings_backends.KEYS, "kind", "preset"}
    keys |= {*TOP_KEYS} - {"keys", "backends"} | {"[keys]", "[backends.NAME]"}
    keys |= {
        *VARIABLES,
        *(scalar.flag for scalar in SCALARS),
        *settings_backends.CREDENTIALS,
        *settings_backends.CLOUDS,
    }
    assert keys - words == set()
    assert {word for word in words if re.fullmatch(r"TRITONCTL_[A-Z_]+[A-Z]", word)} == set(VARIABLES)
    for scalar in SCALARS:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{scalar.key}` |"))
        assert scalar.variable in row
        assert scalar.flag in row


def test_the_example_of_the_document_loads_and_has_every_key(tmp_path: Path) -> None:
    example = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)[-1]
    file = tmp_path / "config.toml"
    file.write_text(example)
    settings = load(Flags(config=file), {"EDGE_TOKEN": "t", "EDGE_ADMIN_KEY": "k"}, tmp_path)
    assert {backend.kind for backend in settings.backends} == set(settings_backends.KEYS)
    assert set(TOP_KEYS) <= set(tomllib.loads(example))
    assert settings.warnings == ()
    edge = next(backend for backend in settings.backends if isinstance(backend, UrlsSettings))
    assert all(server.trouble is None for server in edge.servers)
