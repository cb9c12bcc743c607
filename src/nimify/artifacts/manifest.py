"""manifest.json: what nimify wrote into a bundle, so that it knows its own files from the owner's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from nimify.artifacts.artifact import Artifact, json_artifact
from nimify.errors import BundleDamaged, BundleError
from nimify.version import __version__

MANIFEST_FILE: Final = "manifest.json"
_SCHEMA_VERSION: Final = 1
_GENERATOR: Final = "nimify"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One generated file.

    Attributes:
        sha256: Hex digest of its content.
        size_bytes: Length of its content.
    """

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        model_digest: Of the model that is served.
        files: Generated files by path; manifest.json itself is not among them.
        owned: Files that nimify wrote for the owner to edit.
        generator_version: Version of nimify that wrote the bundle.
    """

    model_digest: str
    files: Mapping[str, ManifestFile]
    owned: tuple[str, ...]
    generator_version: str = __version__

    def artifact(self) -> Artifact:
        """The manifest as a file."""
        return json_artifact(
            MANIFEST_FILE,
            {
                "schema_version": _SCHEMA_VERSION,
                "generator": {"name": _GENERATOR, "version": self.generator_version},
                "model_digest": self.model_digest,
                "files": {path: asdict(self.files[path]) for path in sorted(self.files)},
                "owned_by_you": sorted(self.owned),
            },
        )

    @classmethod
    def load(cls, bundle: Path) -> Manifest:
        """Read the manifest of a bundle.

        Raises:
            BundleError: There is none, so the folder is no bundle.
            BundleDamaged: It is there, but is not what nimify wrote.
        """
        path = bundle / MANIFEST_FILE
        try:
            data = json.loads(path.read_bytes())
            return _parse(data)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BundleError(
                f"'{bundle}' is no bundle: it has no {MANIFEST_FILE}.", remedy="Make one with: nimify create MODEL"
            ) from error
        except OSError as error:
            raise BundleDamaged(f"'{path}' cannot be read ({error.strerror}).") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BundleDamaged(
                f"'{path}' is not a manifest that nimify wrote.",
                remedy="Restore it, or write the bundle into a new folder with: nimify create MODEL -o FOLDER",
            ) from error


def _parse(data: Mapping[str, Any]) -> Manifest:
    if data["schema_version"] != _SCHEMA_VERSION or data["generator"]["name"] != _GENERATOR:
        raise ValueError("unknown manifest")
    files = {_confined(path): _file(row) for path, row in data["files"].items()}
    owned = tuple(_confined(path) for path in data["owned_by_you"])
    return Manifest(str(data["model_digest"]), files, owned, str(data["generator"]["version"]))


def _file(row: Mapping[str, Any]) -> ManifestFile:
    file = ManifestFile(**row)
    if not _SHA256.fullmatch(file.sha256) or type(file.size_bytes) is not int:
        raise ValueError("not a digest")
    return file


def _confined(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or str(PurePosixPath(path)) != path:
        raise ValueError("a path that leaves the bundle")
    return path


def checked_paths(paths: Iterable[str]) -> None:
    """Refuse paths that would leave the bundle or collide.

    Raises:
        ValueError: A path is absolute, holds `..`, or is given twice.
    """
    seen: set[str] = set()
    for path in paths:
        if _confined(path) in seen:
            raise ValueError(f"'{path}' is given twice")
        seen.add(path)
