"""Which ONNX Runtime and which release of Triton load a model."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import onnx
import pytest

from nimify.analysis import versions
from nimify.analysis.tables.releases import (
    RuntimeRelease,
    RuntimeTable,
    TritonRelease,
    TritonTable,
    load_runtime_releases,
    load_triton_releases,
)
from nimify.analysis.versions import VersionReport, check_versions, installed_runtime
from nimify.findings import Finding, Severity
from nimify.formats.format import ModelInfo, Weights
from nimify.formats.onnx import OnnxFormat
from nimify.tensors import Signature
from nimify.testing import models


def model(opset: int = 17, ir: int = 8, **changes: Any) -> ModelInfo:
    info = ModelInfo(
        path=Path("model.onnx"),
        format="onnx",
        files=(),
        digest="",
        signature=Signature((), ()),
        format_version=str(ir),
        opsets={"ai.onnx": opset},
        operators={"Relu": 1},
        weights=Weights(0, 0, {}),
        producer="",
        metadata={},
    )
    return replace(info, **changes)


def runtime(version: str, opset: int, *, ml: int = 5, ir: int = 13) -> RuntimeRelease:
    return RuntimeRelease(version, 7, opset, ml, ir, "measured", "here")


def triton(tag: str, onnxruntime: str | None) -> TritonRelease:
    return TritonRelease(tag, "2.0", None, None, None, onnxruntime, "source", "", "here")


RUNTIMES = RuntimeTable(
    (runtime("1.20.0", 21, ir=10), runtime("1.24.0", 25), runtime("1.28.0", 26)), frozenset({"Crop"})
)
TRITON = TritonTable(
    (triton("26.10", None), triton("26.08", "1.28.0"), triton("26.05", "1.24.4"), triton("25.01", "1.20.1")), "7.5"
)


def check(info: ModelInfo, *, installed: str = "1.28.0") -> VersionReport:
    return check_versions(info, runtimes=RUNTIMES, triton=TRITON, installed=installed)


def fits(report: VersionReport) -> dict[str, bool | None]:
    return {release.tag: release.fits for release in report.releases}


def test_an_old_model_fits_everywhere() -> None:
    """The newest release is taken even where its runtime is not known, because releases keep what they took."""
    report = check(model())

    assert (report.runs_here, report.newest_release, report.newest_known) == (True, "26.10", "26.08")
    assert set(fits(report).values()) == {True}
    assert (report.remedy, report.findings()) == ("", ())
    assert report.releases[0].trust == "inferred"


def test_a_newer_operator_set_leaves_out_older_releases() -> None:
    """Each release says which set it takes; the remedy names the first that fits, and the way down."""
    report = check(model(opset=25, ir=11))

    assert fits(report) == {"26.10": True, "26.08": True, "26.05": True, "25.01": False}
    assert "up to 21, and the model uses 25" in report.releases[-1].reason
    assert report.remedy.startswith("Take Triton 26.05 or newer")
    assert "convert_version(onnx.load('model.onnx'), 21)" in report.remedy


def test_a_set_that_nothing_takes_must_be_converted() -> None:
    """Nobody knows whether the newest release takes it."""
    report = check(model(opset=27))

    assert report.runs_here is False
    assert report.newest_release is None
    assert fits(report) == {"26.10": None, "26.08": False, "26.05": False, "25.01": False}
    assert "convert_version(onnx.load('model.onnx'), 26)" in report.remedy
    assert [finding.code for finding in report.findings()] == ["versions.not-here"]


def test_a_newer_file_format_is_lowered() -> None:
    """The IR version can often be set back without changing the graph."""
    report = check(model(ir=12))

    assert fits(report)["25.01"] is False
    assert "m.ir_version = 10" in report.remedy


def test_a_very_old_set_must_be_raised() -> None:
    """ONNX Runtime promises nothing before opset 7."""
    report = check(model(opset=6))

    assert report.runs_here is False
    assert "from 7 on" in report.reason
    assert "13)" in report.remedy


@pytest.mark.parametrize(("operators", "expected"), [({"ai.onnx.ml::Scaler": 1}, False), ({"Relu": 1}, True)])
def test_the_ml_domain_counts_only_when_it_is_used(operators: dict[str, int], expected: bool) -> None:
    """Exporters declare it without using it."""
    info = model(opsets={"ai.onnx": 17, "ai.onnx.ml": 6}, operators=operators)

    assert check(info).runs_here is expected


def test_operators_of_another_domain_run_nowhere() -> None:
    """The format found them; no release brings them."""
    info = model(findings=(Finding("onnx.custom-operators", Severity.WARNING, "custom"),))
    report = check(info)

    assert report.runs_here is False
    assert report.newest_release is None
    assert "standard operators" in report.remedy


@pytest.mark.parametrize(("operator", "expected"), [("Frobnicate", False), ("Gelu", False), ("Crop", True)])
def test_an_operator_that_its_set_does_not_define_is_found(operator: str, expected: bool) -> None:
    """Gelu came with set 20; Crop never was standard, but ONNX Runtime has it."""
    assert check(model(operators={operator: 1})).runs_here is expected


def test_a_set_that_the_installed_onnx_does_not_know_is_not_judged() -> None:
    """It cannot tell which operators are in it."""
    newest = onnx.defs.onnx_opset_version()
    report = check(model(opset=newest + 1, operators={"Frobnicate": 1}))

    assert "operator sets up to" in report.reason


def test_no_runtime_here_is_no_answer() -> None:
    """The releases are judged all the same."""
    report = check(model(), installed="")

    assert (report.runs_here, report.newest_known) == (None, "26.08")


def test_the_runtime_here_is_found_without_importing_it() -> None:
    """The tests need it, so it is there."""
    assert installed_runtime().startswith("1.")


def test_a_machine_without_a_runtime_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error: the bundle may be made for another machine."""

    def missing(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(versions, "version", missing)

    assert installed_runtime() == ""


def test_no_release_at_all_is_a_finding() -> None:
    """The model runs here, but not in any Triton of the table."""
    runtimes = RuntimeTable((*RUNTIMES.releases, runtime("1.32.0", 28)), frozenset())
    report = check_versions(model(opset=28), runtimes=runtimes, triton=TRITON, installed="1.32.0")

    assert report.runs_here is True
    assert [finding.code for finding in report.findings()] == ["versions.no-triton"]


@pytest.mark.parametrize("name", sorted(models.ALL))
def test_every_model_of_the_tests_fits_here_and_in_every_release(name: str, tmp_path: Path) -> None:
    """They are loaded by the ONNX Runtime of this environment in other tests, so the report must say so."""
    path = models.save(models.ALL[name](), tmp_path / "model.onnx")
    info = OnnxFormat().read(path)
    report = check_versions(info, runtimes=load_runtime_releases(), triton=load_triton_releases())

    assert report.runs_here is True
    assert all(release.fits for release in report.releases)
    assert report.to_dict()["newest_known"] == report.newest_known
