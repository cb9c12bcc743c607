"""Which runtimes load the model."""

from __future__ import annotations

from typing import Final

from nimify.analysis.versions import ReleaseFit, VersionReport
from nimify.reports.blocks import badge, card, note, table, verdict
from nimify.reports.markup import Markup, element, plain

_MOST_RELEASES: Final = 8
_LONGEST: Final = 400


def versions_section(report: VersionReport | None) -> Markup | None:
    """ONNX Runtime here, and each release of Triton."""
    if report is None:
        return None
    rows = [
        (release.tag, _fit(release), plain(release.reason, _LONGEST)) for release in report.releases[:_MOST_RELEASES]
    ]
    more = len(report.releases) - len(rows)
    return card(
        "Versions",
        element("p", _here(report), f" {plain(report.reason, _LONGEST)}"),
        element("p", f"What to do: {plain(report.remedy, _LONGEST)}") if report.remedy else None,
        table(("Triton", "", "Why"), rows),
        note(f"{more} older releases are in the table as well.") if more > 0 else None,
        lead=_lead(report),
    )


def _here(report: VersionReport) -> Markup:
    if report.runs_here is None:
        return badge("unknown here", "partly")
    return verdict(report.runs_here, "loads here" if report.runs_here else "does not load here")


def _fit(release: ReleaseFit) -> Markup:
    if release.fits is None:
        return badge("unknown", "partly")
    if not release.fits:
        return verdict(False, "does not fit")
    return verdict(True, "fits") if release.trust == "known" else badge("should fit", "partly")


def _lead(report: VersionReport) -> str:
    if report.newest_release is None:
        return "No release of Triton in the table is known to load this model."
    if report.newest_known is None:
        return f"Triton {report.newest_release} should load this model; its ONNX Runtime is not known."
    newer = "" if report.newest_release == report.newest_known else f", and {report.newest_release} should do so too"
    return f"Triton {report.newest_known} is the newest release that is known to load this model{newer}."
