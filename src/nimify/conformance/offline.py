"""Checks of a bundle on disk: every artifact by its real reader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.offline_checks.golden_replay import check_golden_replay
from nimify.conformance.offline_checks.manifest import check_manifest
from nimify.conformance.offline_checks.model_file import check_model_file
from nimify.conformance.offline_checks.openapi_document import check_openapi_document
from nimify.conformance.offline_checks.plan_file import check_plan_file
from nimify.conformance.offline_checks.settings_file import check_settings_file
from nimify.conformance.offline_checks.triton_config import check_triton_config
from nimify.conformance.report import CheckResult, Report, Status, failed
from nimify.errors import NimifyError

OfflineCheck = Callable[[Bundle], CheckResult]

CHECKS: Final[Mapping[str, OfflineCheck]] = {
    "manifest": check_manifest,
    "settings": check_settings_file,
    "plan": check_plan_file,
    "triton-config": check_triton_config,
    "openapi": check_openapi_document,
    "model": check_model_file,
    "golden": check_golden_replay,
}
"""Every check by name, in the order in which they run."""


def validate_bundle(path: Path, *, checks: Mapping[str, OfflineCheck] = CHECKS) -> Report:
    """Check a bundle.

    Args:
        path: Its folder.
        checks: What to check, by name.

    Raises:
        BundleError: The folder is no bundle.
        BundleDamaged: Its manifest cannot be read.
    """
    bundle = Bundle.open(path)
    return Report(str(path), tuple(_run(name, check, bundle) for name, check in checks.items()))


def _run(name: str, check: OfflineCheck, bundle: Bundle) -> CheckResult:
    """A check's result; what stops it is one, too."""
    try:
        return check(bundle)
    except NimifyError as error:
        return CheckResult(name, Status.FAILED, error.message, error.remedy)
    except OSError as error:
        where = f" '{Path(error.filename).name}'" if isinstance(error.filename, str) else ""
        return failed(name, f"A file{where} of the bundle cannot be read ({error.strerror}).")
