"""Checks of a bundle on disk: every artifact by its real reader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.containment import check_contained
from nimify.conformance.offline_checks.chart import check_chart
from nimify.conformance.offline_checks.chart_values import check_chart_values
from nimify.conformance.offline_checks.compose_file import check_compose_file
from nimify.conformance.offline_checks.dockerfiles import check_dockerfiles
from nimify.conformance.offline_checks.golden_replay import check_golden_replay
from nimify.conformance.offline_checks.kube_linter import check_kube_linter
from nimify.conformance.offline_checks.kube_score import check_kube_score
from nimify.conformance.offline_checks.kubernetes_schemas import check_kubernetes_schemas
from nimify.conformance.offline_checks.manifest import check_manifest
from nimify.conformance.offline_checks.model_file import check_model_file
from nimify.conformance.offline_checks.monitoring import check_monitoring
from nimify.conformance.offline_checks.openapi_document import check_openapi_document
from nimify.conformance.offline_checks.plan_file import check_plan_file
from nimify.conformance.offline_checks.settings_file import check_settings_file
from nimify.conformance.offline_checks.triton_config import check_triton_config
from nimify.conformance.offline_checks.trivy import check_trivy
from nimify.conformance.readers import end_readers
from nimify.conformance.report import CheckResult, Report, Status, failed
from nimify.errors import ConfigError, NimifyError

OfflineCheck = Callable[[Bundle], CheckResult | None]
"""`None`: the bundle has nothing that the check is about."""

CHECKS: Final[Mapping[str, OfflineCheck]] = {
    "manifest": check_manifest,
    "settings": check_settings_file,
    "plan": check_plan_file,
    "triton-config": check_triton_config,
    "openapi": check_openapi_document,
    "dockerfiles": check_dockerfiles,
    "chart-values": check_chart_values,
    "chart": check_chart,
    "kubernetes": check_kubernetes_schemas,
    "kube-score": check_kube_score,
    "kube-linter": check_kube_linter,
    "trivy": check_trivy,
    "compose": check_compose_file,
    "monitoring": check_monitoring,
    "model": check_model_file,
    "golden": check_golden_replay,
}
"""Every check by name, in the order of the report."""
_WAITING: Final = frozenset(
    {
        *("dockerfiles", "chart-values", "chart", "kubernetes", "kube-score", "kube-linter", "trivy", "compose"),
        "monitoring",
    }
)
"""Checks that wait for programs of others, so several of them run at once, beside those that run here."""
_AT_ONCE: Final = 4


def chosen_checks(names: Collection[str]) -> dict[str, OfflineCheck]:
    """Some of the checks, in the order of the report; all of them for no names.

    Raises:
        ConfigError: There is no check of that name.
    """
    unknown = sorted(set(names) - CHECKS.keys())
    if unknown:
        raise ConfigError(
            f"There is no check '{unknown[0]}'.", remedy=f"The checks of a bundle are: {', '.join(CHECKS)}."
        )
    return {name: check for name, check in CHECKS.items() if not names or name in names}


def validate_bundle(path: Path, *, checks: Mapping[str, OfflineCheck] = CHECKS) -> Report:
    """Check a bundle.

    Args:
        path: Its folder.
        checks: What to check, by name.

    Raises:
        BundleError: The folder is no bundle.
        BundleDamaged: Its manifest cannot be read, or reading it would lead out of it.
    """
    check_contained(path)
    bundle = Bundle.open(path)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            waiting = {
                name: pool.submit(_run, name, check, bundle) for name, check in checks.items() if name in _WAITING
            }
            here = {name: _run(name, check, bundle) for name, check in checks.items() if name not in _WAITING}
            results = [here[name] if name in here else waiting[name].result() for name in checks]
        except BaseException:  # Ctrl-C, too, must not wait for the programs' deadlines
            pool.shutdown(wait=False, cancel_futures=True)
            end_readers()
            raise
    return Report(str(path), tuple(result for result in results if result is not None))


def _run(name: str, check: OfflineCheck, bundle: Bundle) -> CheckResult | None:
    """A check's result; what stops it is one, too."""
    try:
        return check(bundle)
    except NimifyError as error:
        return CheckResult(name, Status.FAILED, error.message, error.remedy)
    except OSError as error:
        where = f" '{Path(error.filename).name}'" if isinstance(error.filename, str) else ""
        return failed(name, f"A file{where} of the bundle cannot be read ({error.strerror}).")
