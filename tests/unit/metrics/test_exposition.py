"""The text that `/v1/metrics` answers, read back by a parser written from the format's description."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimify.metrics.catalog import Metric
from nimify.metrics.exposition import exposition
from nimify.metrics.registry import Registry
from nimify.metrics.service import ServiceMetrics

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(rf'({NAME})="((?:[^"\\\n]|\\[\\n"])*)"')
SAMPLE = re.compile(rf'({NAME})(?:{{((?:{NAME}="(?:[^"\\\n]|\\[\\n"])*",?)*)}})? (\S+)')
ESCAPES = {"\\\\": "\\", "\\n": "\n", '\\"': '"'}

Labels = tuple[tuple[str, str], ...]


def parse(text: str) -> dict[tuple[str, Labels], float]:
    """Samples by name and labels; fails where the format would not allow a line."""
    assert text.endswith("\n")
    samples: dict[tuple[str, Labels], float] = {}
    typed: set[str] = set()
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# TYPE "):
            name = line.split(" ")[2]
            assert name not in typed
            typed.add(name)
            continue
        if line.startswith("# HELP "):
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        pairs = tuple(
            (key, re.sub(r"\\.", lambda escape: ESCAPES[escape[0]], raw)) for key, raw in LABEL.findall(labels or "")
        )
        assert (name, pairs) not in samples
        samples[name, pairs] = float(value)
    return samples


def one(metric: Metric, *labels: str, value: float = 1.0) -> str:
    registry = Registry()
    registry.counter(metric, *labels).add(value)
    return exposition(registry)


@given(st.text(), st.text())
def test_any_label_and_help_can_be_read_back(label: str, help_text: str) -> None:
    """Quotes, backslashes and line ends included; the help stays on its line."""
    text = one(Metric("m", "counter", help_text, ("name",)), label)
    assert parse(text) == {("m", (("name", label),)): 1.0}
    assert text.split("\n")[1] == "# TYPE m counter"


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0, "0"), (3.0, "3"), (0.1, "0.1"), (1e-9, "1e-09"), (2.0**60, "1.152921504606847e+18"), (1e300, "1e+300")],
)
def test_values_are_written_without_loss(value: float, written: str) -> None:
    """Whole numbers without a fraction, others so that they read back as themselves."""
    text = one(Metric("m", "counter", "Help."), value=value)
    assert text.endswith(f"m {written}\n")
    assert parse(text)["m", ()] == value


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_can_be_read_back(value: float) -> None:
    """A gauge may hold anything a float can."""
    (read,) = parse(one(Metric("m", "gauge", "Help."), value=value)).values()
    assert math.isnan(read) if math.isnan(value) else read == value


@given(st.lists(st.floats(0, 20)))
def test_a_histogram_is_cumulative_and_ends_in_inf(values: list[float]) -> None:
    """Each bucket counts what is lower or equal; +Inf counts all, as `_count` does."""
    bounds = (1.0, 2.5, 10.0)
    registry = Registry()
    histogram = registry.histogram(Metric("h", "histogram", "Help.", ("model",), bounds), "m")
    for value in values:
        histogram.observe(value)
    samples = parse(exposition(registry))
    model = ("model", "m")
    for bound, written in zip((*bounds, math.inf), ("1", "2.5", "10", "+Inf"), strict=True):
        assert samples["h_bucket", (model, ("le", written))] == sum(value <= bound for value in values)
    assert samples["h_count", (model,)] == len(values)
    assert samples["h_sum", (model,)] == pytest.approx(sum(values))


def test_series_of_one_metric_stand_together() -> None:
    """Though they were registered apart, a family has one head."""
    first, second = Metric("a", "counter", "A.", ("x",)), Metric("b", "gauge", "B.")
    registry = Registry()
    registry.counter(first, "1")
    registry.gauge(second)
    registry.counter(first, "2")
    assert exposition(registry).split("\n") == [
        "# HELP a A.",
        "# TYPE a counter",
        'a{x="1"} 0',
        'a{x="2"} 0',
        "# HELP b B.",
        "# TYPE b gauge",
        "b 0",
        "",
    ]


def test_the_whole_page_can_be_read() -> None:
    """Every metric of a service, under its name and labels."""
    metrics = ServiceMetrics(
        Registry(workers=2),
        model='m"\\',
        version="1",
        statuses=(200, 503),
        build_labels=("1.0", "onnxruntime", "m", "sha256:0"),
        started_s=5.0,
    )
    metrics.model.batch_size.observe(3)
    metrics.model.failure["OTHER"].add()
    samples = parse(metrics.text())
    model = (("model", 'm"\\'), ("version", "1"))
    assert samples["nv_inference_request_failure", (*model, ("reason", "OTHER"))] == 1
    assert samples["nim_batch_size_bucket", (*model, ("le", "2"))] == 0
    assert samples["nim_batch_size_bucket", (*model, ("le", "4"))] == 1
    assert samples["nim_http_responses_total", (("code", "503"),)] == 0
    buckets = [value for (name, _), value in samples.items() if name == "nim_batch_size_bucket"]
    assert all(left <= right for left, right in pairwise(buckets))
