"""Metric values in shared memory: slots add up, and outlive the worker that wrote them."""

from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest

from nimify.metrics import catalog
from nimify.metrics.catalog import Metric
from nimify.metrics.exposition import exposition
from nimify.metrics.registry import CELLS_PER_SLOT, VACANT, Registry
from nimify.metrics.service import GrpcMetrics, ServiceMetrics

REQUESTS = Metric("requests", "counter", "Requests.", ("model",))
WAITING = Metric("waiting", "gauge", "Waiting.")
LOAD = Metric("load", "gauge", "Seconds.", per_worker="max")
SIZES = Metric("sizes", "histogram", "Sizes.", (), (1.0, 2.5, 10.0))


def worker(shared: Registry, slot: int) -> Registry:
    """As after a fork: the same memory, its own slot and its own list of series."""
    registry = copy.copy(shared)
    registry._series = []
    registry._used = 1
    registry.use_slot(slot)
    return registry


def total(registry: Registry, metric: Metric, offset: int = 0) -> float:
    series = next(item for item in registry.series if item.metric is metric)
    return registry.total(series.first_cell + offset, how=metric.per_worker)


def test_a_counter_adds() -> None:
    """By one, or by any amount."""
    registry = Registry()
    counter = registry.counter(REQUESTS, "m")
    counter.add()
    counter.add(2.5)
    assert total(registry, REQUESTS) == 3.5


def test_workers_add_up_and_any_of_them_can_be_asked() -> None:
    """Counters and gauges are summed; a gauge may be a maximum."""
    shared = Registry(workers=3)
    registries = [worker(shared, slot) for slot in range(3)]
    for number, registry in enumerate(registries, start=1):
        registry.counter(REQUESTS, "m").add(number)
        registry.gauge(WAITING).set(number * 10)
        registry.gauge(LOAD).set(number / 2)
    for registry in registries:
        assert [total(registry, metric) for metric in (REQUESTS, WAITING, LOAD)] == [6, 60, 1.5]


_FORKING = """
import os
from nimify.metrics import catalog
from nimify.metrics.registry import Registry

registry = Registry(workers=2)
pid = os.fork()
registry.use_slot(1 if pid == 0 else 0)
counter = registry.counter(catalog.WORKER_RESTARTS)
counter.add(5 if pid == 0 else 2)
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
print(registry.total(registry.series[0].first_cell))
"""


def test_a_real_child_process_counts_into_the_same_memory() -> None:
    """What a forked worker adds, its parent sees after its death."""
    # In a process of its own: forking one that has threads, as this one may, is what Python warns of.
    result = subprocess.run([sys.executable, "-c", _FORKING], capture_output=True, text=True, check=True)
    assert result.stdout == "7.0\n"


def test_a_replaced_worker_goes_on_counting_but_its_gauges_are_void() -> None:
    """Counters and histograms never fall back; what a dead worker held open is closed."""
    shared = Registry(workers=2)
    survivor, dead = worker(shared, 0), worker(shared, 1)
    survivor.counter(REQUESTS, "m").add(1)
    survivor.gauge(WAITING).set(1)
    survivor.histogram(SIZES)
    dead.counter(REQUESTS, "m").add(10)
    dead.gauge(WAITING).set(7)
    dead.histogram(SIZES).observe(2)
    replacement = worker(shared, 1)
    replacement.counter(REQUESTS, "m").add(100)
    gauge = replacement.gauge(WAITING)
    replacement.histogram(SIZES).observe(2)
    assert total(survivor, REQUESTS) == 111
    assert (total(survivor, WAITING), gauge.value) == (1, 0)
    assert total(survivor, SIZES, 1) == 2


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(-1, 0), (0, 0), (1, 0), (1.0000001, 1), (2.5, 1), (2.6, 2), (10, 2), (10.5, 3), (float("inf"), 3)],
)
def test_a_value_equal_to_a_bound_belongs_to_that_bucket(value: float, bucket: int) -> None:
    """`le` is lower or equal; what is above all bounds goes to +Inf."""
    registry = Registry()
    registry.histogram(SIZES).observe(value)
    counts = [total(registry, SIZES, index) for index in range(4)]
    assert counts == [float(index == bucket) for index in range(4)]
    assert total(registry, SIZES, 4) == value


