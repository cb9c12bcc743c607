"""All scans of a target: our own of the model's files, and those of every scanner that is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from nimify.errors import one_line, shortened
from nimify.scanning.model_files import scan_models
from nimify.scanning.program import installed
from nimify.scanning.scan import Kind, Scan, Scanner, Target, Unscanned
from nimify.scanning.scanners import grype, hadolint, trivy

_SCANNERS: Final[dict[Kind, tuple[tuple[str, Scanner], ...]]] = {
    Kind.VULNERABILITIES: ((trivy.NAME, trivy.scan_vulnerabilities), (grype.NAME, grype.scan_vulnerabilities)),
    Kind.MISCONFIGURATION: (
        (trivy.NAME, trivy.scan_misconfiguration),
        (hadolint.NAME, hadolint.scan_misconfiguration),
    ),
}


def scan(
    target: Target,
    kinds: Sequence[Kind] = tuple(Kind),
    *,
    timeout_s: float,
    tell: Callable[[str], None] = lambda _: None,
) -> list[Scan]:
    """Scan a target in every way that is asked for and applies to it.

    Args:
        target: What to scan.
        kinds: What to look for. Of an image, only the packages are looked at.
        timeout_s: How long each scanner may take.
        tell: Told what is scanned, in one line.
    """
    scans = []
    if Kind.MODEL in kinds and target.path is not None:
        tell("Looking through the files for formats that run code")
        scans.append(scan_models(target.path))
    for kind in (Kind.VULNERABILITIES, Kind.MISCONFIGURATION):
        if kind in kinds and (kind is Kind.VULNERABILITIES or target.path is not None):
            scans += _with_all(kind, target, timeout_s, tell)
    return scans


def _with_all(kind: Kind, target: Target, timeout_s: float, tell: Callable[[str], None]) -> Iterator[Scan]:
    """A scan by each scanner of a kind that is installed; one that says that there is none."""
    found = [(name, scanner) for name, scanner in _SCANNERS[kind] if installed(name)]
    if not found:
        names = " or ".join(name for name, _ in _SCANNERS[kind])
        yield Scan(kind, names, not_scanned=f"neither is installed: {names}")
    for name, scanner in found:
        tell(f"Scanning for {kind} with {name}")
        if (result := _guarded(kind, name, scanner, target, timeout_s)) is not None:
            yield result
    if found and kind is Kind.MISCONFIGURATION and not installed(trivy.NAME) and _has_chart(target):
        yield Scan(kind, trivy.NAME, not_scanned="trivy is not installed, and only it reads charts")


def _has_chart(target: Target) -> bool:
    return target.path is not None and any(target.path.rglob("Chart.yaml"))


def _guarded(kind: Kind, name: str, scanner: Scanner, target: Target, timeout_s: float) -> Scan | None:
    try:
        return scanner(target, timeout_s)
    except Unscanned as error:
        return Scan(kind, name, not_scanned=str(error))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        # A report of another shape than the one that is known: what it says cannot be trusted to be all.
        what = shortened(one_line(f"{type(error).__name__}: {error}"), 100)
        return Scan(kind, name, not_scanned=f"{name} wrote a report that is not understood ({what})")
