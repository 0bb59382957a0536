"""The settings: precedence with origins, every complaint with its line, and secrets that stay out of sight."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tritonctl.errors import UsageError
from tritonctl.server.address import Secret, ServerAddress
from tritonctl.settings import SCALARS, Flags, Settings, load
from tritonctl.settings_backends import (
    AksSettings,
    AzureMlSettings,
    CloudSettings,
    DockerSettings,
    KubernetesSettings,
    UrlsSettings,
)
from tritonctl.settings_file import MAX_FILE_BYTES
from tritonctl.settings_servers import ServerSettings


class Home:
    """A home directory with a settings file in its usual place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / ".config" / "tritonctl" / "config.toml"
        self.file.parent.mkdir(parents=True)

    def load(self, text: str | bytes | None = None, flags: Flags | None = None, **environ: str) -> Settings:
        if text is not None:
            self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
            self.file.chmod(0o600)
        return load(flags or Flags(), environ, self.path)

    def server(self, entry: str, **environ: str) -> ServerSettings:
        backend = self.load(f'[backends.e]\nkind = "urls"\nservers = [{{ {entry} }}]', **environ).backends[0]
        assert isinstance(backend, UrlsSettings)
        return backend.servers[0]

    def address(self, entry: str, **environ: str) -> ServerAddress:
        address = self.server(entry, **environ).address
        assert address is not None
        return address

    def fault(self, text: str | bytes | None, *, line: int | None, flags: Flags | None = None, **environ: str) -> str:
        """The whole message of the UsageError, which must name the file and `line`."""
        with pytest.raises(UsageError) as caught:
            self.load(text, flags, **environ)
        message = str(caught.value)
        if line is not None:
            assert re.match(rf"{re.escape(str(self.file))}:{line}\b", message), message
        return message


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_without_anything(home: Home) -> None:
    settings = home.load()
    assert [(b.kind, b.name, b.optional) for b in settings.backends] == [
        ("docker", "docker", True),
        ("kubernetes", "kubernetes", True),
        ("embedded", "embedded", True),
    ]
    assert (settings.read_only, settings.interval_s, settings.timeout_s) == (False, 2.0, None)
    assert (settings.ascii, settings.theme, settings.mouse) == (False, None, None)
    assert settings.keys.preset == "k9s"
    assert settings.config_file is None
    assert set(settings.sources.values()) == {"default"}
    assert settings.warnings == ()


def test_a_place_that_somebody_named_is_missed(home: Home) -> None:
    def missed(settings: Settings) -> list[str]:
        return [each.name for each in settings.backends if not each.optional]

    assert missed(home.load(DOCKER_HOST="tcp://far:2376")) == ["docker"]
    assert missed(home.load(DOCKER_CONTEXT="far")) == ["docker"]
    assert missed(home.load(flags=Flags(backends=("kubernetes",)))) == ["kubernetes"]


def test_a_file_without_backends_keeps_the_default_ones(home: Home) -> None:
    assert [b.name for b in home.load("ascii = true").backends] == ["docker", "kubernetes", "embedded"]


def test_each_source_wins_over_those_before_it_and_is_remembered(home: Home) -> None:
    text = "# mine\ninterval_s = 5\nread_only = true\n"
    assert home.load(text).interval_s == 5.0
    assert home.load(text).sources["interval_s"] == f"{home.file}:2"
    settings = home.load(text, TRITONCTL_INTERVAL="7.5", TRITONCTL_READ_ONLY="no")
    assert (settings.interval_s, settings.read_only) == (7.5, False)
    assert settings.sources["interval_s"] == "environment TRITONCTL_INTERVAL"
    settings = home.load(text, Flags(interval_s=9.0, read_only=True), TRITONCTL_INTERVAL="7.5", TRITONCTL_READ_ONLY="0")
    assert (settings.interval_s, settings.read_only) == (9.0, True)
    assert settings.sources["interval_s"] == "flag --interval"
    assert settings.sources["read_only"] == "flag --read-only"


