"""`ServicePlan`: every decision about a service, with its reason. Later stages only carry it out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nimify.analysis.measure import Measurement
from nimify.findings import Finding
from nimify.formats.format import ModelInfo
from nimify.serving.spec import ServiceSpec


class Basis(StrEnum):
    """What a decision rests on."""

    ASKED = "asked for"
    DECLARED = "declared by the model"
    MEASURED = "measured"
    ESTIMATED = "estimated"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision.

    Attributes:
        key: What was decided, named as the setting in nimify.yaml that overrides it where there is one, e.g.
            `batching.max_batch_size`.
        value: What was decided; plain data.
        reason: Whole sentences, e.g. `Made from the model's file name, 'digits.onnx'.`
        basis: What it rests on.
    """

    key: str
    value: Any
    reason: str
    basis: Basis

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"key": self.key, "value": self.value, "reason": self.reason, "basis": str(self.basis)}


def asked_or_default(key: str, asked: Any, default: Any, reason: str) -> Decision:
    """The decision that asks nothing of the model: what was asked for, or else a default for a reason.

    Args:
        key: What is decided.
        asked: What was asked for; `None` when nothing was.
        default: What holds then.
        reason: Why so.
    """
    if asked is not None:
        return Decision(key, asked, "You asked for it.", Basis.ASKED)
    return Decision(key, default, reason, Basis.DEFAULT)


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """The verdict on a wish: what will be served, and why so.

    Attributes:
        model: What the model file says of itself.
        service: Everything that the service must know; read by it at run time.
        decisions: In the order in which they were taken.
        findings: What a person should know, from the model, the analysis and the planning.
        measured: What was measured for it, when that was asked for.
    """

    model: ModelInfo
    service: ServiceSpec
    decisions: tuple[Decision, ...]
    findings: tuple[Finding, ...] = ()
    measured: Measurement | None = None

    def value(self, key: str) -> Any:
        """What was decided under a key.

        Raises:
            KeyError: Nothing was decided under it.
        """
        return {decision.key: decision.value for decision in self.decisions}[key]

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data: the content of plan.json."""
        return {
            "schema_version": 1,
            "service": self.service.to_dict(),
            "decisions": [decision.to_dict() for decision in self.decisions],
            "findings": [finding.to_dict() for finding in self.findings],
            "model": self.model.to_dict(),
            **({} if self.measured is None else {"measured": self.measured.to_dict()}),
        }
