"""What an inference request of a platform is written in, where one route takes several forms.

The forms differ in what `inputs` is: an object to `/v1/infer`, a list to the Open Inference Protocol; Vertex AI has
`instances` in its place. A body is not parsed for that: its keys are looked at until one of them tells, and only near
its beginning, so that a hostile body costs no more than a short one.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from nimify.serving.http.messages import Body

LOOKED_AT_BYTES: Final = 4096
"""How far the key that tells may be from the beginning."""
_TOKEN: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"|[\[\]{}]')
_VALUE: Final = re.compile(rb"\s*:\s*(.)", re.DOTALL)


class Form(Enum):
    """How tensors are written."""

    TYPED = auto()
    """As `/v1/infer` takes them; also what is none of these, so that its error says what is expected."""
    TENSORS = auto()
    """As the Open Inference Protocol has them in JSON."""
    INSTANCES = auto()
    """Row by row, as Vertex AI sends them."""


def form_of(body: Body) -> Form:
    """The form of a body in JSON."""
    text = bytes(body[:LOOKED_AT_BYTES])
    depth = 0
    for token in _TOKEN.finditer(text):
        if token[1] is None:
            depth += 1 if token[0] in b"[{" else -1
        elif depth == 1 and token[1] in (b"inputs", b"instances"):
            value = _VALUE.match(text, token.end())
            if value is None:
                continue  # a string that is no key
            if token[1] == b"instances":
                return Form.INSTANCES
            return Form.TENSORS if value[1] == b"[" else Form.TYPED
    return Form.TYPED
