"""Does the model still answer as it did when the bundle was made? Asked in a guarded child process."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from nimify.analysis.guarded import GuardLimits, run_guarded
from nimify.artifacts.bundle import Bundle
from nimify.conformance.report import CheckResult, Status, failed, skipped

_NAME = "golden"
# -P: the folder in which the child works must not be searched for modules.
_COMMAND: Final = (sys.executable, "-P", "-m", "nimify.conformance.replay")


def check_golden_replay(bundle: Bundle) -> CheckResult:
    """Run every golden request in the embedded engine, and compare the answers."""
    service, golden = bundle.service, bundle.golden()
    if golden is None or not golden.cases:
        return skipped(_NAME, "The bundle has no golden requests.", "Record some with: nimify create MODEL")
    if golden.model_digest != service.model_digest:
        return failed(_NAME, "The golden requests were recorded for another model.", "Run: nimify create MODEL --force")
    with tempfile.TemporaryDirectory(prefix="nimify-replay-") as folder:
        result = run_guarded(
            _COMMAND,
            {"bundle": str(bundle.path.absolute())},
            folder=Path(folder),
            source=Path(service.model_file).name,
            limits=GuardLimits.for_model(sum(file.size_bytes for file in service.model_files)),
        )
    try:
        return CheckResult(_NAME, Status(result["status"]), str(result["message"]), str(result["remedy"]))
    except (KeyError, ValueError):
        return failed(_NAME, "The replay ended with a result that makes no sense.")
