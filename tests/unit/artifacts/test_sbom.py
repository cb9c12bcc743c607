"""The bill of materials: complete, consistent, and the same for the same bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.sbom import REQUIREMENTS_FILE, read_requirements, sbom
from nimify.cli import main
from nimify.errors import BundleDamaged


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_bundle("external-data"), tmp_path / "bundle"))


def _document(bundle: Path) -> dict[str, Any]:
    return sbom(Bundle.open(bundle))


def test_the_model_is_described(bundle: Path) -> None:
    """Its files with their digests, its signature, its figures."""
    service = Bundle.open(bundle).service

    (model,) = [part for part in _document(bundle)["components"] if part["type"] == "machine-learning-model"]

    assert {file["name"]: file["hashes"][0]["content"] for file in model["components"]} == {
        file.path: file.sha256 for file in service.model_files
    }
    inputs = model["modelCard"]["modelParameters"]["inputs"]
    assert [row["format"].partition(":")[0] for row in inputs] == [row.name for row in service.signature.inputs]
    facts = {row["name"]: row["value"] for row in model["properties"]}
    assert facts["nimify:model:digest"] == service.model_digest
    assert int(facts["nimify:model:parameters"]) > 0


def test_every_pinned_package_is_listed_with_its_digests(bundle: Path) -> None:
    """What images install is what the document lists, file for file."""
    text = (bundle / REQUIREMENTS_FILE).read_text()
    packages = [part for part in _document(bundle)["components"] if part["type"] == "library"]

    assert len(packages) == text.count("==") - text.count("'=='") - text.count("version ==") + 1
    listed = [
        row["content"]
        for package in packages
        for reference in package.get("externalReferences", ())
        for row in reference["hashes"]
    ]
    assert len(listed) == text.count("--hash=sha256:")
    assert all(digest in text for digest in listed)


def test_the_same_bundle_gives_the_same_document(bundle: Path, tmp_path: Path) -> None:
    """No time and no random number is in it; another model changes its serial number."""
    twin = Path(shutil.copytree(bundle, tmp_path / "twin"))

    first, second = _document(bundle), _document(twin)
    assert first == second

    plan = (twin / "plan.json").read_text()
    (twin / "plan.json").write_text(plan.replace('"version": "1.0.0"', '"version": "1.0.1"', 1))
    assert _document(twin)["serialNumber"] != first["serialNumber"]


def test_every_reference_is_known_and_unique(bundle: Path) -> None:
    """The graph of dependencies names components that exist, and no two have one name."""
    document = _document(bundle)

    references = [document["metadata"]["component"]["bom-ref"]]
    for part in document["components"]:
        references += [part["bom-ref"], *(file["bom-ref"] for file in part.get("components", ()))]

    assert len(references) == len(set(references))
    for row in document["dependencies"]:
        assert {row["ref"], *row.get("dependsOn", ())} <= set(references)


@pytest.mark.parametrize("line", ["numpy>=2", "numpy", "-r other.txt", "numpy @ https://example.com/x.whl"])
def test_a_requirement_that_pins_nothing_is_refused(bundle: Path, line: str) -> None:
    """A document that leaves a package out would be worse than none."""
    with (bundle / REQUIREMENTS_FILE).open("a") as stream:
        stream.write(f"{line}\n")

    with pytest.raises(BundleDamaged, match="pins no package"):
        read_requirements(Bundle.open(bundle))


def test_the_command_prints_it_or_writes_it(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways carry the same document."""
    assert main(["sbom", str(bundle)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert main(["sbom", str(bundle), "-o", str(tmp_path / "sbom.cdx.json")]) == 0

    assert json.loads((tmp_path / "sbom.cdx.json").read_text()) == printed


def test_a_place_that_cannot_be_written_is_an_error(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 5, with one line."""
    assert main(["sbom", str(bundle), "-o", str(tmp_path / "no/where.json")]) == 5
    assert "cannot be written" in capsys.readouterr().err
