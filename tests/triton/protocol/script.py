"""The script that every client runs against both servers: what it asks, in no client's words.

Imports nothing, so that it runs in every client's environment. A client does what it can; what it cannot say is left
out of its run on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Tensor:
    """An input as the client is told to send it.

    Attributes:
        elements: Flat, in row-major order; `bytes` for BYTES.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: tuple[Any, ...]


@dataclass(frozen=True)
class Wanted:
    """An output that is asked for."""

    name: str
    classes: int = 0


@dataclass(frozen=True)
class Step:
    """One question.

    Attributes:
        method: What is asked; see the clients.
        names: The model, and the version where it is named.
        inputs: Of an inference.
        outputs: Of an inference; all when empty.
        options: Further arguments of an inference, as the clients of Triton call them.
    """

    method: str
    names: tuple[str, ...] = ()
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Wanted, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


X: Final = Tensor("x", "FP32", (1, 4), (1.0, 2.0, 3.0, 4.0))


def _infer(*inputs: Tensor, model: str = "tiny", version: str = "", **rest: Any) -> Step:
    outputs = tuple(rest.pop("outputs", ()))
    return Step("infer", (model, version), inputs, outputs, rest)


def _x(shape: tuple[int, ...], count: int, **fields: Any) -> Tensor:
    return Tensor(**{"name": "x", "datatype": "FP32", **fields}, shape=shape, elements=tuple(map(float, range(count))))


_ABOUT: Final = {
    "server live": Step("live"),
    "server ready": Step("ready"),
    "server metadata": Step("server_metadata"),
    "unknown model: ready": Step("model_ready", ("nope", "")),
    "unknown version: ready": Step("model_ready", ("tiny", "9")),
    "unknown model: metadata": Step("model_metadata", ("nope", "")),
    "unknown version: metadata": Step("model_metadata", ("tiny", "9")),
    "unknown model: config": Step("config", ("nope", "")),
    "unknown version: config": Step("config", ("tiny", "9")),
    "unknown model: statistics": Step("statistics", ("nope", "")),
    "unknown version: statistics": Step("statistics", ("tiny", "9")),
    "repository index": Step("index"),
    "load a model": Step("load", ("tiny",)),
    "unload a model": Step("unload", ("tiny",)),
    "system shared memory: status": Step("system_memory_status"),
    "system shared memory: register": Step("system_memory_register"),
    "system shared memory: unregister": Step("system_memory_unregister"),
    "CUDA shared memory: status": Step("cuda_memory_status"),
    "CUDA shared memory: unregister": Step("cuda_memory_unregister"),
    "trace settings: read": Step("trace_settings"),
    "log settings: read": Step("log_settings"),
}
_TINY: Final = {
    "infer": _infer(X),
    "infer: version named": _infer(X, version="1"),
    "infer: with an id": _infer(X, request_id="a-b_c"),
    "infer: chosen output": _infer(X, outputs=[Wanted("y")]),
    "infer: three rows": _infer(_x((3, 4), 12)),
    "infer: the most rows": _infer(_x((32, 4), 128)),
    "infer: own parameter": _infer(X, parameters={"tenant": "a", "level": 3, "quick": True}),
    "infer: reserved parameter": _infer(X, parameters={"triton_x": 1}),
    "priority": _infer(X, priority=1),
    "timeout that does not pass": _infer(X, timeout=30_000_000),
    "sequence: start": _infer(X, sequence_id=7, sequence_start=True),
    "sequence: end": _infer(X, sequence_id=7, sequence_end=True),
    "sequence: text id": _infer(X, sequence_id="seven", sequence_start=True),
    "classification: one": _infer(X, outputs=[Wanted("y", 1)]),
    "classification: two of two rows": _infer(_x((2, 4), 8), outputs=[Wanted("y", 2)]),
    "classification: more than there are": _infer(X, outputs=[Wanted("y", 9)]),
    "unknown model": _infer(X, model="nope"),
    "unknown version": _infer(X, version="9"),
    "version that is no number": _infer(X, version="latest"),
    "unknown input": _infer(_x((1, 4), 4, name="z")),
    "an input too many": _infer(X, _x((1, 4), 4, name="z")),
    "duplicate input": _infer(X, X),
    "wrong datatype": _infer(Tensor("x", "INT32", (1, 4), (1, 2, 3, 4))),
    "wrong shape": _infer(_x((1, 3), 3)),
    "wrong rank": _infer(_x((4,), 4)),
    "a row too many": _infer(_x((33, 4), 132)),
    "no rows": _infer(_x((0, 4), 0)),
    "unknown output": _infer(X, outputs=[Wanted("z")]),
    "duplicate output": _infer(X, outputs=[Wanted("y"), Wanted("y")]),
}
_TEXTS: Final = (b"alpha", b"", "grün".encode(), b"a\0b")
_INTEGERS: Final = {
    f"{sign}INT{bits}": (low, 1, high)
    for bits in (8, 16, 32, 64)
    for sign, low, high in (("", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1), ("U", 0, 2**bits - 1))
}
EVERY_TYPE: Final = {
    "BOOL": (True, False, True),
    **_INTEGERS,
    "FP32": (-1.5, 0.0, 3.0e38),
    "FP64": (-1.5, 0.0, 1.0e308),
    "BYTES": (b"alpha", b"", "grün".encode()),
}
"""Elements of every datatype that also travels typed in gRPC; FP16 has a model of its own."""
_ALL_TYPES: Final = tuple(
    Tensor(name.lower(), name, (1, len(elements)), elements) for name, elements in EVERY_TYPE.items()
)