@pytest.mark.parametrize(("variable", "text", "key", "value"), [
    ("TRITONCTL_READ_ONLY", "Yes", "read_only", True),
    ("TRITONCTL_ASCII", "1", "ascii", True),
    ("TRITONCTL_MOUSE", "off", "mouse", False),
    ("TRITONCTL_THEME", "nord", "theme", "nord"),
    ("TRITONCTL_TIMEOUT", "3", "timeout_s", 3.0),
    ("TRITONCTL_INTERVAL", "", "interval_s", 2.0),
])  # fmt: skip
def test_the_environment(home: Home, variable: str, text: str, key: str, value: object) -> None:
    assert getattr(home.load(**{variable: text}), key) == value


@pytest.mark.parametrize(("variable", "text"), [
    ("TRITONCTL_READ_ONLY", "maybe"),
    ("TRITONCTL_INTERVAL", "fast"),
    ("TRITONCTL_INTERVAL", "nan"),
    ("TRITONCTL_INTERVAL", "0.1"),
    ("TRITONCTL_TIMEOUT", "-1"),
])  # fmt: skip
def test_a_wrong_variable_is_named(home: Home, variable: str, text: str) -> None:
    assert home.fault(None, line=None, **{variable: text}).startswith(f"environment {variable}: ")


def test_a_variable_that_is_no_setting_is_a_warning(home: Home) -> None:
    environ = {"TRITONCTL_READONLY": "1", "TRITONCTL_REQUIRE": "triton", "TRITONCTL_TEST_X": "1", "TRITON": "1"}
    (warning,) = home.load(**environ).warnings
    assert "TRITONCTL_READONLY" in warning
    assert "TRITONCTL_READ_ONLY" in warning


def test_a_flag_out_of_range_is_named(home: Home) -> None:
    assert home.fault(None, line=None, flags=Flags(interval_s=100.0)).startswith("flag --interval: ")


def test_where_the_file_is_looked_for(home: Home, tmp_path: Path) -> None:
    xdg = tmp_path / "xdg" / "tritonctl" / "config.toml"
    xdg.parent.mkdir(parents=True)
    xdg.write_text("interval_s = 11")
    named = tmp_path / "named.toml"
    named.write_text("interval_s = 12")
    other = tmp_path / "other.toml"
    other.write_text("interval_s = 13")
    home.file.write_text("interval_s = 10")
    assert home.load().interval_s == 10
    assert home.load(XDG_CONFIG_HOME="relative/is/ignored").interval_s == 10
    assert home.load(XDG_CONFIG_HOME=str(tmp_path / "xdg")).interval_s == 11
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "TRITONCTL_CONFIG": str(named)}
    assert home.load(**environ).interval_s == 12
    settings = home.load(None, Flags(config=other), **environ)
    assert (settings.interval_s, settings.config_file, settings.sources["config"]) == (13, other, "flag --config")


def test_a_file_that_is_named_must_exist(home: Home, tmp_path: Path) -> None:
    assert "nowhere.toml" in home.fault(None, line=None, flags=Flags(config=tmp_path / "nowhere.toml"))
    assert "nowhere.toml" in home.fault(None, line=None, TRITONCTL_CONFIG=str(tmp_path / "nowhere.toml"))


def test_a_file_that_cannot_be_read(home: Home, tmp_path: Path) -> None:
    assert str(tmp_path) in home.fault(None, line=None, flags=Flags(config=tmp_path))  # a directory
    home.file.symlink_to(home.file)  # a loop cannot be read by root either
    assert str(home.file) in home.fault(None, line=None)


def test_a_file_that_is_no_text_or_too_large(home: Home) -> None:
    assert "not UTF-8" in home.fault(b"ascii = true\ntheme = '\xff'", line=2)
    assert "1024 KiB" in home.fault(b"#" * (MAX_FILE_BYTES + 1), line=None)
    assert "nested too deeply" in home.fault("a = " + "[" * 100_000, line=None)


@pytest.mark.parametrize(("text", "line"), [
    ("ascii = true\nread_only = yes\n", 2),
    ("ascii = true\r\nascii = true\r\n", 2),
    ("# a\n\ntheme = 'open", 3),
])  # fmt: skip
def test_what_is_not_toml_names_its_line(home: Home, text: str, line: int) -> None:
    assert "not TOML" in home.fault(text, line=line)


EDGE = '[backends.edge]\nkind = "urls"\n'


