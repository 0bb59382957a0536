"""What a place can tell plugs in: events, conditions, logs of runs before. Fakes here; the real places have tests of
their own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.diagnosis import causes
from tests.test_triage_logs import BEGIN, FAILED, LOADING
from tritonctl.backend import Backend, Capability, Event, Listed, LogLine, Section, Update
from tritonctl.inventory import Level, Platform, Replica, ReplicaStatus, Service
from tritonctl.plan import audit_path
from tritonctl.server.address import ServerAddress
from tritonctl.status import derive
from tritonctl.triage import own, rules, signatures
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.finding import Confidence
from tritonctl.triage.signatures import load
from tritonctl.triage.stages import Stage, StageState
from tritonctl.triage.timeline import changed_before, timeline
from tritonctl.triage.triage import triage

WAITING = Platform("Pending", Level.CHANGING, "waiting")
FAILING = Platform("exited 1", Level.FAILED)


@dataclass
class Told:
    """What the fake place tells."""

    platform: Platform = FAILING
    events: Sequence[Event] = ()
    log: Sequence[str] = ()
    previous: Sequence[str] = ()
    sections: Sequence[Section] = ()
    kind: str = "kubernetes"
    slow_s: float = 0.0
    addresses: Sequence[str | None] = field(default_factory=lambda: [None])
    breaks: bool = False
    programs: Mapping[str, str] = field(default_factory=dict)


class FakePlace(Backend):
    capabilities = frozenset({Capability.LOGS, Capability.PREVIOUS_LOGS, Capability.EVENTS})

    def __init__(self, told: Told) -> None:
        super().__init__("fake")
        self.kind = told.kind
        self.told = told

    async def watch(self) -> AsyncIterator[Update]:
        yield Listed(())

    async def logs(
        self,
        service: Service,
        *,
        replica: str | None = None,
        tail: int = 1000,
        follow: bool = False,
        previous: bool = False,
    ) -> AsyncIterator[Sequence[LogLine]]:
        yield [LogLine("r", text) for text in (self.told.previous if previous else self.told.log)]
        await asyncio.sleep(self.told.slow_s)

    async def events(self, service: Service) -> tuple[Event, ...]:
        return tuple(self.told.events)

    async def evidence(self, service: Service) -> tuple[Section, ...]:
        if self.told.breaks:
            raise KeyError("State")
        return tuple(self.told.sections)

    def programs(self, service: Service) -> Mapping[str, str]:
        return self.told.programs


async def diagnosed(told: Told) -> Diagnosis:
    backend = FakePlace(told)
    replicas = tuple(
        Replica(f"r{n}", told.platform, ServerAddress(address) if address else None, restarts=3)
        for n, address in enumerate(told.addresses)
    )
    service = Service("fake/s", "fake", told.kind, "s", told.platform, replicas, time.time() - 600)
    status = derive(service, [ReplicaStatus(each, looked=each.address is None) for each in replicas])
    return await triage(status, backend, load(None, told.kind))


def event(text: str, kind: str = "Warning", ago_s: float = 30.0) -> Event:
    return Event(time.time() - ago_s, kind, text, warning=True)


@pytest.mark.parametrize(
    ("text", "cause", "stage"),
    [
        ("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", "no-gpu-free", Stage.SCHEDULED),
        ("0/2 nodes are available: 2 node(s) had untolerated taint {sku: gpu}.", "taint", Stage.SCHEDULED),
        ('Failed to pull image "x:1": manifest unknown', "image-pull", Stage.IMAGE),
        ('Failed to pull image "x:1": failed to authorize: 401 Unauthorized', "registry-refuses", Stage.IMAGE),
        (
            'FailedMount MountVolume.SetUp failed for volume "models" : configmap "models" not found',
            "mount-failed",
            Stage.MOUNTS,
        ),
        ('Error creating: pods "t" is forbidden: exceeded quota: gpus, requested: x', "quota", Stage.ACCEPTED),
    ],
)
async def test_a_pod_that_never_started(text: str, cause: str, stage: Stage) -> None:
    diagnosis = await diagnosed(Told(WAITING, [event(text)]))
    assert causes(diagnosis) == [cause]
    assert diagnosis.findings[0].evidence[0].source == "event"
    states = {rung.stage: rung.state for rung in diagnosis.stages}
    assert states[stage] is StageState.FAILED
    assert states[Stage.READY] is StageState.UNKNOWN
    rungs = [rung.state for rung in diagnosis.stages]
    at = [rung.stage for rung in diagnosis.stages].index(stage)
    assert set(rungs[:at]) <= {StageState.DONE}, "what ended here has come so far"
    assert set(rungs[at + 1 :]) == {StageState.UNKNOWN}


async def test_a_crash_loop_is_explained_by_the_log_of_the_run_before() -> None:
    loop = event("Back-off restarting failed container", "BackOff")
    diagnosis = await diagnosed(Told(FAILING, [loop], log=[], previous=[BEGIN, LOADING, FAILED]))
    assert causes(diagnosis) == ["python-module-missing"]
    assert [each.id for each in diagnosis.findings] == ["python-module-missing", "crash-loop"]
    assert diagnosis.findings[0].evidence[0].source.startswith("previous log")
    steps = diagnosis.findings[0].next_steps
    assert steps[-1] == f"then: tritonctl restart {diagnosis.service}", "a server that is down takes no load"


def probe_fails(probe: str) -> Event:
    refused = 'Get "http://10.0.0.7:8000/v2/health/live": dial tcp 10.0.0.7:8000: connect: connection refused'
    return replace(event(f"{probe} probe failed: {refused}", "Unhealthy"), about="r0")


def probe_kills(probe: str) -> Event:
    """As the kubelet tells it, which is no warning."""
    text = f"Container triton failed {probe} probe, will be restarted"
    return Event(time.time() - 5.0, "Killing", text, about="r0")


@pytest.mark.parametrize("probe", ["Liveness", "Startup"])
async def test_a_probe_that_kills_a_load(probe: str) -> None:
    events = [probe_fails(probe), probe_kills(probe.lower())]
    diagnosis = await diagnosed(Told(FAILING, events, previous=[BEGIN, LOADING]))
    assert causes(diagnosis) == ["probe-kills"]
    assert [quote.source.split()[0] for quote in diagnosis.findings[0].evidence] == ["event", "event", "log"]
    assert diagnosis.findings[0].title.startswith(f"the {probe.lower()} probe kills")


@pytest.mark.parametrize("probe", ["Liveness", "Startup"])
async def test_a_probe_that_kills_where_no_log_can_be_read(probe: str) -> None:
    diagnosis = await diagnosed(Told(FAILING, [probe_fails(probe), probe_kills(probe.lower())]))
    assert causes(diagnosis) == ["probe-refused"]
    assert "will be restarted" in diagnosis.findings[0].evidence[1].text


@pytest.mark.parametrize("probe", ["Liveness", "Startup"])
async def test_a_probe_that_fails_and_has_killed_nothing_is_no_fault(probe: str) -> None:
    diagnosis = await diagnosed(Told(WAITING, [probe_fails(probe)], log=[BEGIN, LOADING]))
    assert [each.id for each in diagnosis.findings if "probe" in each.id] == []


async def test_out_of_memory() -> None:
    section = Section("r0", (("last state", "Terminated OOMKilled exit code 137"),))
    diagnosis = await diagnosed(Told(Platform("exited 137", Level.FAILED), sections=[section]))
    assert causes(diagnosis) == ["oom-killed"]


async def test_a_container_without_a_gpu_driver() -> None:
    text = 'could not select device driver "" with capabilities: [[gpu]]'
    diagnosis = await diagnosed(Told(Platform("exited 125", Level.FAILED, text), kind="docker"))
    assert causes(diagnosis) == ["docker-no-gpu-driver"]
    assert Stage.SCHEDULED not in [rung.stage for rung in diagnosis.stages]


async def test_an_azure_operation() -> None:
    text = "OutOfQuota: Not enough cores for Standard_NC6s_v3"
    diagnosis = await diagnosed(Told(Platform("Failed", Level.FAILED, text), kind="azureml"))
    assert causes(diagnosis) == ["azure-quota"]


def logged(ago_s: float, text: str) -> str:
    """A line of the log, written so many seconds ago by a server on this machine's clock."""
    clock = time.strftime("%m%d %H:%M:%S", time.localtime(time.time() - ago_s))
    return f'I{clock}.000000 7 model_lifecycle.cc:472] "{text}"'


