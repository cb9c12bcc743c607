"""Keys: made, read, and refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tests.unit.signing.conftest import KeyPair

from nimify.errors import ConfigError
from nimify.signing.keys import PrivateKey, PublicKey, generate_key


def _pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_a_private_key_is_its_owners_alone(keys: KeyPair) -> None:
    """Nobody else on the machine can read a private key that nimify made."""
    assert stat.S_IMODE(keys.private_path.stat().st_mode) == 0o600


def test_no_key_is_overwritten(keys: KeyPair) -> None:
    """A second pair of the same name would make every earlier signature worthless."""
    before = keys.private_path.read_bytes()

    with pytest.raises(ConfigError, match="would be overwritten"):
        generate_key(keys.private_path)

    assert keys.private_path.read_bytes() == before


def test_a_public_key_without_its_private_one_is_not_overwritten_either(tmp_path: Path) -> None:
    """The public half is looked for before anything is written."""
    (tmp_path / "signing.pub").write_text("somebody's")

    with pytest.raises(ConfigError, match=r"signing\.pub"):
        generate_key(tmp_path / "signing.pem")

    assert not (tmp_path / "signing.pem").exists()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_each_curve_of_the_format_signs(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    """P-256, P-384 and P-521 sign, and what they signed is checked with their public halves."""
    key = ec.generate_private_key(curve)
    (tmp_path / "k.pem").write_bytes(_pem(key))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "k.pub").write_bytes(public)

    signature = PrivateKey.load(tmp_path / "k.pem").sign(b"message")

    checked = PublicKey.load(tmp_path / "k.pub")
    assert checked.matches(signature, b"message")
    assert not checked.matches(signature, b"massage")


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())], ids=["ed25519", "secp256k1"]
)
def test_keys_that_the_format_does_not_know_are_refused(
    tmp_path: Path, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
) -> None:
    """A key of another kind gets an error that names the curves."""
    (tmp_path / "k.pem").write_bytes(_pem(key))

    with pytest.raises(ConfigError, match="P-256, P-384 or P-521"):
        PrivateKey.load(tmp_path / "k.pem")


def test_an_encrypted_key_opens_with_its_password(tmp_path: Path) -> None:
    """Each wrong way to open an encrypted key gets an error of its own; the right one signs."""
    path = tmp_path / "k.pem"
    path.write_bytes(_pem(ec.generate_private_key(ec.SECP256R1()), b"secret"))

    with pytest.raises(ConfigError, match=r"is encrypted.*NIMIFY_KEY_PASSWORD"):
        PrivateKey.load(path)
    with pytest.raises(ConfigError, match="does not open"):
        PrivateKey.load(path, "guess")
    assert PrivateKey.load(path, "secret").sign(b"message")


def test_a_private_key_is_no_key_to_check_with(keys: KeyPair) -> None:
    """A private key on a serving machine is a mistake worth stopping for."""
    with pytest.raises(ConfigError, match="must not lie where services run"):
        PublicKey.load(keys.private_path)


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """What is no key gets one sentence, and no traceback."""
    path = tmp_path / "k.pub"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="holds no public key"):
        PublicKey.load(path)


def test_a_missing_key_is_said_to_be_missing(tmp_path: Path) -> None:
    """The error names the file and the system's reason."""
    with pytest.raises(ConfigError, match="No such file"):
        PublicKey.load(tmp_path / "none.pub")
