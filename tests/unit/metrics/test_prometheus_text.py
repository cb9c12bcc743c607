"""Reading what services export, whoever wrote it."""

from __future__ import annotations

import pytest

from nimify.metrics.prometheus_text import Sample, parse

TEXT = """\
# HELP requests_total Requests.
# TYPE requests_total counter
requests_total{model="a",reason="x"} 3
requests_total{model="b",reason="x"} 4 1700000000000
plain 1.5e3
wait_bucket{le="0.1"} 2
wait_bucket{le="+Inf"} 5
wait_sum 1.25
wait_count 5
"""


def test_samples_are_found_by_name_and_label() -> None:
    """Values add up over the series of a name, by label where asked, and histograms are read by bound."""
    scrape = parse(TEXT, taken_s=1.0)

    assert scrape.total("requests_total") == 7
    assert scrape.largest("requests_total") == 4
    assert scrape.by("requests_total", "model") == {"a": 3, "b": 4}
    assert scrape.total("plain") == 1500
    assert scrape.buckets("wait") == {0.1: 2, float("inf"): 5}
    assert scrape.label("requests_total", "reason") == "x"


def test_what_is_not_exported_is_none_and_not_zero() -> None:
    """A name that is not there gives `None`, so that nobody takes it for a service without requests."""
    scrape = parse(TEXT, taken_s=1.0)

    assert scrape.total("absent") is None
    assert scrape.largest("absent") is None
    assert scrape.buckets("absent") is None
    assert scrape.by("absent", "model") == {}
    assert scrape.label("absent", "model") == ""


def test_escapes_and_commas_in_label_values_are_data() -> None:
    """A value may hold quotes, backslashes, line ends, commas and braces."""
    scrape = parse('m{a="x\\\\y",b="line\\nend, \\"}{"} 1', taken_s=0.0)

    assert scrape.samples["m"] == (Sample({"a": "x\\y", "b": 'line\nend, "}{'}, 1.0),)


@pytest.mark.parametrize(
    "line", ["", "no value", "1name 2", 'm{a="open} 1', "m{a=1} 1", "m NaN", "<html>", "m{} {}", "\x00"]
)
def test_what_is_no_sample_is_passed_over(line: str) -> None:
    """Damaged lines, pages of HTML and values without a number do not hide the samples around them."""
    scrape = parse(f"before 1\n{line}\nafter 2\n", taken_s=0.0)

    assert set(scrape.samples) == {"before", "after"}


def test_what_our_own_service_exports_is_read_whole() -> None:
    """Every series of nimify's own exposition is found again with its value."""
    from nimify.metrics import catalog
    from nimify.metrics.exposition import exposition
    from nimify.metrics.registry import Registry

    registry = Registry()
    registry.counter(catalog.REQUEST_FAILURE, 'a"b', "1", "OTHER").add(2)
    registry.histogram(catalog.BATCH_SIZE, "m", "1").observe(3.0)

    scrape = parse(exposition(registry), taken_s=0.0)

    assert scrape.by(catalog.REQUEST_FAILURE.name, "model") == {'a"b': 2}
    buckets = scrape.buckets(catalog.BATCH_SIZE.name)
    assert buckets is not None
    assert (buckets[2.0], buckets[4.0]) == (0, 1)