@pytest.mark.parametrize(("text", "line", "advice"), [
    ("read_only = true\nred_only = true", 2, "did you mean read_only?"),
    ("\n[backend.docker]\nkind = 'docker'", 2, "did you mean backends?"),
    ("zzz = 1", 1, "known here: read_only, interval_s"),
    ('[backends.prod]\nkind = "kubernetes"\nnamespace = ["a"]', 3, "did you mean namespaces?"),
    ('[backends]\nprod.kind = "kubernetes"\nprod.contxt = "a"', 3, "did you mean context?"),
    ('[backends]\nprod = { kind = "kubernetes", contxt = "a" }', 2, "did you mean context?"),
    ('["backends" . \'pr od\']\nkind = "docker"', 1, "first part of a service's address"),
    ('[backends.prod]\n"kind" = "docker"\n"h\\u006fts" = "unix:///x"', 3, "did you mean host?"),
    (EDGE + 'servers = [\n  { http = "http://h:8000" },\n  # two\n  { http = "http://i:8000", metric = "" },\n]', 6,
     "did you mean metrics?"),
    ('[backends.edge]\nkind="urls"\n\n[[backends.edge.servers]]\nhttp="http://h:8000"\n[[backends.edge.servers]]\n'
     'http="http://i:8000"\nnames="x"', 8, "did you mean name?"),
    (EDGE + 'servers = [{ http = "http://h:8000", token = "s3cret" }]', 3, 'token_env = "EDGE_TOKEN"'),
    (EDGE + 'servers = [{ http = "http://h:8000", restricted = { a = "b" } }]', 3, "headers = {"),
    ('[backends.w]\nkind = "aks"\nclient_secret = "s3cret"', 3, 'credential = "environment"'),
    ('[backends.w]\nkind = "azureml"\nconfig = "c"\n[backends.w.cloud]\nname = "X"\nauthorty = "https://a"', 6,
     "did you mean authority?"),
])  # fmt: skip
def test_a_wrong_key_names_its_line_and_the_nearest_right_one(home: Home, text: str, line: int, advice: str) -> None:
    message = home.fault(text, line=line)
    assert advice in message
    assert "s3cret" not in message


