"""Sign a bundle, and check one: what the library and the command line call."""

from __future__ import annotations

from pathlib import Path

from nimify.artifacts.bundle import Bundle
from nimify.errors import BundleDamaged, BundleError
from nimify.serving.signed import COVERAGE, SignedBundle
from nimify.signing.folder import manifest_of
from nimify.signing.keys import PrivateKey
from nimify.signing.manifest import SignedManifest
from nimify.signing.signature import SIGNATURE_FILE, write_signature


def sign_bundle(folder: Path, key: PrivateKey) -> SignedManifest:
    """Sign what a service reads of a bundle.

    Raises:
        BundleDamaged: The bundle cannot be read, or its model is not the one that was planned.
        BundleError: It is no bundle, or has a file where services read that nimify did not put there.
        EnvironmentProblem: The signature cannot be written.
    """
    bundle = Bundle.open(folder)
    _refuse_strangers(bundle)
    spec = bundle.service
    manifest = manifest_of(folder, COVERAGE, name=spec.name, signature=SIGNATURE_FILE)
    for file in spec.model_files:
        if manifest.files.get(file.path) != file.sha256:
            raise BundleDamaged(
                f"'{file.path}' does not match its digest in plan.json, so it is not signed.",
                remedy="Restore the file, or write the bundle again with: nimify create MODEL --force",
            )
    write_signature(folder, manifest, key)
    return manifest


def check_bundle(folder: Path, key: Path) -> SignedManifest:
    """Check the signature of a bundle, and every signed file.

    Raises:
        BundleDamaged: It is not signed, by another key, or other than it is.
        ConfigError: The key cannot be used.
    """
    signed = SignedBundle.open(folder, key)
    signed.check_all()
    return signed.manifest


def _refuse_strangers(bundle: Bundle) -> None:
    """Sign nothing that nimify did not put where services read: images leave it out, and would find it missing."""
    for path in bundle.owner_files():
        if COVERAGE.covers(path):
            raise BundleError(
                f"'{path}' was not put there by nimify, and services read that folder.",
                remedy="Move it away, or name it in nimify.yaml and run nimify create again.",
            )
