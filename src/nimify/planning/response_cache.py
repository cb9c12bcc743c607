"""Whether answers are remembered, and how many."""

from __future__ import annotations

from typing import Final

from nimify.analysis.analysis import Analysis
from nimify.config import ResponseCacheConfig
from nimify.errors import ConfigError
from nimify.findings import Finding, Severity
from nimify.planning.plan import Basis, Decision, asked_or_default

_KEY: Final = "response_cache.size"


def decide_response_cache(analysis: Analysis, asked: ResponseCacheConfig) -> Decision:
    """`response_cache.size`: bytes for answers that are remembered, 0 when none are.

    Raises:
        ConfigError: It was asked for, and this model answers equal requests differently.
    """
    if analysis.random_operators:
        if asked.size is not None:
            raise ConfigError(f"{_why(analysis)}, so no answer may be remembered.", field=_KEY, remedy="Leave it out.")
        return Decision(_KEY, 0, f"Off: {_why(analysis)}.", Basis.DECLARED)
    reason = "Off: whether requests repeat only their owner knows, and answers that are remembered take memory."
    return asked_or_default(_KEY, asked.size, 0, reason)


def randomness_findings(analysis: Analysis) -> list[Finding]:
    """What a person should know of a model whose answers are random."""
    if not analysis.random_operators:
        return []
    why = _why(analysis)
    return [
        Finding(
            "response-cache.random",
            Severity.INFO,
            f"{why[0].upper()}{why[1:]}.",
            "The response cache stays off for this model.",
        )
    ]


def _why(analysis: Analysis) -> str:
    return f"equal requests get different answers, because the model draws random numbers ({_listed(analysis)})"


def _listed(analysis: Analysis) -> str:
    return ", ".join(analysis.random_operators)
