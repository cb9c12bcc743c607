"""The envelope: only what was signed, by the key that was named, comes out of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.signing.conftest import KeyPair

from nimify.errors import BundleDamaged
from nimify.signing.envelope import opened, sealed

_PAYLOAD = b'{"a": "\\u00e4"}'


def _changed(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    bundle = json.loads(content)
    change(bundle)
    return json.dumps(bundle).encode()


def test_what_was_sealed_comes_out(keys: KeyPair) -> None:
    """Sealing and opening give back the very bytes."""
    assert opened(sealed(_PAYLOAD, keys.private), keys.public, name="model.sig") == _PAYLOAD


def test_another_key_does_not_open_it(keys: KeyPair, other_keys: KeyPair) -> None:
    """The error says that another key made the signature."""
    with pytest.raises(BundleDamaged, match="made with another key"):
        opened(sealed(_PAYLOAD, other_keys.private), keys.public, name="model.sig")


def test_a_forged_hint_convinces_nobody(keys: KeyPair, other_keys: KeyPair) -> None:
    """The hint is unsigned: a stranger who writes ours into his signature is found out by the signature itself."""
    forged = _changed(
        sealed(_PAYLOAD, other_keys.private),
        lambda bundle: bundle["verificationMaterial"]["publicKey"].update(hint=keys.public.hint),
    )

    with pytest.raises(BundleDamaged, match="is no signature of"):
        opened(forged, keys.public, name="model.sig")


def test_a_signature_without_a_hint_is_checked_all_the_same(keys: KeyPair, other_keys: KeyPair) -> None:
    """Early releases of the official tool wrote none."""

    def without_hint(key: KeyPair) -> bytes:
        return _changed(
            sealed(_PAYLOAD, key.private), lambda bundle: bundle["verificationMaterial"]["publicKey"].pop("hint")
        )

    assert opened(without_hint(keys), keys.public, name="model.sig") == _PAYLOAD
    with pytest.raises(BundleDamaged, match="is no signature of"):
        opened(without_hint(other_keys), keys.public, name="model.sig")


def test_a_changed_payload_is_found_out(keys: KeyPair) -> None:
    """One other byte in the payload, and nothing comes out."""
    payload = base64.b64encode(_PAYLOAD.replace(b"a", b"b", 1)).decode()
    changed = _changed(sealed(_PAYLOAD, keys.private), lambda bundle: bundle["dsseEnvelope"].update(payload=payload))

    with pytest.raises(BundleDamaged, match="is no signature of"):
        opened(changed, keys.public, name="model.sig")


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: bundle.clear(),
        lambda bundle: bundle.update(mediaType="application/json"),
        lambda bundle: bundle["dsseEnvelope"].update(payloadType="text/plain"),
        lambda bundle: bundle["dsseEnvelope"].update(signatures=[]),
        lambda bundle: bundle["dsseEnvelope"]["signatures"].append(bundle["dsseEnvelope"]["signatures"][0]),
        lambda bundle: bundle["dsseEnvelope"].update(payload="not base64!"),
        lambda bundle: bundle["dsseEnvelope"].update(payload=7),
        lambda bundle: bundle.update(verificationMaterial={"certificate": {"rawBytes": ""}}),
    ],
    ids=["empty", "media type", "payload type", "no signature", "two signatures", "base64", "number", "certificate"],
)
def test_a_file_of_another_kind_is_refused(keys: KeyPair, change: Callable[[dict[str, Any]], object]) -> None:
    """What is no key-based signature of the format is named as such."""
    with pytest.raises(BundleDamaged, match="no signature in the OpenSSF model-signing format"):
        opened(_changed(sealed(_PAYLOAD, keys.private), change), keys.public, name="model.sig")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"\xff\xfe", b"[" * 100_000], ids=["empty", "list", "null", "bytes", "deep"]
)
def test_a_file_that_is_no_object_is_refused(keys: KeyPair, content: bytes) -> None:
    """Anything may lie there under that name."""
    with pytest.raises(BundleDamaged, match="no signature in the OpenSSF model-signing format"):
        opened(content, keys.public, name="model.sig")
