"""For authors of collectors: the check that the service makes, and a collector for tests of what stands around one.

page = check_collector(QueueAge(folder="/queue"))  # raises PluginError when the service would refuse it
assert "queue_oldest_seconds 3" in page
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nimify.errors import PluginError
from nimify.metrics.collectors.collector import Collector, Metric, Sample
from nimify.metrics.collectors.loader import LoadedCollector, checked


def check_collector(collector: Collector) -> str:
    """Hold a collector to its contract, as the service does: describe it twice, and collect again and again.

    Args:
        collector: As its factory made it.

    Returns:
        What `/v1/metrics` would say of it then.

    Raises:
        PluginError: The service would refuse it, it describes itself in two ways, or one of its counters falls.
    """
    first = checked(type(collector).__name__, collector)
    second = checked(first.name, collector)
    if dict(first.families) != dict(second.families):
        raise PluginError(f"{first.title} describes other metrics the second time.")
    before, after = _counters(first), _counters(second)
    for series in before.keys() & after.keys():
        if after[series] < before[series]:
            raise PluginError(f"{first.title} lets the counter {series} fall from {before[series]} to {after[series]}.")
    return first.text().decode()


def _counters(loaded: LoadedCollector) -> dict[str, float]:
    """The values of all counters by series, after the service's own checks."""
    lines = [line for line in loaded.text().decode().split("\n") if line and not line.startswith("#")]
    rows = (line.rpartition(" ") for line in lines)
    counters = {name for name, metric in loaded.families.items() if metric.kind == "counter"}
    return {series: float(value) for series, _, value in rows if series.partition("{")[0] in counters}


class FixedCollector:
    """Gives what it was made with.

    Args:
        metrics: What it describes.
        samples: What it collects, each time.
        on_collect: Called before each collection. Raise in it to be a collector that fails; block in it to be slow.

    Attributes:
        collections: How often it was asked.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        samples: Iterable[Sample] = (),
        on_collect: Callable[[], None] | None = None,
    ) -> None:
        self.collections = 0
        self._metrics = tuple(metrics)
        self._samples = tuple(samples)
        self._on_collect = on_collect

    def describe(self) -> Sequence[Metric]:
        """See `Collector.describe`."""
        return self._metrics

    def collect(self) -> Iterable[Sample]:
        """See `Collector.collect`."""
        self.collections += 1
        if self._on_collect is not None:
            self._on_collect()
        return self._samples
