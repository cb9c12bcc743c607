"""Statements of other hands: what is not understood cannot be checked, and is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from nimify.errors import BundleDamaged
from nimify.signing.manifest import SignedManifest

_MANIFEST = SignedManifest("m", {"b": "1" * 64, "a/c": "2" * 64, "a.txt": "3" * 64}, ("x", ".git"))


def _statement(change: Callable[[dict[str, Any]], object]) -> bytes:
    statement = json.loads(_MANIFEST.statement())
    change(statement)
    return json.dumps(statement).encode()


def test_the_same_files_give_the_same_statement() -> None:
    """The order in which files were found does not show; folders sort as the official tool sorts them."""
    turned = SignedManifest("m", dict(sorted(_MANIFEST.files.items(), reverse=True)), (".git", "x"))

    assert turned.statement() == _MANIFEST.statement()
    resources = json.loads(_MANIFEST.statement())["predicate"]["resources"]
    assert [resource["name"] for resource in resources] == ["a/c", "a.txt", "b"]


@pytest.mark.parametrize(
    "change",
    [
        lambda statement: statement.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda statement: statement.update(predicateType="https://model_signing/Digests/v0.1"),
        lambda statement: statement["subject"].append(statement["subject"][0]),
        lambda statement: statement["subject"][0]["digest"].update(sha256="0" * 64),
        lambda statement: statement["predicate"]["serialization"].update(method="shards"),
        lambda statement: statement["predicate"]["serialization"].update(hash_type="blake3"),
        lambda statement: statement["predicate"]["resources"].pop(),
        lambda statement: statement["predicate"]["resources"].append(statement["predicate"]["resources"][0]),
        lambda statement: statement["predicate"]["resources"][0].update(algorithm="md5"),
        lambda statement: statement["predicate"]["resources"][0].update(digest="2" * 63),
        lambda statement: statement["predicate"]["resources"][0].update(name="../outside"),
        lambda statement: statement["predicate"]["resources"][0].update(name="/etc/passwd"),
        lambda statement: statement["predicate"]["resources"][0].update(name="a//c"),
        lambda statement: statement["predicate"]["resources"][0].update(name=7),
        lambda statement: statement.pop("predicate"),
    ],
)
def test_what_cannot_be_checked_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    """Another version, another digest, a path that leaves the folder, a list that contradicts its own digest."""
    with pytest.raises(BundleDamaged, match="does not list files by SHA-256"):
        SignedManifest.from_statement(_statement(change), name="model.sig")
