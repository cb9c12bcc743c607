"""The envelope of a signature: DSSE, in the JSON of a Sigstore bundle.

What is signed is the payload together with its type, each with its length before it, so that no bytes can be taken for
other ones. Everything else in the file is unsigned, and believed in nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final

from nimify.errors import BundleDamaged
from nimify.signing.keys import PrivateKey, PublicKey

_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
SIGN_AGAIN: Final = "Restore the file, or sign the bundle again with: nimify sign BUNDLE --key PRIVATE_KEY"


def sealed(payload: bytes, key: PrivateKey) -> bytes:
    """The content of a signature file: the payload, signed."""
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": _PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(key.sign(_signed_bytes(payload))).decode("ascii"), "keyid": ""}],
    }
    bundle = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key.hint}, "tlogEntries": []},
        "dsseEnvelope": envelope,
    }
    return json.dumps(bundle, indent=2).encode() + b"\n"


def opened(content: bytes, key: PublicKey, *, name: str) -> bytes:
    """The payload of a signature file, once its signature has been found right.

    Args:
        content: Of the signature file.
        key: What it must have been made with.
        name: Of the signature file, for errors.

    Raises:
        BundleDamaged: It is no such file, or another key made it.
    """
    try:
        hint, payload, signature = _parts(json.loads(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleDamaged(
            f"'{name}' is no signature in the OpenSSF model-signing format.", remedy=SIGN_AGAIN
        ) from error
    # Early releases of the official tool wrote no hint.
    if hint and hint != key.hint:
        raise BundleDamaged(
            f"'{name}' was made with another key than '{key.name}'.",
            remedy="Name the public key of whoever signed the bundle, or have it signed again.",
        )
    if not key.matches(signature, _signed_bytes(payload)):
        raise BundleDamaged(
            f"'{name}' is no signature of '{key.name}': it was changed, or another key made it.", remedy=SIGN_AGAIN
        )
    return payload


def _parts(bundle: Any) -> tuple[str, bytes, bytes]:
    """The hint, the payload and the signature of a Sigstore bundle."""
    envelope = bundle["dsseEnvelope"]
    if bundle["mediaType"] != _MEDIA_TYPE or envelope["payloadType"] != _PAYLOAD_TYPE:
        raise ValueError("of another kind")
    (signature,) = envelope["signatures"]
    hint = bundle["verificationMaterial"]["publicKey"].get("hint") or ""
    return str(hint), _decoded(envelope["payload"]), _decoded(signature["sig"])


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not in base64") from error


def _signed_bytes(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    return f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} ".encode() + payload
