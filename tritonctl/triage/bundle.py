"""A support bundle: one tar.gz with the evidence, the findings and the versions, secrets removed, sizes bounded."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import platform
import re
import tarfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from tritonctl import __version__
from tritonctl.backend import Backend, Capability
from tritonctl.errors import TritonctlError
from tritonctl.tokenshapes import token
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.logreading import LogReading, cleaned
from tritonctl.triage.timeline import timeline

_PART_BYTES = 4 * 1024 * 1024
_WHOLE_BYTES = 24 * 1024 * 1024
_LONGEST_LINE = 64 * 1024
_LOG_LINES = 5000
_DEADLINE_S = 10.0
_SHORTEST = 4  # of what is held as a secret
_LONG = 16
REMOVED = "***"

# What a secret is called, and what one looks like. Better one word too many is removed than one too few.
_NAMED = re.compile(
    r"""(?ix)
    (["']?[\w.-]*(?:secret|passw(?:or)?d|passphrase|token|api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key
    |storage[_-]?key|credential|connection[_-]?string|\bauth|\bsas\b|\bsig)[\w.-]*["']?\s*[=:]\s*)
    (?!\s*(?:null|true|false|none|""|''|\*\*\*)\b)
    ("[^"\n]{1,4000}"|'[^'\n]{1,4000}'|[^\s,;&"'}\]]{1,4000})"""
)
_LOOKS = (
    re.compile(r"(?i)\b(authorization|proxy-authorization|x-api-key|ocp-apim-subscription-key)(\s*[:=]\s*)[^\r\n\"']+"),
    re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}"),
    re.compile(r"(://)()[^/\s:@]{0,200}:[^/\s@]{1,400}(?=@)"),  # user and password in a URL
    re.compile(
        r"(--(?:http-restricted-api|grpc-restricted-protocol)[=\s][^\s=]*=)()\S+"
    ),  # Triton's own: a header's value
    re.compile(r"([?&](?:sig|sv|se|X-Amz-Signature|X-Amz-Credential|token|key)=)()[^&\s\"']+"),
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)()[\s\S]*?(?=-----END|\Z)"),
)


def without_secrets(text: str, held: re.Pattern[str] | None = None) -> str:
    """The text with everything that is named or looks like a secret, and every one that is `held`, replaced by ***."""
    if held is not None:
        text = held.sub(REMOVED, text)
    for pattern in _LOOKS:
        text = pattern.sub(rf"\1\2{REMOVED}", text)
    text = token().sub(REMOVED, text)
    return _NAMED.sub(rf"\1{REMOVED}", text)


async def write(path: Path, diagnosis: Diagnosis, backend: Backend) -> int:
    """Write the bundle, readable by its owner alone, and return its bytes. Raises OSError."""
    held = held_by(diagnosis)
    parts = _parts(diagnosis)
    for name, text in (await _more(diagnosis, backend)).items():
        parts[name] = text
    return await asyncio.to_thread(_pack, path, parts, held)


def held_by(diagnosis: Diagnosis) -> re.Pattern[str] | None:
    """The keys and tokens that are sent to the service's servers, in whatever form a program may print them.

    A log may have one under no name and in no known shape. Values that stand in the service's own name, such as a
    deployment that a header chooses, are none.
    """
    service = diagnosis.evidence.status.service
    replicas = [*service.replicas, *(each.replica for each in diagnosis.evidence.replicas)]
    open_words = {*re.split(r"[/:.]", service.id), *(each.name for each in replicas)}
    found: set[str] = set()
    for address in {id(each.address): each.address for each in replicas}.values():
        for secret in address.headers.values() if address is not None else ():
            value = secret.reveal().strip()
            scheme, _, bare = value.partition(" ")
            known = {bare.strip() if bare and scheme.isalpha() else value}
            if scheme.lower() == "basic":
                known |= _of_basic(bare)
            found |= {each for each in known if len(each) >= _SHORTEST and each not in open_words}
    forms = {form for each in found for form in (each, quote(each, safe=""), json.dumps(each)[1:-1])}
    return re.compile("|".join(map(_pattern, sorted(forms, key=len, reverse=True)))) if forms else None


def _of_basic(bare: str) -> set[str]:
    """NAME:PASSWORD as it was before it was encoded, and its password."""
    try:
        plain = base64.b64decode(bare, validate=True).decode()
    except ValueError:
        return set()
    return {plain, plain.partition(":")[2]}


def _pattern(secret: str) -> str:
    """All of it, and its beginning where the rest of a word was cut; a short one only as a whole word."""
    if len(secret) < _LONG:
        return rf"(?<!\w){re.escape(secret)}(?!\w)"
    return rf"{re.escape(secret)}|{re.escape(secret[:_LONG])}[^\s\"',;&]*"


