"""`infer` of a service that is no Triton: JSON or a file posted to its URL, and the answer, whole or in pieces."""

from __future__ import annotations

import itertools
import os
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from tritonctl.errors import UsageError
from tritonctl.inventory import ReplicaStatus
from tritonctl.server.inference import Latency
from tritonctl.server.score import MAX_ANSWER_BYTES, Body, ScoreClient, Scored, lines_of
from tritonctl.server.typed import values_of
from tritonctl.workbench import body as bodies
from tritonctl.workbench import form as forms
from tritonctl.workbench.beside import Watching
from tritonctl.workbench.form import Form
from tritonctl.workbench.history import History, Sent
from tui import figures
from tui.commands import documents, text
from tui.commands.cut import Cut
from tui.commands.latency import told_when_stopped
from tui.commands.session import Session
from tui.commands.streams import say, tell
from tui.commands.target import say_unused_deployment

_WITHOUT = (
    "model_version",
    "zeros",
    "ones",
    "random",
    "shape",
    "datatype",
    "range",
    "sequence_id",
    "sequence_start",
    "sequence_end",
    "priority",
    "queue_timeout",
    "request_id",
    "generate",
    "top",
)


async def score(session: Session, service: str, target: ReplicaStatus, cut: Cut) -> int:
    arguments = session.arguments
    assert target.replica.address is not None
    _check(arguments)
    name = target.replica.address.http
    got: list[Scored] = []
    cut.document = lambda error: document(name, got, None, error)
    async with ScoreClient(target.replica.address, arguments.max_answer or MAX_ANSWER_BYTES) as client:
        history = History.usual(os.environ, Path.home())
        form = form_of(arguments, history, service)
        body = await _body(arguments, form, client)
        if arguments.duration or arguments.rate or arguments.latency_limit or arguments.concurrency > 1:
            return await _measure(session, client, body, service)
        with history.keeping(service, Sent(time.time(), service, form, None, "")) as took:
            for _ in range(arguments.repeat):
                got.clear()
                await _ask(session, client, body, got)
                took.append(got[-1].latency_us if got else 0.0)
    latency = Latency.of(took)
    say_unused_deployment(arguments.deployment, got[-1].deployment if got else "")
    if arguments.save_case is not None:
        from tritonctl.workbench import posted

        posted.save(arguments.save_case, body, got)
        say(f"saved the case {arguments.save_case}")
    if arguments.save is not None:
        save(arguments.save, got)
        say(f"saved {arguments.save}")
    if session.json:
        if any(documents.without_nan(each.document) != each.document for each in got):
            say("NaN and infinities of the answer are null here, since JSON has none; --save keeps it as it came")
        tell(documents.dump(document(name, got, latency)))
    else:
        _print(name, got, latency)
    return 0


def _check(arguments: Namespace) -> None:
    """Raises UsageError for what a request without a schema cannot have."""
    if arguments.model:
        raise UsageError(f"infer {arguments.service} {arguments.model}", "this service is posted to, it has no models")
    if arguments.protocol == "grpc":
        raise UsageError("infer --protocol grpc", "this service is posted to, by HTTP alone", "leave the option out")
    if arguments.batch > 1:
        raise UsageError("infer --batch", "this service tells no schema, and takes what is posted as it is")
    for name in _WITHOUT:
        if getattr(arguments, name) not in (None, False, [], ""):
            option = "--version" if name == "model_version" else f"--{name.replace('_', '-')}"
            raise UsageError(f"infer {option}", "this service tells no schema, and takes what is posted as it is")


def form_of(arguments: Namespace, history: History, service: str) -> Form:
    """What was typed or named, as the history keeps it; of a file its path. Raises UsageError."""
    if arguments.request is not None:
        if arguments.input or arguments.parameter:
            raise UsageError("infer", "--request is the whole body", "give it, or --input and --parameter")
        path = str(arguments.request)
        return Form({bodies.WHOLE: f"@{path if path == '-' else arguments.request.expanduser().absolute()}"})
    before = history.last(service) if arguments.last else Form()
    if before is None:
        raise UsageError(f"infer {service} --last", "nothing was sent to this service from here yet")
    whole = before.values.get(bodies.WHOLE)
    if whole == "@-":
        raise UsageError(f"infer {service} --last", "what was sent last came by stdin, and is not kept")
    if whole is not None and (arguments.input or arguments.parameter):
        raise UsageError(
            f"infer {service} --last", "what was sent last was a whole body", "leave out --input and --parameter"
        )
    return Form(
        {**before.values, **values_of(arguments.input)},
        parameters={**before.parameters, **dict(forms.parse_parameter(each) for each in arguments.parameter)},
    )


