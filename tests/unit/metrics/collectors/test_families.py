"""What a collector may call its metrics."""

from __future__ import annotations

from typing import Any

import pytest

from nimify.errors import PluginError
from nimify.metrics import catalog
from nimify.metrics.collectors.collector import Metric
from nimify.metrics.collectors.families import MAX_FAMILIES, checked_families

WHO = "The collector 'queue'"
AGE = Metric("queue_age_seconds", "gauge", "Age of the oldest, in seconds.", ("queue",))


def test_metrics_are_kept_by_name() -> None:
    """A well-formed description is taken as it is."""
    total = Metric("queue_items_total", "counter", "Items.")
    assert checked_families(WHO, [AGE, total]) == {"queue_age_seconds": AGE, "queue_items_total": total}


@pytest.mark.parametrize("name", ["", "9lives", "a-b", "a:b", "a b", "é", "a\n", "a" * 201, 3])
def test_a_name_follows_the_grammar(name: Any) -> None:
    """Of metrics and of labels; colons are for recording rules."""
    with pytest.raises(PluginError, match="must not call a metric"):
        checked_families(WHO, [Metric(name, "gauge", "Help.")])
    with pytest.raises(PluginError, match="must not call a label"):
        checked_families(WHO, [Metric("m", "gauge", "Help.", (name,))])


@pytest.mark.parametrize(
    "name", [*(metric.name for metric in catalog.CATALOG), "nim_batch_size_bucket", "nim_collector_up", "nv_anything"]
)
def test_no_metric_shadows_one_of_the_service(name: str) -> None:
    """Neither those of the catalog, nor the series of its histograms, nor what may come."""
    with pytest.raises(PluginError, match="the name is the service's own"):
        checked_families(WHO, [Metric(name, "gauge", "Help.")])


@pytest.mark.parametrize(
    ("described", "says"),
    [
        ([], "a list of 1 to 200"),
        (None, "a list of 1 to 200"),
        ([AGE] * (MAX_FAMILIES + 1), "a list of 1 to 200"),
        ([AGE, AGE], "'queue_age_seconds' twice"),
        (["queue_age_seconds"], "as Metric, not as str"),
        ([Metric("m", "histogram", "Help.", (), (1.0,))], "a counter or a gauge"),
        ([Metric("m", "gauge", "")], "explain 'm'"),
        ([Metric("m", "gauge", "\ud800")], "explain 'm'"),
        ([Metric("m", "gauge", "Help.", ("a", "a"))], "each of them once"),
        ([Metric("m", "gauge", "Help.", "ab")], "in a tuple"),  # type: ignore[arg-type]  # the mistake in question
        ([Metric("m", "gauge", "Help.", ("__name__",))], "keeps names with '__' to itself"),
    ],
)
def test_what_cannot_be_exported_is_refused(described: Any, says: str) -> None:
    """With the collector's name and the metric's."""
    with pytest.raises(PluginError, match=f"^{WHO} .*{says}"):
        checked_families(WHO, described)