def _parts(diagnosis: Diagnosis) -> dict[str, str]:
    evidence = diagnosis.evidence
    summary = [
        f"service   {diagnosis.service}",
        f"written   {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(evidence.at or time.time()))}",
        f"tritonctl {__version__}, Python {platform.python_version()}, {platform.platform()}",
        *(f"replica   {each.name}: Triton {each.version or 'unknown'}" for each in evidence.replicas),
        "",
        *(f"{rung.stage}: {rung.state} {rung.detail}" for rung in diagnosis.stages),
        "",
    ]
    for finding in diagnosis.findings:
        summary += [f"[{finding.confidence}] {finding.id}: {finding.title}", f"    {finding.cause}"]
        summary += [f"    {quote.source}: {line}" for quote in finding.evidence for line in quote.text.splitlines()]
        summary += [f"    next: {step}" for step in finding.next_steps]
    summary += ["", *(f"not known: {each.what}: {each.why}" for each in evidence.missing)]
    parts = {
        "README.txt": "What triage found: summary.txt first, findings.json for programs, then the evidence itself.\n"
        "Everything that is named or looks like a secret was replaced by ***, and so were the keys and tokens with "
        "which tritonctl asks this service.\n",
        "summary.txt": "\n".join(summary),
        "findings.json": _json([asdict(finding) for finding in diagnosis.findings]),
        "pieces.txt": "\n".join(f"{piece.source} {piece.replica} {piece.text}" for piece in evidence.pieces),
        "timeline.txt": "\n".join(f"{each.time}  {each.source}  {each.text}" for each in timeline(evidence)),
    }
    for each in evidence.replicas:
        base = re.sub(r"[^\w.-]", "_", each.name)[:80] or "replica"
        parts[f"{base}/models.json"] = _json([asdict(model) for model in each.models])
        parts[f"{base}/configs.json"] = _json(dict(each.configs))
        parts[f"{base}/statistics.json"] = _json({":".join(key): asdict(moved) for key, moved in each.moved.items()})
        for name, log in (("log", each.log), ("previous-log", each.previous_log)):
            if log is not None:
                parts[f"{base}/{name}-read.txt"] = _of_log(log)
    return parts


def _of_log(log: LogReading) -> str:
    lines = [f"{name} = {value}" for name, value in log.options.items()]
    lines += ["", *(f"{entry.time} {entry.severity} ×{entry.count} {entry.text}" for entry in log.entries)]
    return "\n".join([*lines, "", "its last lines:", *log.tail])


async def _more(diagnosis: Diagnosis, backend: Backend) -> Mapping[str, str]:
    """The description and the raw end of the logs, as far as they come in time."""
    service = diagnosis.evidence.status.service
    found: dict[str, str] = {}

    async def describe() -> None:
        sections = await backend.describe(service)
        rows = [f"[{s.heading}]\n" + "\n".join(f"{name} = {value}" for name, value in s.rows) for s in sections]
        found["description.txt"] = "\n\n".join(rows)

    async def logs() -> None:
        if Capability.LOGS not in backend.capabilities:
            return
        lines: list[str] = []
        async for batch in backend.logs(service, tail=_LOG_LINES):
            lines += [f"{line.replica}  {cleaned(line.text)}" for line in batch]
        found["log.txt"] = "\n".join(lines[-_LOG_LINES:])

    async def bounded(name: str, job: object) -> None:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await job  # type: ignore[misc]
        except (TritonctlError, TimeoutError) as error:
            found[f"{name}-failed.txt"] = str(error) or "it did not come in time"

    await asyncio.gather(bounded("description", describe()), bounded("log", logs()))
    return found


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _pack(path: Path, parts: Mapping[str, str], held: re.Pattern[str] | None) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            _write(archive, parts, held)
    except BaseException:  # half an archive cannot be read, and would stand in the way of the next one
        path.unlink(missing_ok=True)
        raise
    return path.stat().st_size


def _write(archive: tarfile.TarFile, parts: Mapping[str, str], held: re.Pattern[str] | None) -> None:
    left, cut = _WHOLE_BYTES, []
    for name, text in parts.items():
        most = min(_PART_BYTES, left)
        raw = ending(text, most, held)
        if len(text) > most:
            cut.append(f"{name}: its last {len(raw)} of about {len(text)} bytes")
        left -= len(raw)
        _add(archive, name, raw)
    if cut:
        _add(archive, "cut.txt", "\n".join(["What was too large to be here whole:", *cut, ""]).encode())


def ending(text: str, most: int, held: re.Pattern[str] | None = None) -> bytes:
    """The last lines, without their secrets, in so many bytes. The secrets are taken out first: a cut could part a
    secret from the name by which it is known."""
    raw = without_secrets(text[-(most + _LONGEST_LINE) :], held).encode("utf-8", "replace")
    if len(raw) <= most and len(text) <= most:
        return raw
    return raw[max(0, len(raw) - most) :].partition(b"\n")[2]


def _add(archive: tarfile.TarFile, name: str, raw: bytes) -> None:
    entry = tarfile.TarInfo(f"tritonctl-triage/{name}")
    entry.size = len(raw)
    entry.mtime = int(time.time())
    entry.mode = 0o600
    archive.addfile(entry, io.BytesIO(raw))
