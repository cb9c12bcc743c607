"""`nimify sign`: keys, signatures, checks, and the errors of each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify.cli import main


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_bundle("tiny"), tmp_path / "bundle"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "signing.pem"
    assert main(["sign", "--generate-key", str(path)]) == 0
    return path


def test_a_bundle_is_signed_and_checked(bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The three commands of the help text do what it says."""
    assert main(["sign", str(bundle), "--key", str(key)]) == 0
    assert main(["sign", str(bundle), "--check", "--key", str(key.with_suffix(".pub"))]) == 0

    assert "is as it was signed: 4 files" in capsys.readouterr().out


def test_the_signed_files_are_listed_as_json(bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exactly what the service reads: plan, OpenAPI document and model repository."""
    capsys.readouterr()
    assert main(["sign", str(bundle), "--key", str(key), "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert sorted(document["files"]) == [
        "model_repository/tiny/1/model.onnx",
        "model_repository/tiny/config.pbtxt",
        "openapi.json",
        "plan.json",
    ]


def test_what_was_changed_since_fails_the_check(bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 4 names the file."""
    main(["sign", str(bundle), "--key", str(key)])
    (bundle / "openapi.json").write_text("{}")

    assert main(["sign", str(bundle), "--check", "--key", str(key.with_suffix(".pub"))]) == 4
    assert "'openapi.json' is not what was signed" in capsys.readouterr().err


def test_the_check_reads_the_model(bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A service compares the model while it loads it; the check compares it itself."""
    main(["sign", str(bundle), "--key", str(key)])
    model = next(bundle.glob("model_repository/*/1/model.onnx"))
    model.write_bytes(model.read_bytes()[:-1] + b"\0")

    assert main(["sign", str(bundle), "--check", "--key", str(key.with_suffix(".pub"))]) == 4
    assert "model.onnx' is not what was signed" in capsys.readouterr().err


def test_a_damaged_model_is_not_signed(bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A signature under a bundle that cannot start would only hide that."""
    model = next(bundle.glob("model_repository/*/1/model.onnx"))
    model.write_bytes(b"other")

    assert main(["sign", str(bundle), "--key", str(key)]) == 4
    assert "does not match its digest in plan.json" in capsys.readouterr().err
    assert not (bundle / "model.sig").exists()


def test_a_strangers_file_is_not_signed(bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What nimify did not put into the model repository would be missing from images."""
    (bundle / "model_repository/stranger.bin").write_bytes(b"")

    assert main(["sign", str(bundle), "--key", str(key)]) == 4
    assert "'model_repository/stranger.bin' was not put there by nimify" in capsys.readouterr().err


def test_a_public_key_does_not_sign(bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The wrong half of a pair is an error of whoever called."""
    assert main(["sign", str(bundle), "--key", str(key.with_suffix(".pub"))]) == 2
    assert "holds no private key" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["BUNDLE"], [], ["BUNDLE", "--generate-key", "x.pem"]])
def test_incomplete_commands_are_explained(bundle: Path, arguments: list[str]) -> None:
    """Exit code 2, before anything is read or written."""
    assert main(["sign", *(str(bundle) if argument == "BUNDLE" else argument for argument in arguments)]) == 2


def test_a_new_bundle_needs_a_new_signature(tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The old signature stays where it was, and fails."""
    from nimify.testing import models

    model, bundle = tmp_path / "m.onnx", tmp_path / "made"
    models.save(models.ALL["tiny"](), model)
    assert main(["create", str(model), "-o", str(bundle), "-q"]) == 0
    assert main(["sign", str(bundle), "--key", str(key)]) == 0
    models.save(models.ALL["fp16"](), model)
    assert main(["create", str(model), "-o", str(bundle), "-q"]) == 0

    assert main(["sign", str(bundle), "--check", "--key", str(key.with_suffix(".pub"))]) == 4
