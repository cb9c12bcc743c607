"""The file of a signature, beside what it signs: OpenSSF model signing, version 1.0, with keys."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nimify.errors import BundleDamaged, EnvironmentProblem
from nimify.filesystem import replace_file
from nimify.signing.envelope import opened, sealed
from nimify.signing.keys import PrivateKey, PublicKey
from nimify.signing.manifest import SignedManifest

SIGNATURE_FILE: Final = "model.sig"
"""What the official tool calls it."""
_LONGEST_BYTES: Final = 64 << 20


def write_signature(folder: Path, manifest: SignedManifest, key: PrivateKey) -> None:
    """Sign the files of a folder: write `model.sig` into it, in place of an older one.

    Raises:
        EnvironmentProblem: It cannot be written.
    """
    _write(folder / SIGNATURE_FILE, sealed(manifest.statement(), key))


def signed_manifest(folder: Path, key: PublicKey) -> SignedManifest:
    """What was signed of a folder, by the owner of a key; the files themselves are not looked at.

    Raises:
        BundleDamaged: There is no signature, it was changed, or another key made it.
    """
    path = folder / SIGNATURE_FILE
    try:
        with path.open("rb") as stream:
            content = stream.read(_LONGEST_BYTES)
    except FileNotFoundError as error:
        raise BundleDamaged(
            f"'{folder}' is not signed: it has no {SIGNATURE_FILE}.",
            remedy="Sign it with: nimify sign BUNDLE --key PRIVATE_KEY",
        ) from error
    except OSError as error:
        raise BundleDamaged(f"'{path}' cannot be read ({error.strerror}).") from error
    return SignedManifest.from_statement(opened(content, key, name=SIGNATURE_FILE), name=SIGNATURE_FILE)


def _write(path: Path, content: bytes) -> None:
    try:
        replace_file(path, content)
    except OSError as error:
        raise EnvironmentProblem(f"'{path}' cannot be written ({error.strerror}).") from error
