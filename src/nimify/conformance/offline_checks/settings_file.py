"""Does nimify.yaml still say what the plan carries out?"""

from __future__ import annotations

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.settings import SETTINGS_FILE
from nimify.config import ModelConfig
from nimify.conformance.report import CheckResult, passed, warned
from nimify.planning.planner import plan_pipeline

_NAME = "settings"


def check_settings_file(bundle: Bundle) -> CheckResult:
    """Read nimify.yaml, and compare what it asks for with plan.json."""
    config = ModelConfig.load(bundle.path / SETTINGS_FILE)
    service = bundle.service
    asked = {
        "name": (config.name, service.name),
        "version": (config.version, service.version),
        "description": (config.description, service.description),
        "threads": (config.threads, service.threads),
        "batching.max_batch_size": (config.batching.max_batch_size, service.max_batch_size),
        "batching.max_queue_delay_us": (config.batching.max_queue_delay_us, service.max_queue_delay_us),
        "pipeline": (plan_pipeline(config.pipeline), service.pipeline),
        **{f"limits.{key}": (wish, getattr(service.limits, key)) for key, wish in config.limits.model_dump().items()},
    }
    stale = [key for key, (wish, planned) in asked.items() if wish is not None and wish != planned]
    if stale:
        return warned(
            _NAME,
            f"{SETTINGS_FILE} asks for something else than the plan carries out: {', '.join(stale)}.",
            "Carry it out with: nimify create MODEL",
        )
    return passed(_NAME, f"{SETTINGS_FILE} is valid, and the plan carries it out.")
