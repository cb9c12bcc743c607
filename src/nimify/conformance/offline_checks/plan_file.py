"""Can the service start from plan.json?"""

from __future__ import annotations

from nimify import plugins
from nimify.artifacts.bundle import Bundle
from nimify.conformance.report import CheckResult, failed, passed
from nimify.metrics.collectors.loader import check_collectors
from nimify.serving.processors.pipeline import ProcessorPipeline

_NAME = "plan"


def check_plan_file(bundle: Bundle) -> CheckResult:
    """Read plan.json as the service does: its engine and collectors exist, and its processors fit the signature."""
    service = bundle.service
    plugins.find(plugins.ENGINES, service.engine)
    pipeline = ProcessorPipeline.load(service.pipeline, service.signature, bundle.path)
    check_collectors(service.collectors, bundle.path)
    if pipeline.api != service.api:
        return failed(
            _NAME,
            "The processors map the signature to something else than plan.json says.",
            "Write the plan again with: nimify create MODEL",
        )
    if service.model_digest != bundle.manifest.model_digest:
        return failed(_NAME, "plan.json and manifest.json are about two different models.")
    return passed(_NAME, f"plan.json describes {service.name} {service.version}, and the service can read it.")
