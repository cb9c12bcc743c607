"""A bundle as it would be with other settings: the same files, but for what the service reads of the plan."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from nimify.errors import BundleDamaged
from nimify.serving.spec import PLAN_FILE, ServiceSpec
from nimify.tuning.candidate import Candidate

_LINKED: Final = "model_repository"
"""Too large to be copied; everything else is small, and own processors must lie in the bundle itself."""


@contextmanager
def staged(bundle: Path, candidate: Candidate) -> Iterator[Path]:
    """A folder to serve from, for as long as this lasts; the bundle is not touched.

    Raises:
        BundleDamaged: The bundle cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="nimify-tune-") as name:
        folder = Path(name) / "bundle"
        try:
            shutil.copytree(bundle, folder, ignore=_left_out(bundle))
            if (bundle / _LINKED).exists():
                (folder / _LINKED).symlink_to((bundle / _LINKED).resolve())
            plan: Any = json.loads((bundle / PLAN_FILE).read_bytes())
            plan["service"] = candidate.served(ServiceSpec.load(bundle)).to_dict()
        except (OSError, shutil.Error, ValueError, KeyError, TypeError) as error:
            raise BundleDamaged(f"'{bundle}' cannot be read ({error}).") from error
        (folder / PLAN_FILE).unlink()  # a link, perhaps, and then not ours to write to
        (folder / PLAN_FILE).write_text(json.dumps(plan), encoding="utf-8")
        yield folder


def _left_out(bundle: Path) -> Any:
    def ignored(folder: str, names: list[str]) -> set[str]:
        return {_LINKED} & set(names) if Path(folder) == bundle else set()

    return ignored
