"""`Candidate`: one way to serve a bundle, as the settings that tuning sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from nimify.serving.spec import ServiceSpec

BATCH: Final = "batching.max_batch_size"
DELAY: Final = "batching.max_queue_delay_us"
THREADS: Final = "threads"
INSTANCES: Final = "resources.instances"
SETTINGS: Final[Mapping[str, str]] = {
    BATCH: "max_batch_size",
    INSTANCES: "instances",
    THREADS: "threads",
    DELAY: "max_queue_delay_us",
}
"""The settings in the order in which they are swept, and the field of each: here, in `ServiceSpec` and in `tuning`."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to serve a bundle.

    Attributes:
        max_batch_size: Most rows in one run of the engine.
        max_queue_delay_us: How long a request waits for company, in microseconds.
        threads: Threads inside the engine of each instance; 0 for its share of the CPUs.
        instances: Worker processes, each with the model.
    """

    max_batch_size: int
    max_queue_delay_us: int
    threads: int
    instances: int

    @classmethod
    def of(cls, spec: ServiceSpec) -> Candidate:
        """How a bundle is served as it is planned."""
        return cls(**{field: getattr(spec, field) for field in SETTINGS.values()})

    def value(self, setting: str) -> int:
        """What it says of a setting."""
        value: int = getattr(self, SETTINGS[setting])
        return value

    def having(self, setting: str, value: int) -> Candidate:
        """The same with another value of one setting; a delay goes with the merging that it is for."""
        changed = replace(self, **{SETTINGS[setting]: value})
        return replace(changed, max_queue_delay_us=0) if changed.max_batch_size < 2 else changed

    def changed_from(self, other: Candidate) -> tuple[str, ...]:
        """The settings in which it differs from another one."""
        return tuple(setting for setting in SETTINGS if self.value(setting) != other.value(setting))

    def served(self, spec: ServiceSpec) -> ServiceSpec:
        """The service as it is served with these settings."""
        return replace(spec, **{field: getattr(self, field) for field in SETTINGS.values()})

    def to_dict(self) -> dict[str, int]:
        """As plain data, by setting."""
        return {setting: self.value(setting) for setting in SETTINGS}
