"""The section of nimify.yaml that `nimify tune` writes: what it measured to be best, and why.

It counts for the model that was measured, and where nothing else in nimify.yaml speaks of the same setting.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nimify.config.section import Section


class TunedValue(Section):
    """A value that was measured to be better."""

    value: Annotated[int, Field(ge=0, le=10_000_000)]
    """The value of the setting."""
    reason: Annotated[str, Field(max_length=1000)]
    """What was measured with it, and without."""


class TuningConfig(Section):
    """What `nimify tune` found; delete the section to go back to what is planned without it."""

    objective: Annotated[str, Field(max_length=100)] = ""
    """What had to be kept, e.g. `p99=20ms`."""
    machine: Annotated[str, Field(max_length=300)] = ""
    """The processor that it was measured on."""
    model: Annotated[str, Field(max_length=100)] = ""
    """Digest of the model that was measured; for any other model the section counts for nothing."""
    max_batch_size: TunedValue | None = None
    """For `batching.max_batch_size`."""
    max_queue_delay_us: TunedValue | None = None
    """For `batching.max_queue_delay_us`."""
    threads: TunedValue | None = None
    """For `threads`."""
    instances: TunedValue | None = None
    """For `resources.instances`."""
