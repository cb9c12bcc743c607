"""The sections of nimify.yaml that concern the service itself."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, field_validator

from nimify.config.section import ByteSize, Section


class LicenseConfig(Section):
    """The licence of the model, reported by `/v1/license`."""

    name: str = ""
    """SPDX identifier or title, e.g. `Apache-2.0`."""
    url: str = ""
    """Where the text can be read."""
    content: str = ""
    """The text itself."""


class BatchingConfig(Section):
    """How requests are merged."""

    max_batch_size: Annotated[int, Field(ge=0, le=65536)] | None = None
    """Most rows in one run; 0 turns merging off; left out, it is decided."""
    max_queue_delay_us: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """How long a request may wait for company, in microseconds."""


class StepConfig(Section):
    """One processor: `softmax`, or `{top_k: {k: 3}}`."""

    use: str
    """Name of a processor, or `file.py:name` for your own."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What it is told; see its own description."""

    @field_validator("options")
    @classmethod
    def _plain_data(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(options, allow_nan=False)  # plan.json will hold them
        except (TypeError, ValueError):
            raise ValueError("must hold text, finite numbers, booleans, lists and mappings only") from None
        return options


class PipelineConfig(Section):
    """Processors around the engine."""

    before: tuple[StepConfig, ...] = ()
    """From what the client sends to what the model takes, in this order."""
    after: tuple[StepConfig, ...] = ()
    """From what the model gives to what the client gets, in this order."""

    @field_validator("before", "after", mode="before")
    @classmethod
    def _short_forms(cls, steps: Any) -> Any:
        return short_forms(steps)


class CollectorConfig(StepConfig):
    """One collector: `cgroup`, or `{my_metrics.py:QueueAge: {folder: /queue}}`."""

    use: str
    """Name of a collector, or `file.py:name` for your own."""
    interval_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """Seconds from the end of one collection to the next."""


class LimitsConfig(Section):
    """What one replica accepts; left out, the service's defaults hold."""

    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 40)] | None = None
    """Longest request body, in bytes."""
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Open client connections."""
    max_queue_size: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests that may wait for the engine."""
    header_timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Seconds that the headers of a request may take to arrive."""
    body_timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Seconds that the body of a request may take to arrive."""
    keep_alive_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Seconds that an idle connection is kept."""
    request_timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Seconds from receipt to answer."""
    drain_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    """Seconds that SIGTERM keeps the service accepting, while it is no longer ready."""
    shutdown_grace_s: Annotated[float, Field(ge=0, le=86_400)] | None = None
    """Seconds that requests in flight may take after that."""


class ResourcesConfig(Section):
    """What one replica gets; left out, it is decided from the analysis."""

    memory: ByteSize | None = None
    """Memory that is reserved for it, e.g. `512Mi`."""
    memory_limit: ByteSize | None = None
    """Memory beyond which it is ended."""
    cpu: Annotated[float, Field(gt=0, le=1024)] | None = None
    """CPUs that are reserved for it; 0.5 is half of one."""
    cpu_limit: Annotated[float, Field(gt=0, le=1024)] | None = None
    """CPUs beyond which it is slowed down; left out, there is no such limit."""
    gpu: str | None = None
    """The GPU for the Triton runtime, by its name in the catalogue, e.g. `L4`; `none` for no GPU."""
    instances: Annotated[int, Field(ge=1, le=64)] | None = None
    """Copies of the model in one replica; the embedded engine runs each in a process of its own."""


class TensorRTConfig(Section):
    """Whether the Triton runtime executes the model with TensorRT."""

    enabled: bool | None = None
    """`true` or `false`; left out, it follows what TensorRT supports of the model."""


class ResponseCacheConfig(Section):
    """Whether answers are remembered, so that equal requests do not run the model again."""

    size: ByteSize | None = None
    """Memory for answers that are remembered, e.g. `64Mi`; left out, none are."""


class GoldenConfig(Section):
    """How golden requests are drawn and compared."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """What random inputs are drawn from."""
    sample: str | None = None
    """An .npz or .json file with your own inputs, relative to nimify.yaml."""
    rtol: Annotated[float, Field(ge=0)] | None = None
    """Relative tolerance; left out, it follows the datatype."""
    atol: Annotated[float, Field(ge=0)] | None = None
    """Absolute tolerance; left out, it follows the datatype."""


def short_forms(steps: Any) -> Any:
    """Steps written out, where they may be only a name, or a name and its options; anything else as it is."""
    return tuple(_step(step) for step in steps) if isinstance(steps, list | tuple) else steps


def _step(step: Any) -> Any:
    if isinstance(step, str):
        return {"use": step}
    if isinstance(step, dict) and len(step) == 1 and "use" not in step:
        ((use, options),) = step.items()
        return {"use": use, "options": {} if options is None else options}
    return step
