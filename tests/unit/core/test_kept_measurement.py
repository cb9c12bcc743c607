"""A bundle that was planned with a measurement stays what it is when it is made again without measuring."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nimify import Nimifier
from nimify.analysis import measure
from nimify.analysis.analyzer import AnalysisOptions
from nimify.core import kept_measurement
from nimify.core.draft import Draft
from nimify.testing import models


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that was planned with a measurement; no test changes it."""
    folder = tmp_path_factory.mktemp("kept")
    model = models.save(models.digits_mlp(), folder / "digits.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "BUDGET_S", 0.3)
        return Nimifier(options=AnalysisOptions(measure=True)).create(model, folder / "bundle").folder


@pytest.fixture
def bundle(measured: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "bundle"))


def _codes(draft: Draft) -> set[str]:
    return {finding.code for finding in draft.analysis.surroundings}


def _basis(draft: Draft) -> str:
    return next(str(decision.basis) for decision in draft.plan.decisions if decision.key == "resources.memory")


def _change(bundle: Path, **changes: Any) -> None:
    plan = json.loads((bundle / "plan.json").read_text())
    plan["measured"].update(changes)
    (bundle / "plan.json").write_text(json.dumps(plan))


def test_a_measurement_is_kept_byte_for_byte(bundle: Path) -> None:
    """Made again from itself without measuring, no file differs, and a finding says what the plan rests on."""
    draft = Nimifier().draft(bundle)

    assert not draft.check()
    assert "measure.kept" in _codes(draft)
    assert _basis(draft) == "measured"


def test_it_is_kept_in_a_copy_as_well(bundle: Path, tmp_path: Path) -> None:
    """A bundle made from another one inherits its measurement."""
    draft = Nimifier().draft(bundle, tmp_path / "copy")

    assert _basis(draft) == "measured"


def test_it_can_be_forgotten(bundle: Path) -> None:
    """Without it the plan is that of the estimates, and says nothing of a measurement."""
    draft = Nimifier().draft(bundle, keep_measured=False)

    assert _basis(draft) == "estimated"
    assert "measured" not in draft.plan.to_dict()


def test_another_model_ends_it(bundle: Path, tmp_path: Path) -> None:
    """What was measured of one model says nothing about the next."""
    other = models.save(models.tiny(), tmp_path / "digits.onnx")

    draft = Nimifier().draft(other, bundle)

    assert _basis(draft) == "estimated"
    assert "measure.outdated" in _codes(draft)


def test_another_runtime_ends_it(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another ONNX Runtime takes another time."""
    monkeypatch.setattr(kept_measurement, "installed_runtime", lambda: "0.0.1")

    draft = Nimifier().draft(bundle)

    assert _basis(draft) == "estimated"
    assert "measure.outdated" in _codes(draft)


@pytest.mark.parametrize("changes", [{"points": []}, {"points": 3}, {"threads": "many"}, {"shapes": []}])
def test_nonsense_in_the_plan_is_dropped(changes: dict[str, Any], bundle: Path) -> None:
    """What its owner made of plan.json is no reason to fail."""
    _change(bundle, **changes)

    draft = Nimifier().draft(bundle)

    assert _basis(draft) == "estimated"
    assert "measure.outdated" in _codes(draft)


def test_a_bundle_that_was_never_measured_says_nothing(tmp_path: Path) -> None:
    """Nothing was there, so nothing is kept or missed."""
    model = models.save(models.digits_mlp(), tmp_path / "digits.onnx")
    service = Nimifier(trial=False).create(model, tmp_path / "bundle")

    draft = Nimifier(trial=False).draft(service.folder)

    assert not {code for code in _codes(draft) if code.startswith("measure.")}
