"""Pictures that are drawn from numbers."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from nimify.quantities import human_bytes
from nimify.reports.area_chart import MOST_STEPS, AreaChart, Step, nice_ceiling
from nimify.reports.bars import Bar, bar_rows, legend, strip


def _chart(values: list[float], base: float = 0.0) -> AreaChart:
    return AreaChart("Memory", [Step(value, f"<{value}>") for value in values], base, "node", human_bytes)


@pytest.mark.parametrize("count", [1, 2, MOST_STEPS, MOST_STEPS + 1, 100_000])
def test_a_chart_of_any_length_is_one_small_picture(count: int) -> None:
    """Steps beyond what can be told apart are grouped, and the picture is well-formed."""
    picture = _chart([float(step % 7) for step in range(count)]).draw(640, 260, "wide")

    root = ElementTree.fromstring(picture)  # noqa: S314 - we wrote it ourselves
    assert len(root.findall("rect[@class='target']")) == min(count, MOST_STEPS) or count > MOST_STEPS
    assert len(picture) < 80_000


def test_the_peak_is_marked_though_steps_are_grouped() -> None:
    """The highest step survives among a hundred thousand."""
    values = [1e6] * 100_000
    values[51_234] = 9e6

    assert "peak 9.5\N{NO-BREAK SPACE}MB" in _chart(values, base=5e5).draw(640, 260, "wide")


def test_everything_drawn_lies_in_the_picture() -> None:
    """No coordinate is outside, not even for a chart of nothing."""
    for values in ([0.0], [0.0, 5.0], [3e12, 1.0]):
        picture = _chart(values, base=1.0).draw(320, 200, "narrow", labels=False)
        heights = [float(y) for y in re.findall(r' (?:y|y1|y2|cy)="([-0-9.]+)"', picture)]
        assert min(heights) >= 0
        assert max(heights) <= 200


@pytest.mark.parametrize("value", [1, 7, 999, 1001, 2.5e9, 9.99e11])
def test_an_axis_ends_just_above_the_highest_value(value: float) -> None:
    """Round, and not more than twice as high."""
    assert value <= nice_ceiling(value) <= 2 * value


def test_bars_carry_their_words_as_text() -> None:
    """Names are escaped; the words of a bar can be read without seeing it."""
    made = bar_rows([("<Conv>", [Bar(0.5, "main", "50 %"), Bar(2.0, "second", "too much")])])

    assert "&lt;Conv&gt;" in made
    assert "50\N{NO-BREAK SPACE}%" in made
    assert 'width="100"' in made
    assert 'width="200"' not in made


def test_a_strip_is_as_long_as_its_parts_together() -> None:
    """Parts follow each other without gaps."""
    made = strip([Bar(0.25, "good", ""), Bar(0.75, "bad", "")], "coverage")

    assert re.findall(r'x="([0-9.]+)"', made) == ["0", "25"]
    assert "main" in legend([("main", "compute")])
