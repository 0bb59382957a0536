"""The request that the options of `infer` make, after the model's schema."""

from __future__ import annotations

from argparse import Namespace

from tritonctl.errors import UsageError
from tritonctl.server.files import image_note
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.server.request import InferenceRequest, Parameter, check_request
from tritonctl.server.tensors import Tensor
from tritonctl.server.typed import find_spec, split_assignment, values_of
from tritonctl.workbench import form as forms
from tritonctl.workbench.form import Form, Made
from tritonctl.workbench.history import History
from tui.commands import text
from tui.commands.streams import say


def form_of(arguments: Namespace, history: History) -> Form:
    """The form that the options make; with --last they change what was sent last. Raises UsageError."""
    before = history.last(arguments.model) if arguments.last else Form()
    if before is None:
        raise UsageError(f"infer {arguments.model} --last", "nothing was sent to this model from here yet")
    kind = "zeros" if arguments.zeros else "ones" if arguments.ones else "random"
    between = forms.parse_range(arguments.range) if arguments.range else None
    made = Made(kind, arguments.seed, between)
    given = (Made(), 1) != (made, arguments.batch)
    return Form(
        {**before.values, **values_of(arguments.input)},
        made if given or not arguments.last else before.made,
        {**before.shapes, **dict(forms.shape_assignment(each) for each in arguments.shape)},
        arguments.batch if given or not arguments.last else before.batch,
        arguments.model_version or before.version,
        {**before.parameters, **_parameters(arguments)},
        arguments.request_id or before.request_id,
    )


def check_fits(arguments: Namespace, shape: ModelSchema) -> None:
    """Raises UsageError for options that this model's own schema leaves no room for: they would be ignored."""
    if arguments.batch > 1 and not any(spec.batched for spec in shape.inputs):
        raise UsageError(
            f"infer {shape.name} --batch {arguments.batch}",
            "the model takes no batch: its max_batch_size is 0",
            "give a size with --shape where a dimension is free",
        )
    for name, datatype in (split_assignment(each) for each in arguments.datatype):
        spec = find_spec(shape.inputs, name)
        if datatype.upper() != spec.datatype:
            raise UsageError(
                f"infer {shape.name} --datatype {name}={datatype}",
                f"the model says that it is {spec.datatype}",
                "leave the option out: it is for servers that do not tell",
            )


def _parameters(arguments: Namespace) -> dict[str, Parameter]:
    found = dict(forms.parse_parameter(each) for each in arguments.parameter)
    if arguments.sequence_id is not None:
        text_id: str = arguments.sequence_id
        found["sequence_id"] = int(text_id) if text_id.isdigit() else text_id
    for name in ("sequence_start", "sequence_end"):
        if getattr(arguments, name):
            found[name] = True
    if arguments.priority:
        found["priority"] = arguments.priority
    if arguments.queue_timeout:
        found["timeout"] = arguments.queue_timeout
    return found


def request_of(form: Form, shape: ModelSchema, arguments: Namespace) -> tuple[InferenceRequest, bool]:
    """The request, and whether the form says all of it. Raises UsageError, of several wrong inputs with all of them."""
    given: dict[str, Tensor] = {}
    parameters: dict[str, Parameter] = {}
    request_id = ""
    if arguments.request is not None:
        from tritonctl.workbench import request_file

        given, parameters, request_id = request_file.read(arguments.request, shape)
    filled = forms.fill(form, shape, given)
    errors = filled.all_errors
    if len(errors) > 1:
        raise UsageError("", "\n".join(f"{each.tried}: {each.answer}" for each in errors), errors[0].advice)
    if errors:
        raise errors[0]
    for spec in shape.inputs:
        if note := image_note(spec, form.values.get(spec.name, "")):
            say(f"{text.clean(spec.name)}: {text.clean(note)}")
    form = forms.with_parameters(form, {**parameters, **form.parameters}, form.request_id or request_id)
    request = forms.as_request(form, shape, filled.tensors)
    check_request(request, shape.inputs)
    return request, arguments.request is None
