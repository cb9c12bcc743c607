"""The contract of a collector: code that adds metrics of its own to `/v1/metrics`.

A collector says once which metrics it has, and again and again which values they have now. It is found as an entry
point of `nimify.collectors`, or as `file.py:name` in the bundle. The entry point is a factory: called with the options
of the settings as keyword arguments, it returns the collector. See docs/extending/collectors.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from nimify.metrics.catalog import Metric

__all__ = ["CONTRACT_VERSION", "Collector", "CollectorFactory", "Metric", "Sample", "contract_version"]

CONTRACT_VERSION: Final = 1
"""Raised when a collector of the version before would no longer work."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The value of one series.

    Attributes:
        name: Of a metric that `describe` has.
        value: What it is now; of a counter, the total so far.
        labels: A value for each label of the metric, by the label's name.
    """

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Collector(Protocol):
    """Says what can be measured, and measures it."""

    def describe(self) -> Sequence[Metric]:
        """The metrics, counters and gauges; called when the service is made, and again when it starts.

        It must not depend on anything but the options: `nimify create` may run on another machine than the service.
        """
        ...

    def collect(self) -> Iterable[Sample]:
        """The values now; called on a thread that belongs to this collector alone.

        A metric without a sample is left out until there is one. Whatever is raised is logged, and counts as a failure
        of the collector, never of the service; it is asked again after its interval.
        """
        ...


class CollectorFactory(Protocol):
    """What an entry point of `nimify.collectors` is: a class or function called with the options of the settings.

    Its attribute `contract_version` tells which version of this contract it was written for; 1 when it has none.
    """

    def __call__(self, **options: Any) -> Collector:
        """Make the collector; quickly, and without asking for anything that only the service can reach.

        Options that name files arrive as absolute paths when the factory lists them in `file_options`.

        Raises:
            ConfigError: An option is wrong; names it.
            TypeError: An option is unknown or missing; nimify turns it into a `ConfigError`.
        """
        ...


def contract_version(factory: object) -> object:
    """The version of the contract that a factory was written for; whatever it says of itself."""
    return getattr(factory, "contract_version", 1)