@pytest.mark.parametrize(
    ("ago_s", "text", "found"),
    [
        (900, "loading: large:1", ["load-hangs"]),
        (30, "loading: large:1", []),
        (900, "Collecting CPU metrics", ["start-hangs"]),
        (30, "Collecting CPU metrics", []),
    ],
)
async def test_a_start_that_says_nothing_for_long(ago_s: float, text: str, found: list[str]) -> None:
    told = Told(Platform("running", Level.OK), log=[logged(ago_s, text)])
    diagnosis = await diagnosed(told)
    assert causes(diagnosis) == found
    assert all(each.confidence is Confidence.POSSIBLE for each in diagnosis.findings)


async def test_a_front_door_that_lets_one_request_through() -> None:
    rows = (
        ("request settings", "max_concurrent_requests_per_instance: 1"),
        ("requests", "envoy_response_code 429: 118 a minute"),
    )
    told = Told(Platform("Succeeded", Level.OK), sections=[Section("", rows)], kind="azureml")
    assert causes(await diagnosed(told)) == ["one-request-at-a-time"]
    enough = Section("", (("request settings", "max_concurrent_requests_per_instance: 16"), rows[1]))
    assert causes(await diagnosed(Told(Platform("Succeeded", Level.OK), sections=[enough], kind="azureml"))) == []


