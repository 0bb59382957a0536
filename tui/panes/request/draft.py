"""What the form of a test request holds: what is sent, how often, by which way, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tritonctl.server.generate import can_generate
from tritonctl.server.modelconfig import ModelSchema
from tritonctl.workbench.form import Form
from tui.panes.request.comparing import Against
from tui.panes.request.load_line import LoadLine

if TYPE_CHECKING:
    from tritonctl.server.tensors import Tensor

WAYS = ("infer", "generate_stream", "generate")


@dataclass
class Draft:
    """`given` are inputs out of a whole request, `given_from` the file that they came from; `errors` are by input.

    `wrong_batch` and `wrong_against` stand beside those fields."""

    form: Form = field(default_factory=Form)
    load: LoadLine = field(default_factory=LoadLine)
    way: str = WAYS[0]
    against: Against | None = None
    given: Mapping[str, Tensor] = field(default_factory=dict)
    given_from: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    wrong_batch: str = ""
    wrong_against: str = ""

    def generates(self, schema: ModelSchema) -> bool:
        """It is sent by the generate extension."""
        return self.way != WAYS[0] and can_generate(schema)
