"""What authors of collectors test with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nimify.errors import PluginError
from nimify.metrics.collectors.collector import Metric, Sample
from nimify.testing.collectors import FixedCollector, check_collector

TOTAL = Metric("things_total", "counter", "Things.", ("kind",))


def test_a_sound_collector_gives_its_page() -> None:
    """After it was asked again and again."""
    collector = FixedCollector([TOTAL], [Sample("things_total", 3, {"kind": "a b"})])
    assert check_collector(collector).endswith('things_total{kind="a b"} 3\n')
    assert collector.collections > 1


def test_a_falling_counter_is_found() -> None:
    """One that counts what is there now, and should be a gauge."""
    left = iter(range(10, 0, -1))

    class Falling(FixedCollector):
        def collect(self) -> Iterator[Sample]:
            yield Sample("things_total", next(left), {"kind": "a"})

    with pytest.raises(PluginError, match=r'lets the counter things_total\{kind="a"\} fall from 10.0 to 9.0'):
        check_collector(Falling([TOTAL]))


def test_a_failure_is_the_services_own_words() -> None:
    """With file and line, as the log would have it."""

    def fail() -> None:
        raise OSError("gone")

    with pytest.raises(PluginError, match=r"collector 'FixedCollector' failed at \S+:\d+ \(OSError: gone\)"):
        check_collector(FixedCollector([TOTAL], on_collect=fail))


def test_a_description_that_changes_is_found() -> None:
    """It must depend on the options only."""
    names = iter("abcdef")

    class Changing(FixedCollector):
        def describe(self) -> list[Metric]:
            return [Metric(next(names), "gauge", "Help.")]

    with pytest.raises(PluginError, match="describes other metrics the second time"):
        check_collector(Changing([]))