@pytest.mark.parametrize(("text", "line", "words"), [
    ('read_only = "yes"', 1, "read_only must be true or false, not a string"),
    ("read_only = 1", 1, "must be true or false, not a whole number"),
    ("interval_s = true", 1, "must be a number, not true or false"),
    ("ascii = false\ninterval_s = 0.4", 2, "from 0.5 to 60"),
    ("timeout_s = inf", 1, "from 0.1 to 86400"),
    ("theme = ''", 1, "theme is empty"),
    ('theme = "a\\u001b[31m"', 1, "cannot be printed"),
    ("theme = 2001-01-01", 1, "not a date or time"),
    ("[keys]\npreset = 'k8s'", 2, "did you mean k9s?"),
    ("[keys]\nlogs = 3", 2, "must be a string"),
    ("keys = 1", 1, "must be a table"),
    ("backends = 1", 1, "must be a table"),
    ("[backends]\ndocker = 'docker'", 2, "[backends.docker]"),
    ("[backends.a]\nkind = 'dcoker'", 2, "did you mean docker?"),
    ("[backends.a]\nread_only = true", 1, "no kind"),
    ("[backends.'a/b']\nkind = 'docker'", 1, "slash"),
    ("[backends.'']\nkind = 'docker'", 1, "is empty"),
    ("[backends.a]\nkind = 'docker'\nhost = '1.2.3.4'", 3, "tcp://HOST:PORT"),
    ("[backends.a]\nkind = 'docker'\nhost = 'tcp://h:1'\ncontext = 'x'", 4, "not both"),
    ("[backends.a]\nkind = 'kubernetes'\nnamespaces = 'x'", 3, "must be a list"),
    ("[backends.a]\nkind = 'kubernetes'\nnamespaces = [\n'x',\n3]", 5, "list of strings"),
    ("[backends.a]\nkind = 'aks'\nsubscription = 's'\ncluster = 'c'", 1, "no resource_group"),
    ("[backends.a]\nkind = 'azureml'\nworkspace = 'w'", 1, "no subscription"),
    ("[backends.a]\nkind = 'azureml'\nconfig = 'c'\nworkspace = 's'", 4, "not both"),
    ("[backends.a]\nkind = 'azureml'\nconfig = 'c'\ncredential = 'clio'", 4, "did you mean cli?"),
    ("[backends.a]\nkind = 'azureml'\nconfig = 'c'\ncloud = 'AzureGov'", 4, "AzureUSGovernment"),
    ("[backends.a]\nkind = 'azureml'\nconfig = 'c'\ncloud = { name = 'X', resource_manager = 'http://x' }", 4, "https://"),
    ("[backends.a]\nkind = 'azureml'\nconfig = 'c'\ncloud = { name = 'X' }", 4, "no resource_manager"),
    ("[backends.a]\nkind = 'urls'", 1, "no servers"),
    (EDGE + "servers = 'http://h:8000'", 3, "must be a list"),
    (EDGE + "servers = [\n'http://h:8000']", 4, "list of tables"),
    (EDGE + "servers = [\n{ name = 'x' }]", 4, "no http"),
    (EDGE + "servers = [\n{ http = 'http://h' }]", 4, "http://h:8000"),
    (EDGE + "servers = [\n{ http = 'http://u:s3cret@h:1' }]", 4, "token_env"),
    (EDGE + "servers = [\n{ http = 'ftp://h:1' }]", 4, "unknown scheme"),
    (EDGE + "servers = [\n{ http = 'http://h:1', name = 'a/b' }]", 4, "slash"),
    (EDGE + "servers = [\n{ http = 'http://h:1', name = 'a' },\n{ http = 'http://i:1', name = 'a' }]", 5, "toml:4"),
    (EDGE + "servers = [\n{ http = 'http://h:1' },\n{ http = 'http://h:1' }]", 5, "already"),
    (EDGE + "servers = [{ http = 'http://h:1', grpc = 'h' }]", 3, "HOST:8001"),
    (EDGE + "servers = [{ http = 'http://h:1', grpc = 'h:99999' }]", 3, "Port out of range"),
    (EDGE + "servers = [{ http = 'http://h:1', grpc = 'ftp://h:1' }]", 3, "grpcs://"),
    (EDGE + "servers = [{ http = 'http://h:1', grpc = true }]", 3, "must be a string"),
    (EDGE + "servers = [{ http = 'http://h:1', metrics = 'http://h' }]", 3, "a host and a port"),
    (EDGE + "servers = [{ http = 'http://h:1', metrics = 'ftp://h:1' }]", 3, "http://HOST:8002/metrics"),
    (EDGE + "servers = [{ http = 'http://h:1', headers = { X = 1 } }]", 3, "X must be a string"),
    (EDGE + "servers = [{ http = 'http://h:1', headers = { 'X Y' = 'a' } }]", 3, "name of a header"),
    (EDGE + "servers = [{ http = 'http://h:1', headers = { X = 'ö' } }]", 3, "ASCII"),
    (EDGE + "servers = [{ http = 'http://h:1', headers = { X = 'a', x = 'b' } }]", 3, "twice"),
    (EDGE + "servers = [{ http = 'http://h:1', headers = { authorization = 's3cret' } }]", 3, "env:VARIABLE"),
    (EDGE + "servers = [{ http = 'http://h:1', headers = { X = 'Bearer s3cret' } }]", 3, "env:VARIABLE"),
    (EDGE + "servers = [{ http = 'http://h:1', token_env = 'B', headers = { authorization = 'env:A' } }]", 3, "has"),
])  # fmt: skip
def test_a_wrong_value_names_its_line(home: Home, text: str, line: int, words: str) -> None:
    message = home.fault(text, line=line)
    assert words in message
    assert "s3cret" not in message


def test_the_backends_of_the_file(home: Home) -> None:
    docker, cluster, aks, workspace = home.load(
        "[backends.d]\nkind='docker'\nhost='ssh://gpu1'\n"
        "[backends.k]\nkind='kubernetes'\nkubeconfig='~/k.yaml'\ncontext='c'\nnamespaces=['a','b']\nread_only=true\n"
        "[backends.a]\nkind='aks'\nsubscription='s'\nresource_group='r'\ncluster='c'\ncredential='cli'\n"
        "[backends.m]\nkind='azureml'\nconfig='ws/config.json'\nca='/etc/ca.pem'\n"
        "cloud={name='X',resource_manager='https://m',authority='https://l'}\n"
    ).backends
    kubeconfig = home.path / "k.yaml"
    file = home.file
    assert docker == DockerSettings(name="d", where=f"{file}:1", host="ssh://gpu1")
    assert cluster == KubernetesSettings(
        name="k", where=f"{file}:4", read_only=True, kubeconfig=kubeconfig, context="c", namespaces=("a", "b")
    )
    assert aks == AksSettings(
        name="a", where=f"{file}:10", subscription="s", resource_group="r", cluster="c", credential="cli"
    )
    cloud = CloudSettings("X", resource_manager="https://m", authority="https://l")
    config, ca = file.parent / "ws/config.json", Path("/etc/ca.pem")
    assert workspace == AzureMlSettings(name="m", where=f"{file}:16", config=config, ca=ca, cloud=cloud)


