"""What a collector gave, as Prometheus reads it."""

from __future__ import annotations

import math
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.metrics.test_exposition import parse

from nimify.errors import PluginError
from nimify.metrics.collectors.collector import Metric, Sample
from nimify.metrics.collectors.samples import MAX_SERIES, samples_text

WHO = "The collector 'queue'"
FAMILIES = {
    "age": Metric("age", "gauge", 'The "age"\\\nin seconds.', ("queue", "state")),
    "items_total": Metric("items_total", "counter", "Items."),
    "size": Metric("size", "gauge", "Size.", ("id",)),
}


def text(*samples: Any) -> str:
    return samples_text(WHO, FAMILIES, samples).decode()


def test_samples_of_one_metric_stand_together() -> None:
    """In whatever order they were given, with one head, and labels in the order of the description."""
    page = text(
        Sample("age", 1.5, {"state": "new", "queue": "a"}),
        Sample("items_total", 3),
        Sample("age", 2, {"queue": "b", "state": "new"}),
    )
    assert page.split("\n") == [
        '# HELP age The "age"\\\\\\nin seconds.',
        "# TYPE age gauge",
        'age{queue="a",state="new"} 1.5',
        'age{queue="b",state="new"} 2',
        "# HELP items_total Items.",
        "# TYPE items_total counter",
        "items_total 3",
        "",
    ]


@given(st.text(max_size=1024), st.floats())
def test_any_label_and_value_can_be_read_back(label: str, value: float) -> None:
    """Quotes, backslashes and line ends included; a gauge may hold anything a float can."""
    ((key, read),) = parse(text(Sample("size", value, {"id": label}))).items()
    assert key == ("size", (("id", label),))
    assert math.isnan(read) if math.isnan(value) else read == value


def test_what_is_no_text_stays_visible() -> None:
    """A file's undecodable name must not make the page unreadable."""
    assert parse(text(Sample("size", 1, {"id": "a\udcff"}))) == {("size", (("id", "a\\udcff"),)): 1}


@pytest.mark.parametrize("value", [3, True, np.float32(0.5), np.int64(2)])
def test_any_real_number_will_do(value: Any) -> None:
    """Those of numpy as well."""
    assert parse(text(Sample("size", value, {"id": "a"}))) == {("size", (("id", "a"),)): float(value)}


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        (("size", 1), "as Sample, not as tuple"),
        (Sample("other", 1), "'other', which it does not describe"),
        (Sample("size", 1), "exactly the labels that it describes: id"),
        (Sample("size", 1, {"id": "a", "more": "b"}), "exactly the labels"),
        (Sample("items_total", 1, {"id": "a"}), "it describes: none"),
        (Sample("size", 1, None), "exactly the labels"),  # type: ignore[arg-type]  # the mistake in question
        (Sample("size", 1, {"id": 3}), "text, not int"),  # type: ignore[dict-item]  # the same
        (Sample("size", 1, {"id": "a" * 1025}), "more than 1024 characters"),
        (Sample("items_total", "1"), "a number, not str"),  # type: ignore[arg-type]  # the same
        (Sample("items_total", 10**400), "too large"),
        (Sample("items_total", -1), "no total"),
        (Sample("items_total", math.nan), "no total"),
        (Sample("items_total", math.inf), "no total"),
    ],
)
def test_what_was_not_described_is_refused(sample: Any, says: str) -> None:
    """With the collector's name."""
    with pytest.raises(PluginError, match=f"^{WHO} .*{says}"):
        text(sample)


def test_a_series_is_given_once() -> None:
    """Prometheus would drop the whole page."""
    with pytest.raises(PluginError, match="a value of 'size' twice, with the labels a"):
        text(Sample("size", 1, {"id": "a"}), Sample("size", 2, {"id": "a"}))


def test_the_number_of_series_is_bounded() -> None:
    """A thousand are taken; of an endless generator not one more is asked than shows that it is too long."""
    page = samples_text(WHO, FAMILIES, (Sample("size", 1, {"id": str(number)}) for number in range(MAX_SERIES)))
    assert len(parse(page.decode())) == MAX_SERIES
    asked = count()
    with pytest.raises(PluginError, match="more than 1000 series"):
        samples_text(WHO, FAMILIES, (Sample("size", 1, {"id": str(number)}) for number in asked))
    assert next(asked) == MAX_SERIES + 1


def test_the_length_of_the_text_is_bounded() -> None:
    """Few series of long labels cost as much as many."""
    with pytest.raises(PluginError, match="more than 262144 bytes"):
        text(*(Sample("size", 1, {"id": f"{number:04}" + "x" * 1000}) for number in range(300)))


def test_what_is_no_list_is_refused() -> None:
    """A `collect` that forgot to return."""
    with pytest.raises(PluginError, match="must collect samples, not NoneType"):
        samples_text(WHO, FAMILIES, None)
