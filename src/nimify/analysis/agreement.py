"""Whether an engine sees the same signature in a model as its file declares."""

from __future__ import annotations

from nimify.errors import ModelError, shortened
from nimify.tensors import Signature, TensorSpec


def check_agreement(declared: Signature, engine: Signature, source: str) -> None:
    """Compare what a file declares with what an engine reports.

    The engine may know more: a length that the file leaves free may be fixed for it. It must not know otherwise.

    Raises:
        ModelError: They contradict each other; names the tensor.
    """
    _check(declared.inputs, engine.inputs, "input", source)
    _check(declared.outputs, engine.outputs, "output", source)


def _check(declared: tuple[TensorSpec, ...], engine: tuple[TensorSpec, ...], role: str, source: str) -> None:
    seen = {spec.name: spec for spec in engine}
    for spec in declared:
        other = seen.pop(spec.name, None)
        if other is None:
            raise ModelError(source, f"the engine does not find its {role} '{shortened(spec.name)}'.")
        if spec.datatype is not other.datatype:
            raise _contradiction(spec, role, spec.datatype.name, other.datatype.name, source)
        if not _compatible(spec, other):
            raise _contradiction(spec, role, str(spec.protocol_shape), str(other.protocol_shape), source)
    for name in seen:
        raise ModelError(source, f"the engine finds an {role} '{shortened(name)}' that the graph does not declare.")


def _compatible(declared: TensorSpec, engine: TensorSpec) -> bool:
    if len(declared.shape) != len(engine.shape):
        return False
    return all(
        one == other or not (isinstance(one, int) and isinstance(other, int))
        for one, other in zip(declared.shape, engine.shape, strict=True)
    )


def _contradiction(spec: TensorSpec, role: str, declared: str, found: str, source: str) -> ModelError:
    return ModelError(
        source,
        f"it declares {role} '{shortened(spec.name)}' as {declared}, and the engine finds {found}.",
        remedy="Run onnx.shape_inference on it, or export it again.",
    )
