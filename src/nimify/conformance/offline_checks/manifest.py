"""Are the generated files what nimify wrote?"""

from __future__ import annotations

from nimify.artifacts.bundle import Bundle
from nimify.conformance.report import CheckResult, failed, passed, warned

_NAME = "manifest"


def check_manifest(bundle: Bundle) -> CheckResult:
    """Compare every file with its digest in manifest.json."""
    missing = bundle.missing_files()
    if missing:
        return failed(
            _NAME, f"Generated files are missing: {', '.join(missing)}.", "Write them again with: nimify create MODEL"
        )
    edited = bundle.edited_files()
    if edited:
        return warned(
            _NAME,
            f"Generated files were changed since nimify wrote them: {', '.join(edited)}.",
            "Move the change to nimify.yaml, and write them again with: nimify create MODEL --force",
        )
    return passed(_NAME, f"All {len(bundle.manifest.files)} generated files match their digests.")