async def test_a_service_whose_selector_matches_nothing() -> None:
    section = Section("", (("service text", "selector matches no pod"),))
    assert causes(await diagnosed(Told(Platform("1/1", Level.OK), sections=[section]))) == ["selector-matches-nothing"]


async def test_an_exit_that_nothing_explains_is_not_guessed_at() -> None:
    diagnosis = await diagnosed(Told(Platform("Unhealthy", Level.FAILED), log=["a word", "strange: the moon is wrong"]))
    assert [each.id for each in diagnosis.findings] == ["nothing-known"]
    assert diagnosis.findings[0].confidence is Confidence.UNKNOWN
    assert "the moon is wrong" in diagnosis.findings[0].evidence[-1].text


@pytest.mark.parametrize(
    "told",
    [
        Told(Platform("Pending", Level.CHANGING, "Pulling image"), [Event(time.time(), "Normal", "Pulling image x")]),
        Told(Platform("rolling update 1/2", Level.CHANGING), [Event(time.time(), "Normal", "Scaled up to 2")]),
        Told(Platform("stopped", Level.OFF)),
        Told(Platform("scaled to 0", Level.OFF), log=[BEGIN]),
    ],
    ids=["pulling", "rolling", "stopped", "scaled to nothing"],
)
async def test_what_is_under_way_or_off_is_no_fault(told: Told) -> None:
    assert (await diagnosed(told)).findings == ()


async def test_what_does_not_come_in_time_is_named() -> None:
    began = time.monotonic()
    diagnosis = await diagnosed(Told(FAILING, log=[BEGIN, FAILED], slow_s=30))
    assert time.monotonic() - began <= 12
    assert causes(diagnosis) == ["python-module-missing"], "what came before is used"
    assert [(each.what, each.why) for each in diagnosis.evidence.missing if "log" in each.what]


async def test_of_one_replica_that_is_left_only_its_own_log_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    async def logs(
        _self: FakePlace, _service: Service, *, replica: str | None = None, **_: object
    ) -> AsyncIterator[Sequence[LogLine]]:
        asked.append(replica)
        yield [LogLine("r0", FAILED)] if replica in (None, "r0") else []

    monkeypatch.setattr(FakePlace, "logs", logs)
    ends = Platform("Terminating", Level.CHANGING)
    replicas = (Replica("r0", ends), Replica("r1", WAITING))
    of = Service("fake/s", "fake", "kubernetes", "s", WAITING, replicas, time.time() - 60)
    status = derive(of, [ReplicaStatus(each, looked=True) for each in replicas])
    diagnosis = await triage(status, FakePlace(Told()), load(None, "kubernetes"))
    assert asked == ["r1"]
    assert causes(diagnosis) == []


async def test_a_fault_in_one_source_takes_nothing_from_the_others() -> None:
    diagnosis = await diagnosed(Told(FAILING, log=[BEGIN, FAILED], breaks=True))
    assert causes(diagnosis) == ["python-module-missing"]
    (missing,) = [each.why for each in diagnosis.evidence.missing if each.what == "what the place says"]
    assert missing.startswith("KeyError in ")


