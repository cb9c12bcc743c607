"""From `Analysis` and `ModelConfig` to `ServicePlan`: the order in which decisions are taken.

Nothing here depends on the machine or on a clock: the same inputs give the same plan. The one exception is a
measurement that was asked for (`--measure`); what rests on it says so.
"""

from __future__ import annotations

from typing import Any

from nimify.analysis.analysis import Analysis
from nimify.config import CollectorConfig, ModelConfig, PipelineConfig, StepConfig
from nimify.metrics.collectors.step import CollectorStep
from nimify.planning.accelerators import decide_gpu, decide_tensorrt
from nimify.planning.batching import decide_batch_size, decide_queue_delay
from nimify.planning.deployment import decide_deployment
from nimify.planning.execution import decide_engine, decide_threads, is_data_dependent
from nimify.planning.limits import decide_limits
from nimify.planning.naming import decide_name
from nimify.planning.objectives import decide_objectives
from nimify.planning.plan import Decision, ServicePlan
from nimify.planning.portability import portability_findings
from nimify.planning.repository import MODEL_VERSION, place_files
from nimify.planning.resources import decide_cpu, decide_instances, decide_memory
from nimify.planning.response_cache import decide_response_cache, randomness_findings
from nimify.planning.tolerances import decide_tolerances
from nimify.planning.tuned import as_measured, asking_for, outdated_findings, tuned_values
from nimify.serving.spec import License, Limits, Pipeline, ProcessorStep, ServiceSpec
from nimify.tensors import Signature


def plan(analysis: Analysis, config: ModelConfig, *, api: Signature | None = None) -> ServicePlan:
    """Decide everything about a service.

    Args:
        analysis: What is known of the model.
        config: What is asked for, its files already placed in the bundle; see `collect_assets`.
        api: What `/v1/infer` speaks, when the pipeline changes it; the model's own signature otherwise.

    Raises:
        ConfigError: Something was asked for that this model cannot do.
        UnsupportedModel: No engine executes it, or its files cannot be laid out.
    """
    signature, digest = analysis.model.signature, analysis.model.digest
    tuned, wish = tuned_values(config, digest), config
    config = asking_for(wish, tuned)
    response_cache = decide_response_cache(analysis, config.response_cache)
    limit = config.resources.memory_limit
    batch_size = decide_batch_size(analysis, config.batching, limit and limit - response_cache.value)
    threads = decide_threads(config)
    limits = decide_limits(config.limits, signature.inputs, batch_size.value)
    resources = _resources(analysis, config, batch_size.value, threads.value, limits, response_cache.value)
    decisions = (
        decide_name(analysis, config),
        decide_engine(analysis),
        batch_size,
        decide_queue_delay(config.batching, batch_size.value),
        threads,
        *resources,
        *decide_tensorrt(analysis, config.tensorrt, batch_size.value),
        *limits,
        response_cache,
        *decide_objectives(
            analysis,
            config.objectives,
            max_batch_size=batch_size.value,
            cpus=_value(resources, "resources.cpu"),
            request_timeout_s=_value(limits, "limits.request_timeout_s"),
        ),
        decide_tolerances(signature, config.golden),
    )
    decisions = tuple(as_measured(decision, tuned, wish) for decision in decisions)
    return ServicePlan(
        model=analysis.model,
        service=_service(analysis, config, decisions, api or signature),
        decisions=(*decisions, *decide_deployment(analysis, config.deployment, decisions)),
        findings=(
            *analysis.findings,
            *outdated_findings(wish, digest),
            *portability_findings(signature, batch_size.value),
            *randomness_findings(analysis),
        ),
        measured=analysis.measured,
    )


def _resources(
    analysis: Analysis,
    config: ModelConfig,
    max_batch_size: int,
    threads: int,
    limits: list[Decision],
    response_cache_bytes: int,
) -> list[Decision]:
    asked = config.resources
    instances = decide_instances(asked)
    memory = decide_memory(
        analysis,
        asked,
        max_batch_size=max_batch_size,
        instances=instances.value,
        max_body_bytes=_value(limits, "limits.max_body_bytes"),
        response_cache_bytes=response_cache_bytes,
    )
    return [instances, *decide_cpu(analysis, asked, threads, instances.value), *memory, decide_gpu(analysis, asked)]


def _value(decisions: list[Decision], key: str) -> Any:
    return next(decision.value for decision in decisions if decision.key == key)


def plan_pipeline(config: PipelineConfig) -> Pipeline:
    """The processors around the engine, as the service reads them."""
    return Pipeline(before=_steps(config.before), after=_steps(config.after))


def plan_collectors(collectors: tuple[CollectorConfig, ...]) -> tuple[CollectorStep, ...]:
    """What adds metrics of the owner's own, as the service reads it."""
    return tuple(CollectorStep(step.use, dict(step.options), step.interval_s) for step in collectors)


def _steps(steps: tuple[StepConfig, ...]) -> tuple[ProcessorStep, ...]:
    return tuple(ProcessorStep(step.use, dict(step.options)) for step in steps)


def _service(analysis: Analysis, config: ModelConfig, decisions: tuple[Decision, ...], api: Signature) -> ServiceSpec:
    decided: dict[str, Any] = {decision.key: decision.value for decision in decisions}
    files = place_files(analysis.model, decided["name"])
    return ServiceSpec(
        name=decided["name"],
        version=config.version,
        model_version=MODEL_VERSION,
        model_file=files[0].path,
        model_files=files,
        model_digest=analysis.model.digest,
        engine=decided["engine"],
        signature=analysis.model.signature,
        api=api,
        max_batch_size=decided["batching.max_batch_size"],
        max_queue_delay_us=decided["batching.max_queue_delay_us"],
        threads=decided["threads"],
        instances=decided["resources.instances"],
        data_dependent=is_data_dependent(analysis.model.operators),
        repeatable=not analysis.random_operators,
        response_cache_bytes=decided["response_cache.size"],
        pipeline=plan_pipeline(config.pipeline),
        collectors=plan_collectors(config.collectors),
        limits=Limits(**{name: decided[f"limits.{name}"] for name in Limits.__dataclass_fields__}),
        description=config.description,
        license=License(**config.license.model_dump()),
    )