def _about(model: str) -> dict[str, Step]:
    return {
        "model ready": Step("model_ready", (model, "1")),
        "model metadata": Step("model_metadata", (model, "")),
        "config": Step("config", (model, "")),
    }


def _pixels(rows: int) -> Tensor:
    return Tensor("pixels", "FP32", (rows, 64), tuple(number % 7 / 7 for number in range(rows * 64)))


LABELS: Final = [f"digit {number}" for number in range(10)]
"""What the classes of `digits` are called."""
SCRIPT: Final[dict[str, dict[str, Step]]] = {
    "tiny": {
        **_ABOUT,
        **_about("tiny"),
        **_TINY,
        "statistics": Step("statistics", ("tiny", "")),
    },
    "strings": {
        **{f"strings: {name}": step for name, step in _about("strings").items()},
        "strings: infer": _infer(Tensor("word", "BYTES", (4, 1), _TEXTS), model="strings"),
        "strings: chosen output": _infer(
            Tensor("word", "BYTES", (1, 1), (b"beta",)), model="strings", outputs=[Wanted("code")]
        ),
        "strings: classification of numbers": _infer(
            Tensor("word", "BYTES", (1, 1), (b"beta",)), model="strings", outputs=[Wanted("code", 1)]
        ),
        "strings: missing input": _infer(model="strings"),
        "strings: numbers instead": _infer(Tensor("word", "INT64", (1, 1), (1,)), model="strings"),
    },
    "several-outputs": {
        **{f"several outputs: {name}": step for name, step in _about("several-outputs").items()},
        "several outputs: all": _infer(X, model="several-outputs"),
        "several outputs: two in another order": _infer(
            X, model="several-outputs", outputs=[Wanted("total"), Wanted("doubled")]
        ),
        "several outputs: one as classes": _infer(
            X, model="several-outputs", outputs=[Wanted("doubled", 2), Wanted("best")]
        ),
        "several outputs: classes of a number": _infer(X, model="several-outputs", outputs=[Wanted("best", 1)]),
    },
    "fixed-batch": {
        **{f"no batching: {name}": step for name, step in _about("fixed-batch").items()},
        "no batching: infer": _infer(X, model="fixed-batch"),
        "no batching: classification": _infer(X, model="fixed-batch", outputs=[Wanted("y", 2)]),
        "no batching: two rows": _infer(_x((2, 4), 8), model="fixed-batch"),
        "no batching: no rows": _infer(_x((0, 4), 0), model="fixed-batch"),
        "no batching: statistics": Step("statistics", ("fixed-batch", "")),
    },
    "fp16": {
        **{f"FP16: {name}": step for name, step in _about("fp16").items()},
        "FP16: infer": _infer(Tensor("x", "FP16", (1, 8), (-1.5, 0.0, 1.0, 2.0, 0.5, 6e-8, 100.0, 4.0)), model="fp16"),
        "FP16: classification": _infer(
            Tensor("x", "FP16", (2, 8), tuple(float(n) for n in range(16))), model="fp16", outputs=[Wanted("y", 2)]
        ),
    },
    "digits": {
        "labels: one": _infer(_pixels(1), model="digits", outputs=[Wanted("logits", 1)]),
        "labels: all": _infer(_pixels(2), model="digits", outputs=[Wanted("logits", 10)]),
    },
    "every-type": {
        **{f"every type: {name}": step for name, step in _about("every-type").items()},
        "every type: infer": _infer(*_ALL_TYPES, model="every-type"),
        "every type: no elements": _infer(
            *(Tensor(name.lower(), name, (1, 0), ()) for name in EVERY_TYPE), model="every-type"
        ),
        "every type: missing input": _infer(*_ALL_TYPES[1:], model="every-type"),
        "every type: rows that differ": _infer(
            Tensor("bool", "BOOL", (2, 3), (True,) * 6), *_ALL_TYPES[1:], model="every-type"
        ),
    },
}
"""The steps by the model that they are about, in order: statistics count what came before."""
