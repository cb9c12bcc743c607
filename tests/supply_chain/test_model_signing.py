"""Signatures between nimify and the official OpenSSF model-signing tool, in both directions."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.supply_chain.conftest import program

from nimify.core.signatures import check_bundle, sign_bundle
from nimify.errors import BundleDamaged
from nimify.signing.keys import PrivateKey, generate_key

pytestmark = pytest.mark.supply_chain


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_bundle("external-data"), tmp_path / "bundle"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "signing.pem"
    generate_key(path)
    return path


def _official(verb: str, bundle: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [program("model_signing"), verb, "key", str(bundle), "--signature", str(bundle / "model.sig"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def _official_verify(bundle: Path, key: Path) -> subprocess.CompletedProcess[str]:
    return _official("verify", bundle, "--public_key", str(key.with_suffix(".pub")))


def test_the_official_tool_accepts_our_signature(bundle: Path, key: Path) -> None:
    """It checks the whole bundle, without being told what to leave out: that is in the signature."""
    sign_bundle(bundle, PrivateKey.load(key))

    verified = _official_verify(bundle, key)

    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_the_official_tool_finds_what_we_find(bundle: Path, key: Path) -> None:
    """A changed, an added and a removed file are refused by it as by us."""
    sign_bundle(bundle, PrivateKey.load(key))
    model = next(bundle.glob("model_repository/*/1/*.onnx"))
    content = model.read_bytes()

    model.write_bytes(content[:-1])
    assert _official_verify(bundle, key).returncode != 0
    model.unlink()
    assert _official_verify(bundle, key).returncode != 0
    model.write_bytes(content)
    (bundle / "model_repository/added").write_text("")
    assert _official_verify(bundle, key).returncode != 0


def test_we_accept_the_official_signature(bundle: Path, key: Path) -> None:
    """Signed by it, over every file of the bundle; one changed byte is still found."""
    signed = _official("sign", bundle, "--private_key", str(key))
    assert signed.returncode == 0, signed.stdout + signed.stderr

    manifest = check_bundle(bundle, key.with_suffix(".pub"))

    assert "chart/values.yaml" in manifest.files
    (bundle / "openapi.json").write_text("{}")
    with pytest.raises(BundleDamaged, match=r"'openapi\.json' is not what was signed"):
        check_bundle(bundle, key.with_suffix(".pub"))


def test_an_official_signature_that_leaves_the_model_out_is_not_accepted(bundle: Path, key: Path) -> None:
    """What services read must be signed, whatever the signer left out."""
    signed = _official("sign", bundle, "--private_key", str(key), "--ignore-paths", str(bundle / "model_repository"))
    assert signed.returncode == 0, signed.stdout + signed.stderr

    with pytest.raises(BundleDamaged, match="not among the signed files"):
        check_bundle(bundle, key.with_suffix(".pub"))