async def _body(arguments: Namespace, form: Form, client: ScoreClient) -> Body:
    if bodies.WHOLE in form.values:
        return bodies.of_text(form.values[bodies.WHOLE], stdin=True)
    if form.values or form.parameters:
        return bodies.of_fields(form.values, form.parameters)
    sample = await client.sample()
    if sample is None:
        raise UsageError(
            f"infer {arguments.service}",
            "nothing to send: the service tells no schema",
            '--request FILE posts a file, --input data=[[1,2,3]] makes it {"data": [[1,2,3]]}',
        )
    say(f"sent is its own example, of /swagger.json: {text.clean(sample.content[:200].decode('utf-8', 'replace'))}")
    return sample


async def _ask(session: Session, client: ScoreClient, body: Body, got: list[Scored]) -> None:
    """Fills `got`; Ctrl-C closes the connection."""
    with told_when_stopped(lambda: [each.latency_us for each in got]):
        async with aclosing(client.ask(body, session.infer_timeout_s)) as answers:
            async for answer in answers:
                got.append(answer)
                if answer.event and not session.json:
                    tell("\n".join(text.clean(line) for line in answer.said.split("\n")), end="")
    if got and got[-1].event and not session.json:
        tell("")


async def _measure(session: Session, client: ScoreClient, body: Body, service: str) -> int:
    from tui.commands.measure import Subject, measure

    async def unknown(*_: object) -> None:
        return None

    @asynccontextmanager
    async def nothing() -> AsyncIterator[Watching]:
        yield Watching()

    send = lambda: client.sender(body, session.infer_timeout_s)  # noqa: E731
    return await measure(session, Subject(service, send, unknown, unknown, nothing))


def save(path: Path, got: Sequence[Scored]) -> None:
    """The answer as it came, events one a line. Raises UsageError."""
    try:
        path.write_bytes(b"\n".join(each.content for each in got))
    except OSError as error:
        raise UsageError(f"save {path}", str(error.strerror or error)) from None


def document(name: str, got: Sequence[Scored], latency: Latency | None, error: str | None = None) -> dict[str, Any]:
    """What -o json writes: as of a model, with `answer` (of a stream: a list) in place of its outputs."""
    answers = [each.document if each.document is not None else each.text for each in got]
    streamed = bool(got) and got[0].event
    return {
        "model": None,
        "version": None,
        "protocol": "score",
        "url": name,
        "deployment": (got[-1].deployment or None) if got else None,
        "latency_us": latency.document() if latency else None,
        "outputs": [],
        "answer": answers if streamed else (answers[0] if answers else None),
        "at_us": [round(each.latency_us, 1) for each in got] if streamed else None,
        "error": error,
    }


def _print(name: str, got: Sequence[Scored], latency: Latency | None) -> None:
    if not got or latency is None:
        say("the service ended its stream without an answer")
        return
    where = f" by deployment {text.clean(got[-1].deployment)}" if got[-1].deployment else ""
    times = [each.latency_us for each in got]
    if got[0].event:
        gaps = [after - before for before, after in itertools.pairwise(times)]
        between = f", between {figures.duration_us(Latency.of(gaps).p50)}" if gaps else ""
        say(f"{len(got)} pieces, first after {figures.duration_us(times[0])}{between}{where}")
        return
    spread = ""
    if latency.min != latency.max:
        spread = f"  (min {figures.duration_us(latency.min)}, max {figures.duration_us(latency.max)})"
    tell(f"{text.clean(name)} answered{where}, {len(got[0].content)} bytes")
    tell(f"latency {figures.duration_us(latency.p50)}{spread}")
    for line in lines_of(got[0]):
        tell(text.clean(line))
