"""Who may see only a part sees that part and is told so; what is denied is named by verb and resource."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import replace
from pathlib import Path

import httpx

from tests.kubernetes.cluster import Object
from tests.kubernetes.gate import gate_to
from tests.kubernetes.space import Space, ready, rule
from tests.kubernetes.watching import platform, until, until_snapshot, watched
from tests.waiting import until as become
from tritonctl.inventory import BackendState, Level
from tritonctl.settings_backends import KubernetesSettings

SEE = [
    rule("get list watch", "pods"),
    rule("get list watch", "deployments statefulsets daemonsets", "apps"),
    rule("get list watch", "jobs", "batch"),
]


def of(kubeconfig: Path) -> KubernetesSettings:
    """Without namespaces: it has to find out itself."""
    return KubernetesSettings(name="k8s", where="test", kubeconfig=kubeconfig)


def key(space: Space, name: str = "web") -> str:
    return f"k8s/{space.name}/{name}"


async def test_all_namespaces_are_seen_where_they_may_be(space: Space) -> None:
    space.triton("web")
    async with watched(of(space.cluster.kubeconfig)) as seen:
        await until(seen.fleet, key(space), platform("1/1"))
        assert seen.watch.whole_cluster
        assert "namespace" not in seen.status


async def test_only_the_namespaces_that_are_allowed_are_seen_and_it_is_told(space: Space) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready(1))
    async with watched(of(space.user(SEE))) as seen:
        await until(seen.fleet, key(space), platform("1/1"))
        assert f"only namespace {space.name}" in seen.status
        assert "namespaces = " in seen.fleet.snapshot.backends[0].advice
        assert not seen.fleet.snapshot.backends[0].warning
    # One who may list the namespaces finds those that are his.
    other = space.user(SEE, wide=[rule("list", "namespaces")], name="lister")
    config = json.loads(other.read_text())
    del config["contexts"][0]["context"]["namespace"]
    other.write_text(json.dumps(config))
    async with watched(of(other)) as seen:
        await until(seen.fleet, key(space), platform("1/1"))
        assert f"only namespace {space.name}" in seen.status


async def test_what_may_not_be_done_names_the_right_that_lacks(space: Space) -> None:
    space.triton("web")
    await space.until("Deployment", "web", ready(1))
    async with watched(space.settings(space.user(SEE))) as seen:
        status = await until(seen.fleet, key(space), lambda each: len(each.service.denied) >= 7)
        denied = dict(status.service.denied)
        assert set(denied) == {"logs", "previous logs", "events", "mode", "restart", "scale", "delete"}
        assert f"you may not get pods/log in namespace {space.name}" in denied["logs"]
        assert "patch deployments.apps in namespace" in denied["mode"]
        assert "--verb=patch --resource=deployments.apps/scale" in denied["scale"]
        no_way = status.replicas[0].replica.no_address or ""
        assert "get and create pods/proxy" in no_way
        assert "pods/portforward" in no_way
        assert seen.backend.why_not(next(iter(seen.backend.capabilities & {"logs"})), status.service)
    async with watched(space.settings()) as seen:
        status = await until(seen.fleet, key(space), platform("1/1"))
        await asyncio.sleep(1)
        assert seen.fleet.snapshot.by_id[key(space)].service.denied == ()


async def test_who_may_see_pods_alone_sees_services_made_of_them(space: Space) -> None:
    space.triton("web", replicas=2)
    await space.until("Deployment", "web", ready(2))
    async with watched(space.settings(space.user(SEE[:1]))) as seen:
        status = await until(seen.fleet, key(space), platform("2/2"))
        assert status.service.kind == "deployment"
        await until_snapshot(seen.fleet, lambda now: "may not list deployments" in now.backends[0].detail)
        assert seen.fleet.snapshot.backends[0].warning
        assert "--resource=deployments.apps" in seen.fleet.snapshot.backends[0].advice


async def test_who_may_see_nothing_is_told_what_it_takes(space: Space) -> None:
    nobody = space.user(name="nobody")
    async with watched(of(nobody)) as seen:
        backend = seen.fleet.snapshot.backends[0]
        assert backend.state is BackendState.LOST
        assert f"you may not list pods in the whole cluster, nor in the namespace {space.name}" in backend.detail
        assert "--resource=pods" in backend.advice
    async with watched(space.settings(nobody)) as seen:
        backend = seen.fleet.snapshot.backends[0]
        assert 'cannot list resource "pods"' in backend.detail
        assert f"-n {space.name}" in backend.advice


async def test_rights_that_are_taken_away_are_noticed(space: Space) -> None:
    space.triton("web", kind="Pod")
    token = {"token": space.account("one", SEE)}
    async with gate_to(space, token) as gate, watched(space.settings(gate.kubeconfig)) as seen:
        await until(seen.fleet, key(space), platform("Running"))
        space.delete("RoleBinding", "one")
        gate.cut("/pods$")
        await until_snapshot(seen.fleet, lambda now: "may not list pods" in now.backends[0].detail)
        assert key(space) not in seen.fleet.snapshot.by_id  # nobody knows whether it is still there


def _known(space: Space, token: str) -> bool:
    with httpx.Client(base_url=space.cluster.server, verify=space.cluster.trust_only, trust_env=False) as client:
        return client.get("/api", headers={"Authorization": f"Bearer {token}"}).status_code != 401


async def test_a_token_that_ends_while_watching_is_made_new(space: Space) -> None:
    """A plugin prints what a file holds; the account of the first token is deleted, which ends the token."""
    space.triton("web", kind="Pod")
    token, program = space.folder / "token", space.folder / "plugin"
    first = space.account("one", SEE)
    token.write_text(first)
    document = '{"kind": "ExecCredential", "status": {"token": "%s"}}'
    program.write_text(f"#!/bin/sh\necho run >> {space.folder}/runs\nprintf '{document}' $(cat {token})\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    user: Object = {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(program)}}
    async with gate_to(space, user) as gate, watched(space.settings(gate.kubeconfig)) as seen:
        await until(seen.fleet, key(space), platform("Running"))
        assert (space.folder / "runs").read_text().count("run") == 1
        token.write_text(space.account("two", SEE))
        space.delete("ServiceAccount", "one")
        await become(lambda: not _known(space, first))  # the API server remembers a token for some seconds
        await asyncio.sleep(5)  # a credential that was made a moment ago is not made again
        gate.cut()
        space.triton("late", kind="Pod")
        await until(seen.fleet, key(space, "late"), platform("Running"), 90)
        assert seen.fleet.snapshot.backends[0].state is BackendState.CONNECTED
        assert (space.folder / "runs").read_text().count("run") == 2


async def test_a_login_that_is_lost_says_what_to_type_and_starts_no_storm(space: Space) -> None:
    program = space.folder / "kubelogin"
    program.write_text(f"#!/bin/sh\necho run >> {space.folder}/runs\necho 'run az login first' >&2\nexit 1\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    file = space.write_kubeconfig(
        "aks", {"exec": {"apiVersion": "x/v1", "command": str(program), "args": ["get-token"]}}
    )
    async with watched(of(file)) as seen:
        await asyncio.sleep(3)
        backend = seen.fleet.snapshot.backends[0]
        assert backend.state is BackendState.LOST
        assert "kubelogin ended with 1: run az login first" in backend.detail
        assert backend.advice == "az login"
        assert (space.folder / "runs").read_text().count("run") == 1


async def test_a_server_whose_certificate_is_not_checked_is_marked(space: Space) -> None:
    file = space.write_kubeconfig("unsafe", {"token": space.account("one", SEE)})
    config = json.loads(file.read_text())
    del config["clusters"][0]["cluster"]["certificate-authority-data"]
    config["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    file.write_text(json.dumps(config))
    async with watched(replace(space.settings(file))) as seen:
        await until_snapshot(seen.fleet, lambda now: now.backends[0].detail != "")
        assert seen.status.startswith("TLS is not verified")
        assert seen.fleet.snapshot.backends[0].warning
    del config["clusters"][0]["cluster"]["insecure-skip-tls-verify"]
    file.write_text(json.dumps(config))
    async with watched(space.settings(file)) as seen:
        assert "does not verify" in seen.status
        assert seen.fleet.snapshot.backends[0].state is BackendState.LOST


async def test_a_daemon_set_and_a_pod_say_what_they_cannot(space: Space) -> None:
    space.triton("ds", kind="DaemonSet")
    space.triton("pod", kind="Pod")
    async with watched(space.settings()) as seen:
        status = await until(seen.fleet, key(space, "ds"), lambda each: each.service.denied != ())
        assert [capability for capability, _ in status.service.denied] == ["scale"]
        status = await until(seen.fleet, key(space, "pod"), lambda each: each.service.denied != ())
        assert [capability for capability, _ in status.service.denied] == ["mode", "restart", "scale"]
        assert status.level is not Level.FAILED
