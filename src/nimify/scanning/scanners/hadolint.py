"""Hadolint: Dockerfiles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nimify.programs import variables
from nimify.scanning.program import report_of
from nimify.scanning.scan import Issue, Kind, Level, Scan, Target, Unscanned

NAME: Final = "hadolint"
# Comments in the target must not count.
_COMMON: Final = ("--no-color", "--no-fail", "--disable-ignore-pragma", "--format", "json")
_LEVELS: Final = {"error": Level.HIGH, "warning": Level.MEDIUM, "info": Level.LOW, "style": Level.LOW}


def scan_misconfiguration(target: Target, timeout_s: float) -> Scan | None:
    """What is wrong with the Dockerfiles of a folder; `None` when it has none."""
    files = dockerfiles(target)
    if target.path is None or not files:
        return None
    root = target.path if target.path.is_dir() else target.path.parent
    rows = report_of(NAME, (*_COMMON, "--", *map(str, files)), timeout_s=timeout_s, without=variables("HADOLINT_"))
    if not isinstance(rows, list):
        raise Unscanned("hadolint wrote a report that is not understood")
    return Scan(Kind.MISCONFIGURATION, NAME, tuple(_issue(row, root) for row in rows))


def dockerfiles(target: Target) -> list[Path]:
    """The Dockerfiles of a folder, sorted."""
    if target.path is None:
        return []
    if target.path.is_file():
        return [target.path] if _is_dockerfile(target.path) else []
    return sorted(path for path in target.path.rglob("*file*") if path.is_file() and _is_dockerfile(path))


def _is_dockerfile(path: Path) -> bool:
    name = path.name.lower()
    return name in {"dockerfile", "containerfile"} or name.startswith("dockerfile.") or name.endswith(".dockerfile")


def _issue(row: Mapping[str, Any], root: Path) -> Issue:
    file = Path(row["file"])
    where = file.relative_to(root) if file.is_relative_to(root) else file
    return Issue(str(row["code"]), _LEVELS[row["level"]], f"{where}:{row['line']}", str(row["message"]))
