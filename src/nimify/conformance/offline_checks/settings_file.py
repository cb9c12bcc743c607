"""Does nimify.yaml still say what the plan carries out?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.chart.chart import CHART_FOLDER
from nimify.artifacts.chart.values import asked_values
from nimify.artifacts.extras import EXTRA_FILES
from nimify.artifacts.settings import SETTINGS_FILE
from nimify.config import DeploymentConfig, ModelConfig
from nimify.conformance.report import CheckResult, passed, warned
from nimify.conformance.yaml_documents import yaml_documents
from nimify.planning.accelerators import known_gpu
from nimify.planning.planner import plan_collectors, plan_pipeline

_NAME = "settings"
VALUES_FILE: Final = f"{CHART_FOLDER}/values.yaml"


def check_settings_file(bundle: Bundle) -> CheckResult:
    """Read nimify.yaml, and compare what it asks for with plan.json."""
    config = ModelConfig.load(bundle.path / SETTINGS_FILE)
    service = bundle.service
    asked = {
        **{key: (_wish(config, key), value) for key, value in bundle.decided().items()},
        # What the service itself reads; where that is a decision as well, this is what counts.
        "name": (config.name, service.name),
        "version": (config.version, service.version),
        "description": (config.description, service.description),
        **{
            f"license.{key}": (wish, getattr(service.license, key)) for key, wish in config.license.model_dump().items()
        },
        "threads": (config.threads, service.threads),
        "batching.max_batch_size": (config.batching.max_batch_size, service.max_batch_size),
        "batching.max_queue_delay_us": (config.batching.max_queue_delay_us, service.max_queue_delay_us),
        "response_cache.size": (config.response_cache.size, service.response_cache_bytes),
        "pipeline": (plan_pipeline(config.pipeline), service.pipeline),
        "collectors": (plan_collectors(config.collectors), service.collectors),
        **{f"limits.{key}": (wish, getattr(service.limits, key)) for key, wish in config.limits.model_dump().items()},
    }
    stale = [key for key, (wish, planned) in asked.items() if wish is not None and wish != planned]
    stale += _not_in_the_chart(bundle, config.deployment)
    written = bundle.manifest.files
    if any((name in config.extras) != (file in written) for name, file in EXTRA_FILES.items()):
        stale.append("with")
    if stale:
        return warned(
            _NAME,
            f"{SETTINGS_FILE} asks for something else than the plan carries out: {', '.join(stale)}.",
            "Carry it out with: nimify create MODEL",
        )
    return passed(_NAME, f"{SETTINGS_FILE} is valid, and the plan carries it out.")


def _not_in_the_chart(bundle: Bundle, asked: DeploymentConfig) -> Iterator[str]:
    """The settings that only the chart carries out, and does not; whether it can be read is another check's concern."""
    try:
        (values,) = yaml_documents((bundle.path / VALUES_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if not isinstance(values, dict):
        return
    if values.get("nodeSelector") != asked.node_selector:
        yield "deployment.node_selector"
    for key, wanted in asked_values(asked).items():
        for (section, name), value in wanted.items():
            found = values.get(section)
            if not isinstance(found, dict) or found.get(name) != value:
                yield key
                break


def _wish(config: ModelConfig, key: str) -> Any:
    """What is asked for under the key of a decision; `None` when nothing is, or when it is no setting."""
    part: Any = config
    for name in key.split("."):
        part = getattr(part, name, None)
    # A GPU may be asked for in any case, and is decided as the catalogue writes it.
    return known_gpu(part) if key == "resources.gpu" and part is not None else part
