"""An area chart: one quantity along many steps, with its peak marked. Drawn as SVG, without a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Final

from nimify.reports.markup import Markup, element

MOST_STEPS: Final = 240
"""More steps than that are drawn as groups, each as high as its highest one."""

_TOP, _BOTTOM, _LEFT, _RIGHT = 34.0, 26.0, 64.0, 12.0
_TICKS: Final = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One step along the chart.

    Attributes:
        value: How high it is.
        label: What it is, shown when it is pointed at.
    """

    value: float
    label: str


@dataclass(frozen=True, slots=True)
class AreaChart:
    """What is to be drawn.

    Attributes:
        title: What the picture shows, for those who cannot see it.
        steps: Along the x axis; at least one.
        base: A level that all steps share, drawn as a band below them; 0 for none.
        x_label: What one step is.
        quantity: Turns a value into words.
    """

    title: str
    steps: Sequence[Step]
    base: float
    x_label: str
    quantity: Callable[[int], str]

    def draw(self, width: float, height: float, class_: str, *, labels: bool = True) -> Markup:
        """The picture in the size in which it will be seen; with `labels`, each step says what it is."""
        steps = _grouped(self.steps)
        scale = _Scale(width, height, len(steps), nice_ceiling(max(max(step.value for step in steps) + self.base, 1.0)))
        return element(
            "svg",
            element("title", self.title),
            *self._grid(scale),
            self._band(scale),
            element("path", class_="area", d=_outline(steps, self.base, scale)),
            *(_targets(steps, scale) if labels else ()),
            *self._peak(steps, scale),
            *self._x_axis(scale),
            class_=f"chart {class_}",
            viewBox=f"0 0 {width:.0f} {height:.0f}",
            role="img",
        )

    def _grid(self, scale: _Scale) -> list[Markup]:
        lines = []
        for tick in range(_TICKS + 1):
            value = scale.top_value * tick / _TICKS
            y = scale.y(value)
            lines += [
                element("line", class_="grid", x1=_LEFT, x2=scale.right, y1=y, y2=y),
                element("text", self.quantity(int(value)), class_="tick", x=_LEFT - 8, y=y + 4, text_anchor="end"),
            ]
        return lines

    def _band(self, scale: _Scale) -> Markup:
        if not self.base:
            return Markup("")
        y = scale.y(self.base)
        return element("rect", class_="band", x=_LEFT, y=y, width=scale.right - _LEFT, height=scale.y(0) - y)

    def _peak(self, steps: Sequence[Step], scale: _Scale) -> list[Markup]:
        at = max(range(len(steps)), key=lambda position: steps[position].value)
        x, y = scale.middle(at), scale.y(steps[at].value + self.base)
        anchor = "start" if at < len(steps) / 3 else "end" if at > 2 * len(steps) / 3 else "middle"
        text = f"peak {self.quantity(int(steps[at].value + self.base))}"
        return [
            element("line", class_="peak-line", x1=x, x2=x, y1=y, y2=scale.y(0)),
            element("circle", class_="peak", cx=x, cy=y, r=4.0),
            element("text", text, class_="peak-text", x=x, y=y - 10, text_anchor=anchor),
        ]

    def _x_axis(self, scale: _Scale) -> list[Markup]:
        y = scale.y(0) + 18
        count = len(self.steps)
        return [
            element("text", f"{self.x_label} 1", class_="tick", x=_LEFT, y=y),
            element("text", str(count), class_="tick", x=scale.right, y=y, text_anchor="end")
            if count > 1
            else Markup(),
        ]


@dataclass(frozen=True, slots=True)
class _Scale:
    width: float
    height: float
    count: int
    top_value: float

    @property
    def right(self) -> float:
        return self.width - _RIGHT

    @property
    def step(self) -> float:
        return (self.right - _LEFT) / self.count

    def x(self, position: float) -> float:
        return _LEFT + position * self.step

    def middle(self, position: int) -> float:
        return self.x(position + 0.5)

    def y(self, value: float) -> float:
        return self.height - _BOTTOM - (self.height - _BOTTOM - _TOP) * value / self.top_value


def nice_ceiling(value: float) -> float:
    """The next round number: what an axis may end with."""
    magnitude = 10.0 ** int(log10(value)) if value >= 1 else 1.0
    return next(step * magnitude for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if step * magnitude >= value)


def _grouped(steps: Sequence[Step]) -> list[Step]:
    """As many steps as can be told apart, the highest of each group standing for it."""
    size = ceil(len(steps) / MOST_STEPS)
    return [max(steps[start : start + size], key=lambda step: step.value) for start in range(0, len(steps), size)]


def _outline(steps: Sequence[Step], base: float, scale: _Scale) -> str:
    floor = scale.y(base)
    points = [f"M{_LEFT:.1f} {floor:.1f}"]
    for position, step in enumerate(steps):
        y = scale.y(step.value + base)
        points.append(f"L{scale.x(position):.1f} {y:.1f}H{scale.x(position + 1):.1f}")
    return "".join([*points, f"L{scale.right:.1f} {floor:.1f}Z"])


def _targets(steps: Sequence[Step], scale: _Scale) -> list[Markup]:
    """Invisible columns that tell what lies under the pointer."""
    top = scale.y(scale.top_value)
    return [
        element(
            "rect",
            element("title", step.label),
            class_="target",
            x=scale.x(position),
            y=top,
            width=scale.step,
            height=scale.y(0) - top,
        )
        for position, step in enumerate(steps)
    ]
