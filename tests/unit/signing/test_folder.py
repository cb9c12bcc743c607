"""A folder against what was signed of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.signing.conftest import COVERAGE, KeyPair

from nimify.errors import BundleDamaged, BundleError
from nimify.signing.folder import check_digests, check_names, manifest_of
from nimify.signing.manifest import SignedManifest
from nimify.signing.signature import SIGNATURE_FILE, signed_manifest, write_signature


def _signed(folder: Path) -> SignedManifest:
    return manifest_of(folder, COVERAGE, name="a", signature=SIGNATURE_FILE)


def _check(folder: Path, manifest: SignedManifest) -> None:
    check_names(folder, manifest, COVERAGE)
    check_digests(folder, manifest)


def test_what_is_covered_is_signed_and_the_rest_is_listed(folder: Path) -> None:
    """Files and trees that services read are signed; every other entry is named as left out."""
    manifest = _signed(folder)

    assert set(manifest.files) == {"plan.json", "models/a.txt", "models/a/1/model.onnx"}
    assert {"chart", "build.json", "model.sig", ".git"} <= set(manifest.ignored)


def test_the_statement_survives_its_trip(folder: Path) -> None:
    """What is written is what is read."""
    manifest = _signed(folder)

    assert SignedManifest.from_statement(manifest.statement(), name="model.sig") == manifest


def test_an_unchanged_folder_passes(folder: Path, keys: KeyPair) -> None:
    """Signing, reading the signature and comparing agree, also when what is left out changes."""
    write_signature(folder, _signed(folder), keys.private)
    (folder / "chart/values.yaml").write_text("a: 2")
    (folder / "chart/added.yaml").write_text("b: 1")
    (folder / "build.json").write_text("{}")

    _check(folder, signed_manifest(folder, keys.public))


def _flip(folder: Path) -> None:
    (folder / "models/a/1/model.onnx").write_bytes(b"wfights")


def _add_model(folder: Path) -> None:
    (folder / "models/a/1/more.bin").write_bytes(b"")


def _add_hidden(folder: Path) -> None:
    (folder / "models/.hidden").write_bytes(b"")


def _add_git(folder: Path) -> None:
    (folder / "models/.git").mkdir()
    (folder / "models/.git/hook").write_bytes(b"")


def _add_on_top(folder: Path) -> None:
    (folder / "evil.py").write_bytes(b"")


def _remove(folder: Path) -> None:
    (folder / "models/a.txt").unlink()


def _rename(folder: Path) -> None:
    (folder / "models/a.txt").rename(folder / "models/b.txt")


def _link_file(folder: Path) -> None:
    (folder / "models/a.txt").rename(folder.parent / "a.txt")
    (folder / "models/a.txt").symlink_to(folder.parent / "a.txt")


def _link_folder(folder: Path) -> None:
    (folder / "models/a").rename(folder.parent / "a")
    (folder / "models/a").symlink_to(folder.parent / "a")


def _pipe(folder: Path) -> None:
    (folder / "models/a.txt").unlink()
    os.mkfifo(folder / "models/a.txt")


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (_flip, "content has changed"),
        (_add_model, "not among the signed files"),
        (_add_hidden, "not among the signed files"),
        (_add_git, "not among the signed files"),
        (_add_on_top, "not among the signed files"),
        (_remove, "missing from the bundle"),
        (_rename, "not among the signed files"),
        (_link_file, "a link or a special file"),
        (_link_folder, "a link or a special file"),
        (_pipe, "a link or a special file"),
    ],
)
def test_every_change_is_found(folder: Path, tamper: Callable[[Path], None], said: str) -> None:
    """Whatever is done to what services read, or put beside it, is named."""
    manifest = _signed(folder)
    tamper(folder)

    with pytest.raises(BundleDamaged, match=said):
        _check(folder, manifest)


def test_a_signature_that_leaves_out_what_services_read_does_not_help(folder: Path) -> None:
    """A signer may leave out what he likes; what services read must be signed all the same."""
    signed = _signed(folder)
    files = {path: digest for path, digest in signed.files.items() if not path.startswith("models/")}
    manifest = SignedManifest("a", files, (*signed.ignored, "models"))

    with pytest.raises(BundleDamaged, match="not among the signed files"):
        _check(folder, manifest)


def test_links_are_not_signed(folder: Path) -> None:
    """What a link leads to may be exchanged without a trace."""
    _link_file(folder)

    with pytest.raises(BundleError, match="cannot be signed"):
        _signed(folder)


def test_a_folder_without_a_plan_is_not_signed(folder: Path) -> None:
    """There is nothing to sign where the main thing is missing."""
    (folder / "plan.json").unlink()

    with pytest.raises(BundleError, match=r"no plan\.json"):
        _signed(folder)


def test_a_folder_without_a_signature_is_said_to_have_none(folder: Path, keys: KeyPair) -> None:
    """Fail closed, and say how to sign."""
    with pytest.raises(BundleDamaged, match="is not signed"):
        signed_manifest(folder, keys.public)
