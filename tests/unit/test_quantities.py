"""Quantities in words that people read at a glance."""

from __future__ import annotations

import pytest

from nimify.quantities import human_bytes, human_count, human_rate, human_seconds, human_share


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1200, "1.2 kB"), (123_456, "123 kB"), (1_200_000, "1.2 MB"), (7 * 10**12, "7.0 TB")],
)
def test_bytes_for_people(count: int, text: str) -> None:
    """Sizes have three digits at most."""
    assert human_bytes(count) == text


def test_counts_and_durations_for_people() -> None:
    """Each has the unit that suits it."""
    assert [human_count(n) for n in (7, 1500, 3_400_000, 7 * 10**9)] == [
        "7",
        "1.5 thousand",
        "3.4 million",
        "7.0 billion",
    ]
    assert [human_seconds(s) for s in (1.2e-5, 0.0008, 1.25)] == ["12 µs", "0.8 ms", "1.2 s"]


def test_a_duration_is_nothing_only_when_it_really_is() -> None:
    """A tiny model takes some time."""
    assert [human_seconds(s) for s in (0.0, 4e-9, 6e-7)] == ["0 µs", "< 1 µs", "1 µs"]


def test_rates_have_three_digits_or_whole_numbers() -> None:
    """Nobody reads the tenths of a thousand."""
    assert [human_rate(rate) for rate in (0.1234, 12.34, 1234.5)] == ["0.123", "12.3", "1,234"]


def test_a_share_is_none_or_all_only_when_it_really_is() -> None:
    """What is nearly nothing or nearly everything is not rounded to it."""
    shares = (0.0, 0.0004, 0.004, 0.12, 0.999, 1.0)
    assert [human_share(share) for share in shares] == ["0 %", "< 0.1 %", "0.4 %", "12 %", "> 99 %", "100 %"]
