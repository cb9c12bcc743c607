"""ONNX Runtime on the CPU: the embedded engine."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

# The Linux wheel brings a telemetry client that starts with the import and leaves a file in the temporary folder.
# A user who wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from nimify.errors import ModelError, UnsupportedModel, one_line, shortened
from nimify.serving.engines.allocation import freed_memory_returned
from nimify.serving.engines.engine import Array, EngineRefused
from nimify.tensors import DATATYPES, Datatype, Dim, Signature, TensorSpec

# ONNX Runtime's own names of element types, as `NodeArg.type` gives them: "tensor(float)".
_ORT_NAMES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}
_BF16 = DATATYPES["BF16"]

# "[ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from x failed:This is an invalid model. ..."
_PREAMBLE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:Load model from .*? failed: ?)?(?:This is an invalid model\. )?", re.DOTALL
)
_SOURCE_LINE = re.compile(r"/?[\w./+-]+\.(?:cc|cpp|h|hpp):\d+ ")
# 'In Node, ("name", Operator, "domain", -1) : ("x": tensor(float),) -> ("y": ...) , Error what is wrong'
_NODE = re.compile(
    r'^In Node, \("(?P<node>.*?)", (?P<op>\S*?), "(?P<domain>.*?)", -?\d+\) : .* , Error (?P<what>.*)$', re.DOTALL
)
_LONGEST_CAUSE = 400


class OnnxRuntimeEngine:
    """One ONNX Runtime session on the CPU."""

    def __init__(self, session: ort.InferenceSession, source: str) -> None:
        self._session: Any = session
        self.signature = Signature(
            inputs=tuple(_spec(node, source) for node in session.get_inputs()),
            outputs=tuple(_spec(node, source) for node in session.get_outputs()),
        )
        specs = (*self.signature.inputs, *self.signature.outputs)
        # numpy has no BF16, so ONNX Runtime's plain `run` cannot carry it; strings need `str` objects there.
        self._has_bf16 = any(spec.datatype is _BF16 for spec in specs)
        self._strings_in = tuple(s.name for s in self.signature.inputs if s.datatype.name == "BYTES")
        self._has_strings_out = any(spec.datatype.name == "BYTES" for spec in self.signature.outputs)
        # The public wrapper's argument checks cost as much as a small model; ours were done before.
        self._run = session._sess.run

    @classmethod
    def load(cls, model_file: Path, *, threads: int) -> Self:
        """Load an ONNX file; see `EngineType.load`."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Spinning workers would take the cores from the front end, which shares them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            with freed_memory_returned():
                session = ort.InferenceSession(str(model_file), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(
                model_file.name,
                f"ONNX Runtime {ort.__version__} cannot load it: {ort_cause(error, model_file)}",
                remedy="Check it with onnx.checker, or export it again for this version.",
            ) from error
        engine = cls(session, model_file.name)
        if engine._has_bf16 and engine._strings_in:
            raise UnsupportedModel(
                model_file.name, "it takes text and has BF16 tensors; ONNX Runtime cannot be given both at once."
            )
        return engine

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run the model once; see `Engine.run`."""
        try:
            if self._has_bf16:
                return self._run_with_values(inputs, outputs)
            if self._strings_in:
                inputs = {**inputs, **{name: _as_text(inputs[name]) for name in self._strings_in}}
            results: list[Array] = self._run(outputs, inputs, None)
        except Exception as error:
            raise EngineRefused(one_line(str(error))) from error
        return [_as_bytes(result) for result in results] if self._has_strings_out else results

    def _run_with_values(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """The slow way round, for models that take or give BF16."""
        datatypes = {spec.name: spec.datatype for spec in self.signature.inputs}
        feeds = {
            name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BF16.onnx)
            if datatypes[name] is _BF16
            else ort.OrtValue.ortvalue_from_numpy(array)
            for name, array in inputs.items()
        }
        values = self._session.run_with_ort_values(list(outputs), feeds)
        return [_as_array(value) for value in values]

    def close(self) -> None:
        """Drop the session."""
        self._session = self._run = None


def ort_cause(error: Exception, model_file: Path) -> str:
    """What ONNX Runtime says, in one short line and without the folder of the model."""
    text = str(error).replace(str(model_file.parent) + "/", "").replace(str(model_file), model_file.name)
    sentence = _without_place_in_source(_PREAMBLE.sub("", text.strip()))
    if found := _NODE.match(sentence):
        operator = f"{found['domain']}::{found['op']}" if found["domain"] else found["op"]
        node = f" of node '{found['node']}'" if found["node"] else ""
        sentence = f"{found['what']} (operator {operator}{node})"
    return shortened(one_line(sentence), _LONGEST_CAUSE)


def _without_place_in_source(text: str) -> str:
    """The sentence behind the file, line and signature of the C++ function that refused, which may be long."""
    if not _SOURCE_LINE.match(text):
        return text
    depth = 0
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        is_end = character == ")" and depth == 0 and text[position + 1 : position + 2] != "("  # operator()(...)
        if is_end and (sentence := text[position + 1 :].removeprefix(" const").strip()):
            return sentence
    return text


def _spec(node: Any, source: str) -> TensorSpec:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _ORT_NAMES:
        name = shortened(one_line(node.name))
        raise UnsupportedModel(source, f"'{name}' is {node.type}; only dense tensors of served types are supported.")
    return TensorSpec(node.name, DATATYPES[_ORT_NAMES[kind]], tuple(_dim(dim) for dim in node.shape))


def _dim(dim: Any) -> Dim:
    # ONNX Runtime gives a name for a symbolic axis, None for a free one, and a number for a fixed one.
    return dim if isinstance(dim, int) and dim >= 0 else dim or None if isinstance(dim, str) else None


def _as_text(array: Array) -> Array:
    """BYTES elements as ONNX Runtime wants them: ONNX strings are UTF-8."""
    flat = [item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in array.ravel().tolist()]
    text = np.empty(len(flat), dtype=object)
    text[:] = flat
    return text.reshape(array.shape)


def _as_bytes(array: Array) -> Array:
    """String results as BYTES elements; other results as they are."""
    if not array.dtype.hasobject:
        return array
    flat = [item.encode("utf-8") if isinstance(item, str) else bytes(item) for item in array.ravel().tolist()]
    result = np.empty(len(flat), dtype=object)
    result[:] = flat
    return result.reshape(array.shape)


def _as_array(value: Any) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        return _as_bytes(value.numpy())
    shape = tuple(value.shape())
    size = int(np.prod(shape, dtype=np.int64)) * _BF16.itemsize
    return np.frombuffer(ctypes.string_at(value.data_ptr(), size), dtype=_BF16.storage).reshape(shape)


def served_datatypes() -> tuple[Datatype, ...]:
    """The datatypes that this engine takes and gives."""
    return tuple(DATATYPES[name] for name in _ORT_NAMES.values())