def test_read_only_at_the_top_closes_every_backend(home: Home) -> None:
    text = "[backends.a]\nkind='docker'\nread_only=false\n[backends.b]\nkind='embedded'\nread_only=true"
    assert [b.read_only for b in home.load(text).backends] == [False, True]
    assert [b.read_only for b in home.load(text, Flags(read_only=True)).backends] == [True, True]


def test_the_addresses_of_a_server(home: Home) -> None:
    guessed = home.address("http = 'http://h:9000'")
    assert (guessed.grpc, guessed.metrics, guessed.guessed) == ("h:9001", "http://h:9002/metrics", True)
    given = home.address("http = 'http://h:9000', grpc = 'g:1', metrics = 'm:2'")
    assert (given.grpc, given.metrics, given.guessed) == ("g:1", "http://m:2/metrics", False)
    for none in ("false", "''"):
        absent = home.address(f"http = 'http://h:9000', grpc = {none}, metrics = {none}")
        assert (absent.grpc, absent.metrics, absent.guessed) == (None, None, False)
    partly = home.address("http = 'http://[::1]:9000', grpc = '[::1]:7'")
    assert (partly.grpc, partly.metrics, partly.guessed) == ("[::1]:7", "http://[::1]:9002/metrics", True)
    assert home.address("http = 'http://h:1', metrics = 'https://m/triton/m'").metrics == "https://m/triton/m"


def test_a_bare_grpc_address_speaks_tls_where_http_does(home: Home) -> None:
    def tls(entry: str) -> bool:
        return home.address(entry).grpc_tls

    assert tls("http = 'https://h', grpc = 'h:1'")
    assert not tls("http = 'http://h:1', grpc = 'h:1'")
    assert not tls("http = 'https://h', grpc = 'grpc://h:1'")
    assert tls("http = 'http://h:1', grpc = 'grpcs://h:1'")
    assert home.address("http = 'http://h:1', grpc = 'grpcs://h:1'").grpc == "h:1"


def test_names_ca_and_headers_of_a_server(home: Home) -> None:
    assert home.server("http = 'https://H:8443/triton/'").name == "H:8443"
    address = home.address(
        "http = 'https://h', ca = 'ca.pem', token_env = 'T', headers = { X-Key = 'env:K', X = 'y' }", T="tok\n", K="key"
    )
    assert address.ca == str(home.file.parent / "ca.pem")
    assert address.headers == {"X-Key": Secret("key"), "X": Secret("y"), "Authorization": Secret("Bearer tok")}


@pytest.mark.parametrize(("entry", "environ", "words"), [
    ("token_env = 'EDGE_TOKEN'", {}, "EDGE_TOKEN is not set"),
    ("token_env = 'EDGE_TOKEN'", {"EDGE_TOKEN": ""}, "EDGE_TOKEN is not set"),
    ("token_env = 'EDGE_TOKEN'", {"EDGE_TOKEN": "s3cret\r\nX: y"}, "EDGE_TOKEN has characters"),
    ("headers = { admin = 'env:KEY' }", {}, "header admin: the environment variable KEY is not set"),
])  # fmt: skip
def test_a_missing_secret_is_the_trouble_of_that_server_alone(
    home: Home, entry: str, environ: dict[str, str], words: str
) -> None:
    text = f"[backends.e]\nkind='urls'\nservers=[{{ http='http://a:1', {entry} }}, {{ http='http://b:1' }}]"
    settings = home.load(text, **environ)
    backend = settings.backends[0]
    assert isinstance(backend, UrlsSettings)
    first, second = backend.servers
    assert first.address is None
    assert words in (first.trouble or "")
    assert (second.address is not None, second.trouble) == (True, None)
    assert "s3cret" not in repr(settings)


