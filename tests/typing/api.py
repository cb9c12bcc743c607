"""Typed usage of the public API, for mypy; never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from nimify import ModelAnalyzer, ModelConfig, Nimifier, NIMService
from nimify.analysis.analysis import Analysis
from nimify.artifacts.drift import Drift
from nimify.artifacts.writer import WriteReport
from nimify.conformance.report import Report
from nimify.core import Draft, ServerProcess
from nimify.core.tuning import TuningWish
from nimify.planning.plan import ServicePlan
from nimify.serving.spec import ServiceSpec
from nimify.targets.target import Applied, Deployment
from nimify.tuning.candidate import Candidate
from nimify.tuning.report import TuningReport

config = ModelConfig(name="digits", version="1.2.0")
nimifier = Nimifier(config, trial=False)

assert_type(ModelAnalyzer().analyze("model.onnx"), Analysis)
assert_type(nimifier.analyze("model.onnx"), Analysis)
assert_type(nimifier.plan(Path("model.onnx")), ServicePlan)

draft = nimifier.draft("model.onnx", "digits", link=True)
assert_type(draft, Draft)
assert_type(draft.write(force=True), WriteReport)
assert_type(draft.check(), Drift)

service = nimifier.create("model.onnx")
assert_type(service, NIMService)
assert_type(NIMService.open(Path("digits")), NIMService)
assert_type(service.folder, Path)
assert_type(service.spec, ServiceSpec)
assert_type(service.validate("http://127.0.0.1:8000"), Report)

assert_type(service.deploy("process", settings={"port": "8080"}, progress=print), Applied)
assert_type(service.status().url, str)
assert_type(service.status(), Deployment)
assert_type(service.rollback(2), Applied)
assert_type(service.stop(purge=True), bool)

report = service.tune(TuningWish(objective="p99=20ms", dry_run=True))
assert_type(report, TuningReport)
assert_type(report.chosen, Candidate)

with service.serve(port=8000, workers=2) as server:
    assert_type(server, ServerProcess)
    assert_type(server.url, str)
    assert_type(server.stop(), int)
