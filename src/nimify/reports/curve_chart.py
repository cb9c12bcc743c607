"""A curve chart: several quantities over one, each with its name at its end. Drawn as SVG, without a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from nimify.reports.area_chart import nice_ceiling
from nimify.reports.markup import Markup, element

_TOP, _BOTTOM, _LEFT, _RIGHT = 18.0, 40.0, 72.0, 64.0
_TICKS: Final = 4
_FINEST: Final = 1e-6
"""What the y axis is rounded in: microseconds, for seconds."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One quantity.

    Attributes:
        name: Written at its end.
        class_: How it looks; `main`, `soft` or `second`.
        points: Pairs of x and y, in the order in which they are joined.
    """

    name: str
    class_: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class CurveChart:
    """What is to be drawn.

    Attributes:
        title: What the picture shows, for those who cannot see it.
        curves: At least one, with at least one point.
        x_label: What is on the x axis.
        x_text: Turns an x into words.
        y_text: Turns a y into words.
        limit: A level to mark, with its name; `None` for none.
    """

    title: str
    curves: Sequence[Curve]
    x_label: str
    x_text: Callable[[float], str]
    y_text: Callable[[float], str]
    limit: tuple[float, str] | None = None

    def draw(self, width: float, height: float, class_: str) -> Markup:
        """The picture in the size in which it will be seen."""
        scale = _Scale.of(width, height, self.curves, self.limit)
        return element(
            "svg",
            element("title", self.title),
            *self._grid(scale),
            *self._limit(scale),
            *(piece for curve in self.curves for piece in self._curve(curve, scale)),
            *self._x_axis(scale),
            class_=f"chart {class_}",
            viewBox=f"0 0 {width:.0f} {height:.0f}",
            role="img",
        )

    def _grid(self, scale: _Scale) -> list[Markup]:
        pieces = []
        for tick in range(_TICKS + 1):
            value = scale.top * tick / _TICKS
            y = scale.y(value)
            pieces += [
                element("line", class_="grid", x1=_LEFT, x2=scale.right, y1=y, y2=y),
                element("text", self.y_text(value), class_="tick", x=_LEFT - 8, y=y + 4, text_anchor="end"),
            ]
        return pieces

    def _limit(self, scale: _Scale) -> list[Markup]:
        if self.limit is None:
            return []
        value, name = self.limit
        y = scale.y(value)
        return [
            element("line", class_="peak-line", x1=_LEFT, x2=scale.right, y1=y, y2=y),
            element("text", name, class_="tick", x=_LEFT + 6, y=y - 6),
        ]

    def _curve(self, curve: Curve, scale: _Scale) -> list[Markup]:
        places = [(scale.x(x), scale.y(y)) for x, y in curve.points]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        dots = [
            element(
                "circle",
                element("title", f"{curve.name}: {self.y_text(value)} at {self.x_text(at)}"),
                class_=f"dot {curve.class_}",
                cx=x,
                cy=y,
                r=4.0,
            )
            for (x, y), (at, value) in zip(places, curve.points, strict=True)
        ]
        end_x, end_y = places[-1]
        name = element("text", curve.name, class_="peak-text", x=end_x + 9, y=end_y + 4)
        return [element("path", class_=f"curve {curve.class_}", d=path), *dots, name]

    def _x_axis(self, scale: _Scale) -> list[Markup]:
        pieces = [
            element(
                "text",
                self.x_text(scale.right_value * tick / _TICKS),
                class_="tick",
                x=scale.x(scale.right_value * tick / _TICKS),
                y=scale.y(0) + 18,
                text_anchor="middle",
            )
            for tick in range(_TICKS + 1)
        ]
        middle = (_LEFT + scale.right) / 2
        pieces.append(element("text", self.x_label, class_="tick", x=middle, y=scale.y(0) + 34, text_anchor="middle"))
        return pieces


@dataclass(frozen=True, slots=True)
class _Scale:
    width: float
    height: float
    right_value: float
    top: float

    @classmethod
    def of(cls, width: float, height: float, curves: Sequence[Curve], limit: tuple[float, str] | None) -> _Scale:
        right = max(x for curve in curves for x, _ in curve.points)
        top = max(y for curve in curves for _, y in curve.points)
        top = max(top, limit[0] if limit else 0.0)
        return cls(width, height, nice_ceiling(right), nice_ceiling(top / _FINEST) * _FINEST)

    @property
    def right(self) -> float:
        return self.width - _RIGHT

    def x(self, value: float) -> float:
        return _LEFT + (self.right - _LEFT) * value / self.right_value

    def y(self, value: float) -> float:
        return self.height - _BOTTOM - (self.height - _BOTTOM - _TOP) * value / self.top
