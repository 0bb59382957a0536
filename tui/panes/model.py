"""The tabs of a model's page that only show: schema, configuration, versions, statistics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from textual.app import ComposeResult

from tritonctl.inventory import JoinedModel, ServiceStatus
from tritonctl.server.modelconfig import ModelSchema, as_text
from tritonctl.server.rates import ModelRates
from tritonctl.server.tensors import shape_text
from tui.figures import age, duration_us, number, percent
from tui.panes.base import Pane
from tui.rows import MODEL_COLUMNS, STATES, model_row
from tui.screens.base import LiveScreen
from tui.widgets.sheet import Block, Heading, Pair, Piece, Sheet
from tui.widgets.table import Table


@dataclass(frozen=True, slots=True)
class ModelSeen:
    """What a tab is shown: the page it stands on, the newest status, and what the page has read of its model.

    Without a `schema`, `trouble` says why.
    """

    page: LiveScreen
    model: str
    status: ServiceStatus
    versions: Sequence[JoinedModel]
    schema: ModelSchema | None
    config: dict[str, Any] | None
    trouble: str


class ModelPane(Pane):
    """A tab of a model's screen."""

    def show(self, status: ServiceStatus) -> None:
        """A model's tab is shown by `show_model`, which also brings what was read of the model."""

    def show_model(self, seen: ModelSeen) -> None:
        raise NotImplementedError


class _SheetPane(ModelPane):
    def compose(self) -> ComposeResult:
        yield Sheet()

    def show_model(self, seen: ModelSeen) -> None:
        self.query_one(Sheet).show(self.pieces(seen))

    def pieces(self, seen: ModelSeen) -> list[Piece]:
        raise NotImplementedError


class SchemaPane(_SheetPane):
    def pieces(self, seen: ModelSeen) -> list[Piece]:
        if seen.schema is None:
            failed = any(each.worst.failed for each in seen.versions)
            return [Block(seen.trouble, "failed" if failed else "muted")]
        return schema_pieces(seen.schema)


def schema_pieces(shape: ModelSchema) -> list[Piece]:
    pieces: list[Piece] = [Heading("inputs")]
    for spec in shape.inputs:
        optional = "  optional" if spec.optional else ""
        pieces.append(Pair(spec.name, f"{spec.datatype} {shape_text(spec.shape)}{optional}"))
    pieces.append(Heading("outputs"))
    for spec in shape.outputs:
        labels = f"  labels {spec.labels}" if spec.labels else ""
        pieces.append(Pair(spec.name, f"{spec.datatype} {shape_text(spec.shape)}{labels}"))
    pieces.append(Heading("behaviour"))
    pieces.append(Pair("platform", shape.platform or shape.backend or "unknown"))
    pieces.append(Pair("max batch size", str(shape.max_batch_size) if shape.max_batch_size else "0: it does not batch"))
    if shape.dynamic_batching is not None:
        batching = shape.dynamic_batching
        preferred = f", preferred {list(batching.preferred_batch_sizes)}" if batching.preferred_batch_sizes else ""
        queue = f", at most {batching.max_queue_size} queued" if batching.max_queue_size else ", queue not bounded"
        pieces.append(Pair("dynamic batching", f"waits up to {batching.max_queue_delay_us} µs{preferred}{queue}"))
    if shape.sequence_batching:
        pieces.append(Pair("sequences", "requests need a sequence id"))
    if shape.decoupled:
        pieces.append(Pair("decoupled", "answers any number of times: gRPC streams only"))
    if shape.response_cache:
        pieces.append(Pair("response cache", "on"))
    if shape.ensemble_members:
        pieces.append(Pair("ensemble of", " → ".join(shape.ensemble_members)))
    for group in shape.instance_groups:
        gpus = f" on GPU {', '.join(map(str, group.gpus))}" if group.gpus else ""
        pieces.append(Pair("instances", f"{group.count} × {group.kind}{gpus}"))
    pieces.append(Pair("version policy", shape.version_policy))
    return pieces


class ConfigPane(_SheetPane):
    def pieces(self, seen: ModelSeen) -> list[Piece]:
        if seen.config is None:
            return [Block(seen.trouble, "muted")]
        return [Block("# in force now, completed by the server", "muted"), Block(as_text(seen.config))]


class VersionsPane(ModelPane):
    def compose(self) -> ComposeResult:
        yield Table(id="versions")
        yield Sheet(id="reasons")

    def show_model(self, seen: ModelSeen) -> None:
        self.query_one(Table).show(MODEL_COLUMNS, [model_row(seen.status, each) for each in seen.versions])
        pieces: list[Piece] = []
        for each in seen.versions:
            for on in each.on:
                if on.model.reason:
                    pieces.append(Heading(f"version {each.version or '–'} on {on.replica}"))
                    pieces.append(Block(on.model.reason, STATES[on.model.level]))
        self.query_one(Sheet).show(pieces)


class StatisticsPane(_SheetPane):
    """Since it was loaded, from the statistics; over the last seconds, from the metrics."""

    def pieces(self, seen: ModelSeen) -> list[Piece]:
        pieces: list[Piece] = []
        rates = seen.status.rates.models if seen.status.rates is not None else {}
        for each in seen.versions:
            if not each.ready_on:
                continue
            pieces.append(Heading(f"version {each.version}, since it was loaded"))
            for on in each.on:
                model = on.model
                if model.success is None:
                    pieces.append(Pair(on.replica, "no statistics"))
                    continue
                last = age(time.time() - model.last_inference_s) + " ago" if model.last_inference_s else "never"
                pieces.append(
                    Pair(
                        on.replica,
                        f"{number(model.success)} good, {number(model.failure)} failed, "
                        f"latency {duration_us(model.avg_request_us)}, queue {duration_us(model.avg_queue_us)}, "
                        f"last request {last}",
                    )
                )
            for key, figures in rates.items():
                if (key.model, key.version) == (each.name, each.version):
                    pieces += _now(figures)
        return pieces or [Block("not loaded: it has no statistics", "muted")]


def _now(figures: ModelRates) -> list[Piece]:
    window = f"{figures.window_s:.1f} s" if figures.window_s else "no window yet"
    pieces: list[Piece] = [
        Heading(f"over the last {window}"),
        Pair("requests", f"{number(figures.requests_per_s)}/s, inferences {number(figures.inferences_per_s)}/s"),
        Pair("latency", duration_us(figures.avg_request_us)),
        Pair("queue", f"{duration_us(figures.avg_queue_us)}, {percent(figures.queue_share)} of the request"),
        Pair(
            "compute",
            f"input {duration_us(figures.avg_compute_input_us)}, infer {duration_us(figures.avg_compute_infer_us)}, "
            f"output {duration_us(figures.avg_compute_output_us)}",
        ),
        Pair("average batch", number(figures.avg_batch)),
        Pair("pending", number(figures.pending)),
        Pair("failures", f"{number(figures.failures_per_s)}/s", "warn" if figures.failures_per_s else ""),
    ]
    reasons = {reason: rate for reason, rate in figures.failures_per_s_by_reason.items() if rate}
    if reasons:
        pieces.append(Pair("by reason", ", ".join(f"{reason} {number(rate)}/s" for reason, rate in reasons.items())))
    if figures.cache_hit_rate is not None:
        pieces.append(Pair("cache hits", percent(figures.cache_hit_rate)))
    return pieces
