"""The form of the pane as lines: each input with what it is filled with, and how the request is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tritonctl.server.files import image_note
from tritonctl.server.generate import can_generate
from tritonctl.workbench import form as forms
from tui.panes.request.fields import Field

if TYPE_CHECKING:
    from tritonctl.server.modelconfig import ModelSchema
    from tritonctl.server.tensors import TensorSpec
    from tui.panes.request.pane import RequestPane

INPUT = "input "
"""Before an input's name, in the key of its field."""
WAYS = ("infer", "generate_stream", "generate")
WAY_WORDS = {
    "infer": "infer",
    "generate_stream": "generate_stream: the text as it comes, over HTTP",
    "generate": "generate: the text at once, over HTTP",
}


def form_fields(pane: RequestPane, schema: ModelSchema) -> list[Field]:
    """Inputs, then how they are sent, then the button."""
    form = pane.form
    fields = [_input(pane, spec) for spec in schema.inputs]
    known = {spec.name for spec in schema.inputs}
    fields += [
        Field(INPUT + name, name, "", text, error="the model has no such input")
        for name, text in form.values.items()
        if name not in known
    ]
    if any(spec.batched for spec in schema.inputs):
        fields.append(Field("batch", "batch", f"1 to {schema.max_batch_size}", str(form.batch)))
    fields.append(Field("version", "version", "", form.version or "the server's choice", made=not form.version))
    parameters = forms.parameters_line(form.parameters)
    needs = "needs sequence_id=1 sequence_start=true" if schema.sequence_batching else "none"
    fields.append(Field("parameters", "parameters", "", parameters or needs, made=not parameters))
    if can_generate(schema):
        fields.append(Field("way", "send by", "", WAY_WORDS[pane.way], made=pane.way == WAYS[0]))
    if not pane.generates:
        fields.append(Field("load", "load", "", str(pane.load) or "once", made=pane.load.once))
        against = str(pane.against) if pane.against is not None else "nothing"
        fields.append(Field("against", "compare with", "", against, made=pane.against is None))
    fields.append(Field("send", "[ Send ]" if not pane.busy else "sending, esc stops it", "", ""))
    return fields


def _input(pane: RequestPane, spec: TensorSpec) -> Field:
    text = pane.form.values.get(spec.name, "")
    if text:
        note = image_note(spec, text)
        value = f"{text}   {note}" if note else text
    elif spec.name in pane.given:
        value = f"out of {pane.given_from}"
    elif spec.optional:
        value = "left out: optional"
    else:
        shape = pane.form.shapes.get(spec.name)
        sizes = f", shape {list(shape)}" if shape else ", free dimensions 1" if -1 in spec.shape[spec.batched :] else ""
        value = f"{pane.form.made}{sizes}"
    kind = f"{spec.datatype} {list(spec.shape)}"
    return Field(INPUT + spec.name, spec.name, kind, value, not text, pane.errors.get(spec.name, ""))
