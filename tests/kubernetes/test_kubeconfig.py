"""A kubeconfig is read as kubectl reads it, and what is wrong in it is told without a word of what is secret."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
import trustme

from backends.kubernetes.client import tls
from backends.kubernetes.client.access import Access
from backends.kubernetes.client.credentials import KubeconfigCredentials
from backends.kubernetes.client.kubeconfig import find_access, of_text
from tritonctl.errors import Forbidden, TritonctlError, Unreachable, UsageError
from tritonctl.server.address import Secret

SECRET = "s3cr3t-value"


def config(**parts: Any) -> str:
    """One context `here`; `user` and `cluster` add to its entries, the rest replaces what is at the top."""
    cluster = {"server": "https://10.0.0.1:6443/", **parts.pop("cluster", {})}
    user = parts.pop("user", {"token": SECRET})
    return json.dumps(
        {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "models"}}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            **parts,
        }
    )


def test_the_current_context_is_read() -> None:
    access = of_text(config(cluster={"insecure-skip-tls-verify": True, "tls-server-name": "api"}), "file")
    assert (access.server, access.context, access.namespace) == ("https://10.0.0.1:6443", "here", "models")
    assert (access.insecure, access.tls_server_name) == (True, "api")
    assert access.identity.token == Secret(SECRET)
    assert SECRET not in repr(access)


def test_the_first_of_several_files_wins_and_paths_start_where_their_file_is(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "token").write_text("from-b\n")
    first, second = tmp_path / "a" / "config", tmp_path / "b" / "config"
    first.write_text('{"current-context": "here", "contexts": []}')
    second.write_text(config(user={"tokenFile": "token"}, **{"current-context": "other"}))
    environ = {"KUBECONFIG": os.pathsep.join(map(str, (tmp_path / "absent", first, second)))}
    access = find_access(None, None, environ, tmp_path)
    assert access.context == "here"
    assert access.identity.token_file == tmp_path / "b" / "token"


def test_home_is_where_it_is_by_default_and_a_pod_has_its_own_account(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"\.kube/config does not exist"):
        find_access(None, None, {}, tmp_path, cluster=tmp_path)
    for name, text in (("token", "t"), ("ca.crt", "CA"), ("namespace", "models\n")):
        (tmp_path / name).write_text(text)
    inside = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = find_access(None, None, inside, tmp_path, cluster=tmp_path)
    assert (access.server, access.namespace, access.ca) == ("https://[fd00::1]:443", "models", "CA")
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(config())
    assert find_access(None, None, inside, tmp_path, cluster=tmp_path).context == "here"


@pytest.mark.parametrize(
    ("text", "context", "words"),
    [
        (config(), "her", "did you mean here?"),
        (config(**{"current-context": ""}), None, "no context is set"),
        (config(clusters=[]), None, "has no server"),
        (config(users=[]), None, "its user 'u' is nowhere"),
        (config(cluster={"server": "10.0.0.1"}), None, "is no http:// or https:// address"),
        (config(user={"auth-provider": {"name": "azure"}}), None, "az aks get-credentials"),
        (config(user={"client-key-data": "%%%" + SECRET}), None, "client-key-data is no PEM file"),
        (config(user={"client-certificate": "nowhere.pem"}), None, "No such file"),
        (config(user={"exec": {"args": [SECRET]}}), None, "has no command"),
        (f"users:\n  token: '{SECRET}\n x: [", None, "is no YAML"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_secret(text: str, context: str | None, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        of_text(text, "some/config", context)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


async def test_a_token_file_is_read_again_when_the_token_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    credentials = KubeconfigCredentials(of_text(config(user={"tokenFile": str(file), "token": "unused"}), "file"))
    assert await credentials.headers() == (("Authorization", "Bearer one"),)
    assert not await credentials.refresh()
    file.write_text("two\n")
    assert await credentials.headers() == (("Authorization", "Bearer one"),)
    assert await credentials.refresh()
    assert await credentials.headers() == (("Authorization", "Bearer two"),)


async def test_somebody_else_can_be_impersonated_and_a_broken_token_is_not_quoted() -> None:
    user = {"username": "me", "password": "pw", "as": "you", "as-groups": ["a", "b"]}
    credentials = KubeconfigCredentials(of_text(config(user=user), "file"))
    basic = base64.b64encode(b"me:pw").decode()
    assert await credentials.headers() == (
        ("Authorization", f"Basic {basic}"),
        ("Impersonate-User", "you"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
    )
    with pytest.raises(Forbidden) as caught:
        await KubeconfigCredentials(of_text(config(user={"token": f"{SECRET}\nx"}), "file")).headers()
    assert SECRET not in str(caught.value)


async def test_a_client_certificate_needs_no_file_and_a_wrong_one_is_told() -> None:
    authority = trustme.CA()
    pair = authority.issue_cert("me")
    user = {
        "client-certificate-data": base64.b64encode(pair.cert_chain_pems[0].bytes()).decode(),
        "client-key-data": base64.b64encode(pair.private_key_pem.bytes()).decode(),
    }
    place = {"certificate-authority-data": base64.b64encode(authority.cert_pem.bytes()).decode()}
    access = of_text(config(user=user, cluster=place), "file")
    credential = await KubeconfigCredentials(access).certificate()
    assert tls.context_for(access, credential) is not False
    assert "PRIVATE KEY" not in repr(credential) + repr(access)
    other = trustme.CA().issue_cert("me").private_key_pem.bytes()
    wrong = of_text(config(user={**user, "client-key-data": base64.b64encode(other).decode()}), "file")
    with pytest.raises(Unreachable) as caught:
        tls.context_for(wrong, await KubeconfigCredentials(wrong).certificate())
    assert caught.value.kind == "tls"
    assert "PRIVATE KEY" not in str(caught.value)


def test_nobody_at_all_is_an_identity_too() -> None:
    text = config(contexts=[{"name": "here", "context": {"cluster": "c"}}], cluster={"server": "http://127.0.0.1:8001"})
    access = of_text(text, "kubectl proxy")
    assert isinstance(access, Access)
    assert tls.context_for(access, None) is None


def test_every_error_is_one_of_ours(tmp_path: Path) -> None:
    for text in (
        "[]",
        "null",
        "1",
        "{}",
        '{"contexts": 1}',
        '{"current-context": [1]}',
        "a: &a [*a]",
        "\x00",
        "- " * 999,
    ):
        with pytest.raises(TritonctlError):
            of_text(text, "file")
    (tmp_path / "config").mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        find_access(tmp_path / "config", None, {}, tmp_path)
