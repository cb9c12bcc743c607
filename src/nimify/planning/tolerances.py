"""How closely a replayed golden request must agree with what was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from nimify.config import GoldenConfig
from nimify.planning.plan import Basis, Decision
from nimify.tensors import Datatype, Signature


@dataclass(frozen=True, slots=True)
class Tolerance:
    """An actual value agrees with an expected one when `|actual - expected| <= atol + rtol * |expected|`.

    Both 0 means that the values must be equal.
    """

    rtol: float
    atol: float


EXACT: Final = Tolerance(0.0, 0.0)

# Floating-point sums depend on the order in which a CPU's vector units add them; these leave room for that, and for
# nothing that would change what a model says. One step of FP16 is 1e-3 of the value, one of BF16 8e-3.
_BY_DATATYPE: Final[Mapping[str, Tolerance]] = {
    "FP16": Tolerance(1e-2, 1e-3),
    "BF16": Tolerance(2e-2, 1e-2),
    "FP32": Tolerance(1e-4, 1e-5),
    "FP64": Tolerance(1e-7, 1e-9),
}


def default_tolerance(datatype: Datatype) -> Tolerance:
    """The tolerance for a datatype; whole numbers, booleans and bytes must be equal."""
    return _BY_DATATYPE.get(datatype.name, EXACT)


def decide_tolerances(signature: Signature, asked: GoldenConfig) -> Decision:
    """`golden.tolerances`: `{"rtol", "atol"}` for each output of the model, by name."""
    value = {spec.name: asdict(_tolerance(spec.datatype, asked)) for spec in signature.outputs}
    if asked.rtol is not None or asked.atol is not None:
        return Decision("golden.tolerances", value, "You asked for it.", Basis.ASKED)
    if any(spec.datatype.is_float for spec in signature.outputs):
        reason = "CPUs add floating-point numbers in different orders; everything else must be equal."
    else:
        reason = "Whole numbers, booleans and bytes must be equal."
    return Decision("golden.tolerances", value, reason, Basis.DEFAULT)


def _tolerance(datatype: Datatype, asked: GoldenConfig) -> Tolerance:
    tolerance = default_tolerance(datatype)
    if not datatype.is_float:
        return tolerance
    return Tolerance(
        tolerance.rtol if asked.rtol is None else asked.rtol,
        tolerance.atol if asked.atol is None else asked.atol,
    )
