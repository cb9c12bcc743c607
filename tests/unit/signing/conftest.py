"""Keys, and a small folder to sign."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from nimify.signing.folder import Coverage
from nimify.signing.keys import PrivateKey, PublicKey, generate_key

COVERAGE = Coverage(files=("plan.json",), trees=("models",), later=("build.json",))


@dataclass(frozen=True)
class KeyPair:
    private: PrivateKey
    public: PublicKey
    private_path: Path
    public_path: Path


def _pair(folder: Path) -> KeyPair:
    private = folder / "signing.pem"
    public = generate_key(private)
    return KeyPair(PrivateKey.load(private), PublicKey.load(public), private, public)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return _pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def other_keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return _pair(tmp_path_factory.mktemp("other-keys"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A plan, two model files, and something that is not to be signed."""
    root = tmp_path / "bundle"
    (root / "models/a/1").mkdir(parents=True)
    (root / "chart").mkdir()
    (root / "plan.json").write_text("{}")
    (root / "models/a/1/model.onnx").write_bytes(b"weights")
    (root / "models/a.txt").write_bytes(b"labels")
    (root / "chart/values.yaml").write_text("a: 1")
    return root