def test_no_secret_is_shown(home: Home) -> None:
    entry = "{ http='http://h:1', token_env='T', headers={ A='env:K', B='s3cret3' } }"
    settings = home.load(f"[backends.e]\nkind='urls'\nservers=[{entry}]", T="s3cret1", K="s3cret2")
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings.origins)


def test_a_literal_header_in_a_file_that_others_can_read_is_a_warning(home: Home) -> None:
    text = "[backends.e]\nkind='urls'\nservers=[{ http='http://h:1', headers={ admin='s3cret' } }]"
    assert home.load(text).warnings == ()
    home.file.chmod(0o640)
    (warning,) = home.load().warnings
    assert warning.startswith(f"{home.file}:3: ")
    assert "s3cret" not in warning


def test_urls_replace_the_backends(home: Home) -> None:
    text = "read_only = true\n[backends.d]\nkind='docker'"
    (backend,) = home.load(text, Flags(urls=("h:8000", "https://i", "http://h:8000")), TRITONCTL_URL="z:1").backends
    assert isinstance(backend, UrlsSettings)
    assert (backend.name, backend.read_only, backend.where) == ("urls", True, "flag --url")
    assert [(s.name, s.address and s.address.http) for s in backend.servers] == [
        ("h:8000", "http://h:8000"),
        ("i", "https://i"),
    ]
    (backend,) = home.load(text, TRITONCTL_URL="y:1 z:1").backends
    assert isinstance(backend, UrlsSettings)
    assert [s.name for s in backend.servers] == ["y:1", "z:1"]
    assert backend.where == "environment TRITONCTL_URL"


def test_a_wrong_url_is_named_with_its_source(home: Home) -> None:
    assert "http://h:8000" in home.fault(None, line=None, flags=Flags(urls=("http://h",)))
    assert home.fault(None, line=None, TRITONCTL_URL="ftp://h").startswith("environment TRITONCTL_URL")
    assert "two different" in home.fault(None, line=None, flags=Flags(urls=("http://h:1/a", "http://h:1/b")))


def test_only_the_named_backends(home: Home) -> None:
    text = "[backends.prod]\nkind='docker'\n[backends.dev]\nkind='docker'"
    assert [b.name for b in home.load(text, Flags(backends=("dev",))).backends] == ["dev"]
    assert "did you mean prod?" in home.fault(text, line=None, flags=Flags(backends=("prdo",)))
    assert [b.name for b in home.load(text, Flags(urls=("h:1",), backends=("urls",))).backends] == ["urls"]


def test_keys(home: Home) -> None:
    settings = home.load(
        '[keys]\npreset = "vim"\n"service.logs" = "ctrl+l"\nservice.open = "o"'.replace("service.o", "o")
    )
    assert settings.keys.preset == "vim"
    assert settings.keys.bindings == {"service.logs": "ctrl+l", "open": "o"}
    settings.check_actions(["service.logs", "open"])
    with pytest.raises(UsageError, match=r"config.toml:3: unknown action 'service.logs' in keys\n.*service.log\?"):
        settings.check_actions(["service.log", "open"])


def test_the_doctor_is_told_every_value(home: Home) -> None:
    settings = home.load("[backends.e]\nkind='urls'\nread_only=true\nservers=[\n{ name='n', http='http://h:1' }]")
    shown = {origin.key: (origin.shown, origin.source) for origin in settings.origins}
    assert set(shown) == {"config", *(s.key for s in SCALARS), "keys.preset", "backends.e", "backends.e.n"}
    assert shown["interval_s"] == ("2", "default")
    assert shown["backends.e"] == ("urls, read-only", f"{home.file}:1")
    assert shown["backends.e.n"] == ("http://h:1, grpc h:2, metrics http://h:3/metrics", f"{home.file}:5")


def test_nothing_dear_is_imported() -> None:
    code = (
        "import sys; from pathlib import Path; from tritonctl.settings import Flags, load; "
        "load(Flags(urls=('h:1',)), {}, Path('/nonexistent')); print(' '.join(sys.modules))"
    )
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": path},
    )
    dear = {"tomllib", "httpx", "textual", "difflib", "argparse", "asyncio", "json", "ssl", "tritonclient"}
    assert dear & set(done.stdout.split()) == set()
