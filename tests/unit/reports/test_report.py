"""The page: well-formed, complete, asking nobody anything, and harmless whatever the model says."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nimify.analysis.analysis import Analysis
from nimify.analysis.analyzer import AnalysisOptions, ModelAnalyzer
from nimify.analysis.measure import Measurement, SweepPoint
from nimify.errors import EnvironmentProblem
from nimify.findings import Finding, Severity
from nimify.reports.report import render_report, write_report
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder

HOSTILE = '"><img src=https://example.test/x onerror=alert(1)>\u202e'
VOID = {"meta", "link", "br", "hr", "img"}
SECTIONS = ["Memory along the graph", "Compute by operator", "TensorRT", "GPU fit", "Versions", "Signature"]


class _Checker(HTMLParser):
    """Follows the tags: every one that opens must close, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _parsed(page: str) -> _Checker:
    checker = _Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """A small convolutional network, analysed without being run."""
    path = models.save(models.image_cnn(), tmp_path_factory.mktemp("model") / "image.onnx")
    return ModelAnalyzer(AnalysisOptions(trial=False)).analyze(path)


def test_the_page_has_every_section(analysis: Analysis) -> None:
    """What the analysis knows is on the page, each part under its title."""
    page = render_report(analysis)

    titles = re.findall(r"<h2>([^<]+)", page)
    assert [title for title in titles if title in SECTIONS] == SECTIONS
    assert page.startswith("<!DOCTYPE html>")


def test_the_page_is_well_formed_and_asks_for_nothing(analysis: Analysis) -> None:
    """No script, no handler, no address of anything outside; the policy allows only this style sheet."""
    page = render_report(analysis)
    parsed = _parsed(page)

    assert not {"script", "img", "iframe", "object", "embed", "base", "form"} & set(parsed.seen)
    for name, value in parsed.attributes:
        assert not name.startswith("on")
        assert name not in {"src", "style"}
        assert name != "href" or value == "data:,"
    assert "url(" not in page
    assert "@import" not in page
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src &#x27;sha256-{digest}&#x27;" in page


def test_the_same_analysis_gives_the_same_bytes(analysis: Analysis) -> None:
    """No time, no random identifiers."""
    assert render_report(analysis) == render_report(analysis)


def test_a_hostile_model_stays_text(tmp_path: Path) -> None:
    """Names of tensors, axes, nodes, files and metadata do not become markup, and hide nothing."""
    graph = GraphBuilder("hostile")
    x = graph.input(f"x{HOSTILE}", "FP32", [f"n{HOSTILE}", 4])
    graph.output(graph.op("Relu", x, out=f"y{HOSTILE}"), "FP32", [f"n{HOSTILE}", 4])
    model = graph.model()
    model.producer_name = HOSTILE
    model.graph.node[0].name = HOSTILE
    entry = model.metadata_props.add()
    entry.key, entry.value = HOSTILE, HOSTILE
    path = models.save(model, tmp_path / "a<b>&'.onnx")

    page = render_report(ModelAnalyzer(AnalysisOptions(trial=False)).analyze(path))

    parsed = _parsed(page)
    assert "img" not in parsed.seen
    assert "\u202e" not in page
    assert "onerror=alert(1)&gt;" in page


def test_what_is_not_known_is_left_out(analysis: Analysis) -> None:
    """An analysis of which every estimate failed still makes a page."""
    blind = replace(
        analysis,
        structure=None,
        memory=None,
        gpu_memory=None,
        compute=None,
        rooflines=(),
        tensorrt=None,
        versions=None,
        gpus=None,
        hints=(),
        findings=(Finding("x.y", Severity.WARNING, "It failed.", "Try again."),),
        surroundings=(),
    )
    page = render_report(blind)

    _parsed(page)
    assert re.findall(r"<h2>([^<]+)", page) == ["Findings", "Signature"]
    assert "It failed." in page


def test_a_measurement_is_shown(analysis: Analysis) -> None:
    """One row for each batch size, marked as measured."""
    points = tuple(SweepPoint(batch, 9, 0.001 * batch, 0.002, 1000.0 - batch, 1 << 27) for batch in (1, 2, 4))
    page = render_report(replace(analysis, measured=Measurement(0.2, 1 << 26, 1 << 27, 2, {}, points, "No time.")))

    _parsed(page)
    assert "Measured on this machine" in page
    assert "No time." in page


def test_the_page_is_written_as_a_whole_or_not_at_all(analysis: Analysis, tmp_path: Path) -> None:
    """An older page is replaced; a folder that is not there is named."""
    page = tmp_path / "report.html"
    page.write_text("old")

    write_report(analysis, page)

    assert page.read_text(encoding="utf-8") == render_report(analysis)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(EnvironmentProblem, match=r"cannot be written to .*gone"):
        write_report(analysis, tmp_path / "gone" / "report.html")


def test_the_time_of_a_body_stands_with_its_node(tmp_path: Path) -> None:
    """A loop has no arithmetic of its own, and takes the time nevertheless."""
    path = models.save(models.loop_subgraph(), tmp_path / "model.onnx")
    analysis = ModelAnalyzer(AnalysisOptions(trial=False, thorough=True)).analyze(path)

    assert "Loop, with its body" in render_report(analysis)
