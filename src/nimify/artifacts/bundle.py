"""A bundle on disk, for reading: what nimify wrote, and what its owner changed since."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nimify.artifacts.golden import Golden, load_golden
from nimify.artifacts.manifest import MANIFEST_FILE, Manifest, ManifestFile
from nimify.errors import BundleDamaged
from nimify.formats.format import sha256_of
from nimify.serving.spec import PLAN_FILE, ServiceSpec


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk.

    Attributes:
        path: Its folder.
        manifest: What nimify wrote into it.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a bundle.

        Raises:
            BundleError: The folder is no bundle.
            BundleDamaged: Its manifest cannot be read.
        """
        return cls(path, Manifest.load(path))

    @property
    def service(self) -> ServiceSpec:
        """What the service reads.

        Raises:
            BundleDamaged: plan.json is missing or damaged.
        """
        return ServiceSpec.load(self.path)

    def decided(self) -> Mapping[str, Any]:
        """What the plan decided, by key, e.g. `deployment.family`.

        Raises:
            BundleDamaged: plan.json is missing or damaged.
        """
        path = self.path / PLAN_FILE
        try:
            return {decision["key"]: decision["value"] for decision in json.loads(path.read_bytes())["decisions"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleDamaged(f"'{path}' cannot be read.") from error

    def golden(self) -> Golden | None:
        """The recorded requests; `None` when there are none.

        Raises:
            BundleDamaged: They cannot be read.
        """
        return load_golden(self.path)

    def edited_files(self) -> tuple[str, ...]:
        """The generated files whose content is not what nimify wrote; missing ones are not among them.

        Raises:
            BundleDamaged: A file cannot be read.
        """
        return tuple(
            path
            for path, file in self.manifest.files.items()
            if (found := fingerprint(self.path / path, file.size_bytes)) is not None and found != file
        )

    def missing_files(self) -> tuple[str, ...]:
        """The generated files that are not there."""
        return tuple(path for path in self.manifest.files if not (self.path / path).is_file())

    def owner_files(self) -> Iterator[str]:
        """Everything that nimify did not write: files, links, and folders with nothing in them."""
        for folder, folders, files in os.walk(self.path):
            inside = Path(folder).relative_to(self.path)
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            for name in sorted((*files, *links)):
                path = (inside / name).as_posix()
                if path not in self.manifest.files and path != MANIFEST_FILE:
                    yield path
            if not folders and not files and inside != Path():
                yield inside.as_posix()


def fingerprint(path: Path, expected_size: int | None = None) -> ManifestFile | None:
    """Digest and length of a file; `None` when there is none.

    A file whose length is not the expected one is not read: its digest is left empty, as it cannot match.

    Raises:
        BundleDamaged: It cannot be read.
    """
    try:
        size = path.stat().st_size
        if expected_size is not None and size != expected_size:
            return ManifestFile("", size)
        return ManifestFile(sha256_of(path), size)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BundleDamaged(f"'{path}' cannot be read ({error.strerror}).") from error
