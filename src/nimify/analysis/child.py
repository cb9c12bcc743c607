"""The child's half of `guarded.py`: takes a job from standard input, and leaves its result or its error in a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nimify.analysis.guarded import RESULT_FILE
from nimify.errors import ModelError, NimifyError, UnsupportedModel
from nimify.serving.parent import die_with_parent


def run_as_child(carry_out: Callable[[Mapping[str, Any], Path], dict[str, Any]]) -> None:
    """Read a job from standard input, carry it out, and write the result file into the working folder."""
    die_with_parent()
    folder = Path.cwd()
    try:
        result = carry_out(json.load(sys.stdin), folder)
    except (NimifyError, MemoryError) as error:
        result = {"error": _error(error)}
    (folder / RESULT_FILE).write_text(json.dumps(result), encoding="utf-8")


def _error(error: Exception) -> dict[str, Any]:
    if isinstance(error, ModelError):
        supported = not isinstance(error, UnsupportedModel)
        return {"cause": error.cause, "remedy": error.remedy, "supported": supported}
    if isinstance(error, NimifyError):
        return {"cause": error.message, "remedy": error.remedy, "supported": True}
    return {"cause": "its trial run needs more memory than it may have.", "remedy": "", "supported": True}
