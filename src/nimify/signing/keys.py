"""Keys of elliptic curves, as PEM files: what signs a bundle, and what it is checked with.

`cryptography` is an extra, and takes time to load; it is imported only where a key is used.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from nimify.errors import ConfigError, EnvironmentProblem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        ECDSA,
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

PASSWORD_VARIABLE: Final = "NIMIFY_KEY_PASSWORD"  # noqa: S105 - the variable's name, not what it holds
_LONGEST_KEY_BYTES: Final = 64 << 10
_PRIVATE_MODE: Final = 0o600
_PUBLIC_MODE: Final = 0o644
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
"""Those that the format allows; the hash goes with the size of the curve."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What signatures are checked with.

    Attributes:
        name: The file that it came from.
        hint: SHA-256 of the key as PEM: by this, signatures name the key that made them.
    """

    name: str
    hint: str
    _key: EllipticCurvePublicKey

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a public key.

        Raises:
            ConfigError: The file cannot be read, or holds no such key.
            EnvironmentProblem: `cryptography` is not installed.
        """
        _need_cryptography()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        text = _read(path)
        if b"PRIVATE KEY" in text:
            raise ConfigError(
                f"'{path}' is a private key, which checks nothing and must not lie where services run.",
                field="key",
                remedy="Name the public key that belongs to it.",
            )
        try:
            key = load_pem_public_key(text)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise _no_key(path, "public") from error
        if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _CURVES:
            raise _no_key(path, "public")
        return cls(path.name, _hint(key), key)

    def matches(self, signature: bytes, message: bytes) -> bool:
        """Whether the private half of this key made a signature of this message."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(signature, message, _algorithm(self._key))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """What makes signatures.

    Attributes:
        hint: The hint of its public half.
    """

    hint: str
    _key: EllipticCurvePrivateKey

    @classmethod
    def load(cls, path: Path, password: str | None = None) -> Self:
        """Read a private key.

        Args:
            path: The PEM file.
            password: What it is encrypted with.

        Raises:
            ConfigError: The file cannot be read, holds no such key, or the password is missing or wrong.
            EnvironmentProblem: `cryptography` is not installed.
        """
        _need_cryptography()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        text = _read(path)
        try:
            key = load_pem_private_key(text, password.encode() if password is not None else None)
        except TypeError as error:
            said = "is encrypted" if password is None else "is not encrypted, but a password was given"
            raise ConfigError(
                f"'{path}' {said}.", field="key", remedy=f"Its password comes from {PASSWORD_VARIABLE}."
            ) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            if password is not None and b"ENCRYPTED" in text:
                raise ConfigError(
                    f"the password in {PASSWORD_VARIABLE} does not open '{path}'.", field="key"
                ) from error
            raise _no_key(path, "private") from error
        if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
            raise _no_key(path, "private")
        return cls(_hint(key.public_key()), key)

    def sign(self, message: bytes) -> bytes:
        """A signature of a message."""
        return self._key.sign(message, _algorithm(self._key.public_key()))


def generate_key(path: Path) -> Path:
    """Make a P-256 key pair: the private key at `path`, readable by its owner only, the public one beside it.

    Returns:
        Where the public key is: `signing.pub` for `signing.pem`.

    Raises:
        ConfigError: One of the files is there already, or cannot be written.
        EnvironmentProblem: `cryptography` is not installed.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public_path = path.with_suffix(".pub")
    if public_path == path or public_path.exists():
        raise ConfigError(f"'{public_path}' would be overwritten.", field="key", remedy="Choose another name.")
    _write_new(path, private, _PRIVATE_MODE)
    _write_new(public_path, _pem(key.public_key()), _PUBLIC_MODE)
    return public_path


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
    except FileExistsError as error:
        raise ConfigError(f"'{path}' would be overwritten.", field="key", remedy="Choose another name.") from error
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be written ({error.strerror}).", field="key") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_LONGEST_KEY_BYTES)
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read ({error.strerror}).", field="key") from error


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401 - whether it is there is the question
    except ImportError as error:
        raise EnvironmentProblem(
            "Signatures need the Python package 'cryptography', which is not installed.",
            remedy="Install it with: pip install 'nimify-anything[sign]'",
        ) from error


def _no_key(path: Path, half: str) -> ConfigError:
    return ConfigError(
        f"'{path}' holds no {half} key of the curves P-256, P-384 or P-521 in PEM form.",
        field="key",
        remedy="Make a pair with: nimify sign --generate-key signing.pem",
    )


def _algorithm(key: EllipticCurvePublicKey) -> ECDSA:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    kinds: dict[str, hashes.HashAlgorithm] = {
        "secp256r1": hashes.SHA256(),
        "secp384r1": hashes.SHA384(),
        "secp521r1": hashes.SHA512(),
    }
    return ECDSA(kinds[key.curve.name])


def _pem(key: EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _hint(key: EllipticCurvePublicKey) -> str:
    return hashlib.sha256(_pem(key)).hexdigest()