def test_each_workers_state_is_seen_by_all() -> None:
    """0 before a worker has told anything."""
    shared = Registry(workers=2)
    worker(shared, 1).set_state(-1)
    assert worker(shared, 0).states == [0, -1]


def test_series_do_not_share_cells() -> None:
    """Neighbours of a histogram keep their values."""
    registry = Registry()
    before = registry.counter(REQUESTS, "a")
    histogram = registry.histogram(SIZES)
    after = registry.counter(REQUESTS, "b")
    registry.set_state(5)
    for value in (0, 2, 3, 99):
        histogram.observe(value)
    before.add(1)
    after.add(2)
    cells = [registry.total(series.first_cell) for series in registry.series]
    assert cells == [1, 1, 2]
    assert registry.states == [5]


def test_wrong_labels_and_too_many_series_are_errors_at_start_up() -> None:
    """Not silently somebody else's cells."""
    registry = Registry(workers=2)
    with pytest.raises(ValueError, match="labels"):
        registry.counter(REQUESTS)
    for number in range(CELLS_PER_SLOT - 1):
        registry.counter(REQUESTS, str(number))
    with pytest.raises(ValueError, match="too small"):
        registry.counter(REQUESTS, "one more")


def service_metrics() -> ServiceMetrics:
    return ServiceMetrics(
        Registry(), model="m", version="1", statuses=(200, 404), build_labels=("1", "e", "m", "d"), started_s=5.0
    )


def test_every_metric_of_the_catalog_is_registered() -> None:
    """None is promised and not exported, and none is exported twice."""
    registry = service_metrics().registry
    GrpcMetrics(registry, {"Infer": True, "Watch": False}, {0: "OK", 3: "INVALID_ARGUMENT"})
    series = registry.series
    assert {item.metric for item in series} == set(catalog.CATALOG)
    assert len({(item.metric.name, item.label_values) for item in series}) == len(series)


def test_the_catalog_is_well_formed() -> None:
    """Names are unique, kinds known, buckets ascending, and every help is a sentence."""
    names = [metric.name for metric in catalog.CATALOG]
    assert len(set(names)) == len(names)
    for metric in catalog.CATALOG:
        assert metric.kind in {"counter", "gauge", "histogram"}
        assert bool(metric.buckets) is (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert metric.help.endswith(".")


def test_process_figures_are_measured() -> None:
    """A running process has spent CPU time, holds memory and files; sampling twice does not count twice."""
    metrics = service_metrics()
    for _ in range(2):
        metrics.process.sample()
    registry, times = metrics.registry, os.times()
    assert 0 < total(registry, catalog.PROCESS_CPU) <= times.user + times.system
    assert total(registry, catalog.PROCESS_MEMORY) > 1_000_000
    assert total(registry, catalog.PROCESS_FDS) > 2
    assert total(registry, catalog.PROCESS_START) == 5


def test_what_a_worker_counted_stays_when_its_slot_is_vacant() -> None:
    """And its gauges are void, until another worker has the slot."""
    registry = Registry(workers=1, spare=1)
    assert registry.states == [0.0, VACANT]
    counter, gauge = registry.counter(catalog.WORKER_RESTARTS), registry.gauge(catalog.WORKERS)
    counter.add(3)
    gauge.set(1.0)
    registry.vacate(0)
    page = exposition(registry)
    assert f"\n{catalog.WORKER_RESTARTS.name} 3\n" in page
    assert f"\n{catalog.WORKERS.name} 0\n" in page
