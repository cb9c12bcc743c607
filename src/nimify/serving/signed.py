"""A bundle that must be signed: nothing of it is used that the owner of a key has not signed.

The signature is checked before plan.json is read; what else the service reads is compared before it is opened, at
every start of a worker. The model's own files, which may be large, are read once only: their signed digests must be
those of plan.json, and these are compared while the model is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

from nimify.errors import BundleDamaged
from nimify.extensions.source import own_file
from nimify.serving.spec import OPENAPI_FILE, PLAN_FILE, ServiceSpec
from nimify.signing.folder import Coverage, changed, check_digests, check_names
from nimify.signing.keys import PublicKey
from nimify.signing.manifest import SignedManifest
from nimify.signing.signature import signed_manifest

COVERAGE: Final = Coverage(
    files=(OPENAPI_FILE, PLAN_FILE), trees=("model_repository", "processors"), later=("build.json",)
)
"""What the service reads of a bundle. The rest, from the chart to the runbooks, is for other readers, and unsigned."""


@dataclass(frozen=True, slots=True)
class SignedBundle:
    """A bundle and what was signed of it.

    Attributes:
        bundle: Its folder.
        manifest: The signed files.
    """

    bundle: Path
    manifest: SignedManifest

    @classmethod
    def open(cls, bundle: Path, key: Path) -> Self:
        """Check the signature of a bundle, and its plan.

        Args:
            bundle: Its folder.
            key: The public key of whoever must have signed it.

        Raises:
            BundleDamaged: It is not signed, by another key, or other than it is.
            ConfigError: The key cannot be used.
            EnvironmentProblem: `cryptography` is not installed.
        """
        signed = cls(bundle, signed_manifest(bundle, PublicKey.load(key)))
        check_names(bundle, signed.manifest, COVERAGE)
        check_digests(bundle, signed.manifest, known=signed.manifest.files.keys() - {PLAN_FILE})
        return signed

    def check(self, spec: ServiceSpec) -> None:
        """Compare every signed file but the model's own, and see to it that what the plan names is signed; blocks.

        Args:
            spec: The plan's.

        Raises:
            BundleDamaged: Something is other than it was signed.
        """
        check_names(self.bundle, self.manifest, COVERAGE)
        for file in spec.model_files:
            if self.manifest.files.get(file.path) != file.sha256:
                raise changed(file.path)
        for path in self._named(spec):
            if path not in self.manifest.files:
                raise BundleDamaged(
                    f"'{path}' is used by the service and not signed.",
                    remedy=f"Put it into one of the signed folders, {' and '.join(COVERAGE.trees)}, and sign again.",
                )
        check_digests(self.bundle, self.manifest, known={file.path for file in spec.model_files})

    def check_all(self) -> None:
        """Compare every signed file, the model's own included; blocks.

        Raises:
            BundleDamaged: Something is other than it was signed.
        """
        self.check(ServiceSpec.load(self.bundle))
        check_digests(self.bundle, self.manifest)

    def _named(self, spec: ServiceSpec) -> Iterator[str]:
        """The files of the bundle that the plan names beside the model's, wherever it does so.

        Which option of which extension names a file is known only to the extension, and that must not be loaded before
        it was checked; so every text counts that is the name of a file.
        """
        yield from (OPENAPI_FILE, PLAN_FILE)
        for text in _texts(spec.to_dict()):
            for path in (text, own_file(text) or ""):
                if path and _is_file(self.bundle / path):
                    yield str(PurePosixPath(path))


def _is_file(path: Path) -> bool:
    """Whether there is a file of that name; a text that can be no name is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _texts(data: Any) -> Iterator[str]:
    """Every text in plain data."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        yield from (text for value in data.values() for text in _texts(value))
    elif isinstance(data, list | tuple):
        yield from (text for value in data for text in _texts(value))
