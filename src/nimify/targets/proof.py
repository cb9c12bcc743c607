"""What a later rollback proves a revision with: the part of its bundle that says how it must answer.

The model itself is in the image; what is kept here is small.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.manifest import MANIFEST_FILE
from nimify.errors import BundleError
from nimify.filesystem import make_folders, remove_tree
from nimify.planning.assets import GOLDEN_FOLDER
from nimify.serving.spec import PLAN_FILE
from nimify.targets.state_folder import checked_name, private_folder, state_folder


class Proofs:
    """The proofs of one service on one target.

    Args:
        target: Name of the target.
        name: Of the service.
    """

    def __init__(self, target: str, name: str) -> None:
        self.folder = state_folder() / target / checked_name(name)

    def keep(self, revision: int, bundle: Bundle) -> None:
        """Keep what proves a revision."""
        kept = self._of(revision)
        remove_tree(kept)
        private_folder(kept)
        for path in _needed(bundle.path):
            make_folders((kept / path).parent)
            shutil.copyfile(bundle.path / path, kept / path)

    def find(self, revision: int) -> Bundle | None:
        """What proves a revision; `None` when it was deployed from elsewhere."""
        try:
            return Bundle.open(self._of(revision))
        except BundleError:
            return None

    def discard(self, revision: int) -> None:
        """Remove what proves a revision."""
        remove_tree(self._of(revision))

    def _of(self, revision: int) -> Path:
        return self.folder / str(revision)


def _needed(bundle: Path) -> Iterator[Path]:
    yield Path(MANIFEST_FILE)
    yield Path(PLAN_FILE)
    for path in sorted((bundle / GOLDEN_FOLDER).glob("*")):
        if path.is_file():
            yield path.relative_to(bundle)
