"""The form of the pane as lines: each input with what it is filled with, and how the request is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritonctl.server.files import image_note
from tritonctl.server.generate import can_generate
from tritonctl.workbench import form as forms
from tui.panes.request.draft import WAYS, Draft
from tui.panes.request.fields import Field

if TYPE_CHECKING:
    from tritonctl.server.modelconfig import ModelSchema
    from tritonctl.server.tensors import TensorSpec

INPUT = "input "
"""Before an input's name, in the key of its field."""
WAY_WORDS = {
    "infer": "infer",
    "generate_stream": "generate_stream: the text as it comes, over HTTP",
    "generate": "generate: the text at once, over HTTP",
}


def form_fields(draft: Draft, schema: ModelSchema, *, busy: bool) -> list[Field]:
    """Inputs, then how they are sent, then the button."""
    form = draft.form
    fields = [_input(draft, spec) for spec in schema.inputs]
    known = {spec.name for spec in schema.inputs}
    fields += [
        Field(INPUT + name, name, "", text, error="the model has no such input")
        for name, text in form.values.items()
        if name not in known
    ]
    if any(spec.batched for spec in schema.inputs):
        fields.append(
            Field("batch", "batch", f"1 to {schema.max_batch_size}", str(form.batch), error=draft.wrong_batch)
        )
    fields.append(Field("version", "version", "", form.version or "the server's choice", made=not form.version))
    parameters = forms.line_of(form)
    needs = "needs sequence_id=1 sequence_start=true" if schema.sequence_batching else "none"
    fields.append(Field("parameters", "parameters", "", parameters or needs, made=not parameters))
    if can_generate(schema):
        fields.append(Field("way", "send by", "", WAY_WORDS[draft.way], made=draft.way == WAYS[0]))
    if not draft.generates(schema):
        fields.append(Field("load", "load", "", str(draft.load) or "once", made=draft.load.once))
        against = str(draft.against) if draft.against is not None else "nothing"
        fields.append(Field("against", "compare with", "", against, draft.against is None, draft.wrong_against))
    fields.append(Field("send", "[ Send ]" if not busy else "sending, esc stops it", "", ""))
    return fields


def _input(draft: Draft, spec: TensorSpec) -> Field:
    text = draft.form.values.get(spec.name, "")
    if text:
        note = image_note(spec, text)
        value = f"{text}   {note}" if note else text
    elif spec.name in draft.given:
        value = f"out of {draft.given_from}"
    elif spec.optional:
        value = "left out: optional"
    else:
        shape = draft.form.shapes.get(spec.name)
        sizes = f", shape {list(shape)}" if shape else ", free dimensions 1" if -1 in spec.shape[spec.batched :] else ""
        value = f"{draft.form.made}{sizes}"
    kind = f"{spec.datatype} {list(spec.shape)}"
    return Field(INPUT + spec.name, spec.name, kind, value, not text, draft.errors.get(spec.name, ""))
