"""What a bundle was planned with is kept, so that making it again without measuring does not change it.

A measurement lies in plan.json, with the processor and the ONNX Runtime that it was made with. It counts on every
machine: a bundle is made for where it will run, not for where it is made again. It counts no more once the model or
ONNX Runtime is another one.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from nimify.analysis.analysis import Analysis
from nimify.analysis.measure import Measurement
from nimify.analysis.versions import installed_runtime
from nimify.findings import Finding, Severity
from nimify.serving.spec import PLAN_FILE


def with_kept_measurement(analysis: Analysis, bundle: Path) -> Analysis:
    """The analysis with the measurement that a bundle was planned with, and a finding that says so, or why not."""
    plan = _plan(bundle)
    if not isinstance(plan.get("measured"), dict):
        return analysis
    try:
        measured, digest = Measurement.from_dict(plan["measured"]), str(plan["model"]["digest"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return _noted(analysis, _dropped("the measurement in plan.json makes no sense"))
    if digest != analysis.model.digest:
        return _noted(analysis, _dropped("the model is another one"))
    if measured.runtime != installed_runtime():
        return _noted(analysis, _dropped("ONNX Runtime is another one"))
    return _noted(replace(analysis, measured=measured), _kept(measured))


def _plan(bundle: Path) -> dict[str, Any]:
    """The plan that lies there; empty when none can be read, as everything is then made anew."""
    try:
        plan = json.loads((bundle / PLAN_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return plan if isinstance(plan, dict) else {}


def _noted(analysis: Analysis, finding: Finding) -> Analysis:
    return replace(analysis, surroundings=(*analysis.surroundings, finding))


def _kept(measured: Measurement) -> Finding:
    return Finding(
        "measure.kept",
        Severity.INFO,
        f"The plan rests on what was measured earlier, on {measured.machine} with ONNX Runtime {measured.runtime}.",
        "Measure again with --measure, or go back to estimates with --no-measure.",
    )


def _dropped(cause: str) -> Finding:
    return Finding(
        "measure.outdated",
        Severity.WARNING,
        f"The bundle was planned with a measurement that counts no more, because {cause}; the plan rests on estimates.",
        "Measure again with --measure.",
    )