async def test_one_line_of_time_from_all_sources() -> None:
    diagnosis = await diagnosed(
        Told(FAILING, [event("image 24.09 → 24.10", "Rollout", 120)], previous=[BEGIN, LOADING, FAILED])
    )
    moments = timeline(diagnosis.evidence)
    assert {moment.source for moment in moments} >= {"event", "log"}
    assert [moment.at for moment in moments] == sorted(moment.at for moment in moments)


async def test_what_is_told_again_and_again_is_one_change() -> None:
    told = [event("0/1 nodes are available", "FailedScheduling", ago_s) for ago_s in (50, 40, 30)]
    diagnosis = await diagnosed(Told(FAILING, [*told, event("revision 2", "Revision", 60)]))
    changes = [moment.text for moment in changed_before(diagnosis.evidence)]
    assert changes == ["Revision revision 2", "FailedScheduling 0/1 nodes are available"]


async def test_what_was_done_through_tritonctl_is_in_the_line_of_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = audit_path()
    path.parent.mkdir(parents=True)
    now = datetime.now(UTC)
    records = [
        {"at": at.isoformat(), "who": "ann", "service": service, "call": call, "result": "done"}
        for at, service, call in (
            (now - timedelta(days=3), "fake/s", "long ago"),
            (now - timedelta(seconds=90), "fake/s", "load \x1b[31mdigits"),
            (now - timedelta(seconds=80), "fake/other", "unload digits"),
        )
    ]
    records.append({**records[1], "service": "fake/é", "call": "load letters"})
    lines = ["fake/s cut off", "[]", '{"service": "fake/s", "at": 7}', *map(json.dumps, records)]
    path.write_text("\n".join(lines))
    diagnosis = await diagnosed(Told(FAILING, [event("Back-off", "BackOff", 30)]))
    moments = [(moment.source, moment.text) for moment in timeline(diagnosis.evidence)]
    assert ("tritonctl", "ann: load digits: done") in moments
    assert sum(source == "tritonctl" for source, _ in moments) == 1
    assert [each.text for each in own.changes(path, "fake/é")] == ["ann: load letters: done"]
    assert [source for source, _ in moments].index("tritonctl") < [source for source, _ in moments].index("event")


async def test_no_pattern_of_a_user_holds_anything_up(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.test_triage_catalogue import entry_text

    folder = Path(str(tmp_path)) / "tritonctl/catalogue"
    folder.mkdir(parents=True)
    (folder / "a.toml").write_text(
        entry_text(id="endless", has="aaaa", pattern="(a+)+$")
        + entry_text(id="ours", has="aaaa", pattern="(?P<host>a+)b$")
    )
    catalogue = signatures.load({"XDG_CONFIG_HOME": str(tmp_path)}, "kubernetes")
    assert catalogue.troubles == ()
    monkeypatch.setattr("tests.test_triage_places.load", lambda _environ, _kind: catalogue)
    began = time.monotonic()
    diagnosis = await diagnosed(Told(FAILING, log=[BEGIN, "a" * 60 + "b"]))
    assert time.monotonic() - began < 20
    assert "ours" in causes(diagnosis)
    assert any("endless" in each.what for each in diagnosis.evidence.missing)


async def test_a_rule_with_a_fault_is_left_out_and_named_and_the_others_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("hush")

    monkeypatch.setattr(rules, "RULES", (broken, *rules.RULES))
    told = Told(FAILING, log=[], previous=[BEGIN, LOADING, FAILED])
    diagnosis = await diagnosed(told)
    assert causes(diagnosis) == ["python-module-missing"]
    (why,) = [each.why for each in diagnosis.evidence.missing if each.what == "rule broken"]
    assert why.startswith("KeyError in ")
    memory = Told(Platform("exited 137", Level.FAILED), kind="docker")
    assert (await diagnosed(memory)).findings, "what a rule finds is found"


@pytest.mark.parametrize("begins", ["kubectl --context prod", r"kubectl --kubeconfig '/a \1' --context prod", ""])
async def test_the_steps_name_the_cluster_that_is_meant(begins: str) -> None:
    event = Event(time.time(), "FailedMount", 'MountVolume.SetUp failed for volume "m" : not found', warning=True)
    told = Told(events=[event], programs={"kubectl": begins} if begins else {})
    headline = (await diagnosed(told)).headline
    assert headline is not None
    commands = [step for step in headline.next_steps if "kubectl" in step]
    assert commands
    assert all(step.startswith(f"{begins or 'kubectl'} -n ") for step in commands)
