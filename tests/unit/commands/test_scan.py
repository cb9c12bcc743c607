"""`nimify scan`: the verdict as text, as JSON and as an exit code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from nimify.cli import main


@pytest.fixture(autouse=True)
def _no_scanners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    root.mkdir()
    (root / "model.pt").write_bytes(pickle.dumps([1], protocol=4))
    return root


def test_a_pickle_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1; the file, its level and what to do are said."""
    assert main(["scan", str(folder), "--only", "model"]) == 1

    said = capsys.readouterr().out
    assert "critical  model.pickle  model.pt: A pickle" in said
    assert "Failed: 1 at high or above, 0 not scanned." in said


def test_an_accepted_issue_passes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The reason and the last day are shown beside it."""
    ignored = tmp_path / "ignore.yaml"
    ignored.write_text("ignore:\n  - {id: model.pickle, reason: our own, expires: 2999-01-01}\n")

    assert main(["scan", str(folder), "--only", "model", "--ignore-file", str(ignored), "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is True
    assert document["accepted"] == [
        {"id": "model.pickle", "where": "model.pt", "reason": "our own", "expires": "2999-01-01"}
    ]


def test_an_expired_acceptance_does_not_help(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The issue counts again, and the entry is named."""
    ignored = tmp_path / "ignore.yaml"
    ignored.write_text("ignore:\n  - {id: model.pickle, reason: our own, expires: 2020-01-01}\n")

    assert main(["scan", str(folder), "--only", "model", "--ignore-file", str(ignored)]) == 1
    assert "expired on 2020-01-01, and accepts nothing any more: model.pickle" in capsys.readouterr().out


def test_without_scanners_the_gate_stays_shut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A clean folder fails when nobody could look for vulnerabilities; that may be allowed."""
    empty = tmp_path / "empty"
    empty.mkdir()

    assert main(["scan", str(empty)]) == 1
    assert "2 not scanned" in capsys.readouterr().out
    assert main(["scan", str(empty), "--allow-not-scanned"]) == 0


@pytest.mark.parametrize("target", ["./nowhere", "/nowhere", "Not An Image", "-x y"])
def test_what_is_neither_a_path_nor_an_image_is_refused(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, with one line."""
    assert main(["scan", "--", target]) == 2
    assert "target" in capsys.readouterr().err


def test_an_image_is_scanned_for_vulnerabilities(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a scanner it is not scanned, and fails."""
    assert main(["scan", "registry.example.com/team/digits:1.0", "--json"]) == 1

    (scan,) = json.loads(capsys.readouterr().out)["scans"]
    assert (scan["kind"], scan["scanned"]) == ("vulnerabilities", False)


def test_a_name_that_is_no_path_is_said_to_be_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever meant a file learns that there is none."""
    assert main(["scan", "digits.onnx"]) == 1
    assert "no file or folder 'digits.onnx'" in capsys.readouterr().err
