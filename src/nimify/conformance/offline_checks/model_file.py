"""Is the model still the one that the plan was made for?"""

from __future__ import annotations

from nimify.artifacts.bundle import Bundle, fingerprint
from nimify.artifacts.manifest import ManifestFile
from nimify.conformance.report import CheckResult, failed, passed
from nimify.formats.detect import detect

_NAME = "model"
_AGAIN = "Restore the file, or write the bundle again with: nimify create MODEL --force"


def check_model_file(bundle: Bundle) -> CheckResult:
    """Compare the model files with their digests, and the signature in the file with the plan's."""
    service = bundle.service
    for file in service.model_files:
        found = fingerprint(bundle.path / file.path)
        if found is None:
            return failed(_NAME, f"The model file '{file.path}' is missing.", _AGAIN)
        if found != ManifestFile(file.sha256, file.size_bytes):
            return failed(_NAME, f"The model file '{file.path}' does not match its digest.", _AGAIN)
    path = bundle.path / service.model_file
    if detect(path).read(path, digest=False).signature != service.signature:
        return failed(_NAME, "The model file has other inputs or outputs than the plan says.", _AGAIN)
    return passed(_NAME, "The model still has the digest and the signature that the plan was made for.")
