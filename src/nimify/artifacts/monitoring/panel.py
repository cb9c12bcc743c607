"""`Panel`: one picture of the dashboard, and `Row`: a group of them that folds up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

WIDTH: Final = 24
"""Columns of Grafana's grid."""
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
SERVICE: Final = 'namespace=~"$namespace", job="$service"'
REPLICAS: Final = f'{SERVICE}, instance=~"$instance"'
RECENT: Final = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL with the dashboard's variables in it.
        legend: What its lines are called.
    """

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Attributes:
        title: What it shows.
        description: How to read it.
        queries: What it asks.
        unit: Grafana's name of the unit.
        kind: `timeseries`, `stat`, `table` or `heatmap`.
        width: Columns that it takes.
        limit: A value that is not to be passed; drawn as a line.
    """

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    limit: float | None = None

    def to_dict(self, number: int, grid: Mapping[str, int]) -> dict[str, Any]:
        """The panel as Grafana reads it."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": dict(grid),
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": _OPTIONS[self.kind],
            "targets": [self._target(index, query) for index, query in enumerate(self.queries)],
        }

    def _defaults(self) -> dict[str, Any]:
        steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
        custom: dict[str, Any] = {}
        if self.limit is not None:
            steps.append({"color": "red", "value": self.limit})
            custom = {"custom": {"thresholdsStyle": {"mode": "line"}}} if self.kind == "timeseries" else {}
        return {"unit": self.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}, **custom}

    def _target(self, index: int, query: Query) -> dict[str, Any]:
        once = self.kind in {"stat", "table"}
        return {
            "refId": chr(ord("A") + index),
            "datasource": DATASOURCE,
            "expr": query.expr,
            "legendFormat": query.legend,
            "instant": once,
            "range": not once,
            "format": {"table": "table", "heatmap": "heatmap"}.get(self.kind, "time_series"),
        }


_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"},
    "table": {"showHeader": True},
    "heatmap": {"calculate": False, "yAxis": {"unit": "s"}, "tooltip": {"mode": "single"}},
}


@dataclass(frozen=True, slots=True)
class Row:
    """Panels that belong together.

    Attributes:
        title: What they are about.
        panels: From left to right, and then down.
        collapsed: Whether they stay folded until somebody asks.
        height: Of each panel.
    """

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False
    height: int = 7


def laid_out(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    """The panels of a dashboard with their places."""
    placed: list[dict[str, Any]] = []
    number, top = 1, 0
    for row in rows:
        head = {"id": number, "type": "row", "title": row.title, "collapsed": row.collapsed}
        members, bottom = _placed(row, number + 1, top + 1)
        folded = {"panels": members if row.collapsed else []}
        placed.append({**head, "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}, **folded})
        placed += [] if row.collapsed else members
        number, top = number + 1 + len(members), bottom
    return placed


def _placed(row: Row, number: int, top: int) -> tuple[list[dict[str, Any]], int]:
    members: list[dict[str, Any]] = []
    left = 0
    for panel in row.panels:
        if left + panel.width > WIDTH:
            left, top = 0, top + row.height
        grid = {"x": left, "y": top, "w": panel.width, "h": row.height}
        members.append(panel.to_dict(number + len(members), grid))
        left += panel.width
    return members, top + row.height
