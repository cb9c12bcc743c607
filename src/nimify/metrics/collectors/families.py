"""What a collector may call its metrics: Prometheus' grammar, and no name that is the service's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from nimify.errors import PluginError, shortened
from nimify.metrics.catalog import CATALOG, Metric

KINDS: Final = ("counter", "gauge")
OWN_PREFIXES: Final = ("nim_", "nv_")
"""The service's own; also for metrics that it will have one day."""
MAX_FAMILIES: Final = 200
# Prometheus allows colons in names of metrics as well, and reserves them for recording rules.
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,199}")
_MAX_HELP: Final = 1000
_OWN_NAMES: Final = frozenset(
    f"{metric.name}{suffix}"
    for metric in CATALOG
    for suffix in ("", *(("_bucket", "_sum", "_count") if metric.kind == "histogram" else ()))
)

Families = Mapping[str, Metric]
"""The metrics of one collector by name."""


def checked_families(who: str, described: object) -> Families:
    """The metrics that a collector describes, when they can stand beside the service's.

    Args:
        who: The subject of messages, e.g. `The collector 'queue'`.
        described: What its `describe` gave.

    Raises:
        PluginError: A name, a label or something else of a metric is not allowed; says which and why.
    """
    if not isinstance(described, Sequence) or not described or len(described) > MAX_FAMILIES:
        raise PluginError(f"{who} must describe a list of 1 to {MAX_FAMILIES} metrics.")
    families: dict[str, Metric] = {}
    for metric in described:
        if not isinstance(metric, Metric):
            raise PluginError(f"{who} must describe its metrics as Metric, not as {type(metric).__name__}.")
        _check(who, metric)
        if metric.name in families:
            raise PluginError(f"{who} describes the metric '{metric.name}' twice.")
        families[metric.name] = metric
    return families


def _check(who: str, metric: Metric) -> None:
    _check_name(who, "metric", metric.name)
    if metric.name in _OWN_NAMES or metric.name.startswith(OWN_PREFIXES):
        raise PluginError(
            f"{who} must not have a metric '{metric.name}': the name is the service's own.",
            remedy=f"Choose one that does not begin with {' or '.join(OWN_PREFIXES)}.",
        )
    if metric.kind not in KINDS:
        raise PluginError(f"{who} must say of '{metric.name}' whether it is a counter or a gauge.")
    if not _is_text(metric.help) or not 0 < len(metric.help) <= _MAX_HELP:
        raise PluginError(f"{who} must explain '{metric.name}' in 1 to {_MAX_HELP} characters.")
    labels: object = metric.labels
    if not isinstance(labels, tuple) or len(set(map(repr, labels))) != len(labels):
        raise PluginError(f"{who} must name the labels of '{metric.name}' in a tuple, each of them once.")
    for label in metric.labels:
        _check_name(who, "label", label)
        if label.startswith("__"):
            raise PluginError(f"{who} must not use the label '{label}': Prometheus keeps names with '__' to itself.")


def _check_name(who: str, what: str, name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PluginError(
            f"{who} must not call a {what} {shortened(repr(name), 80)}.",
            remedy="Use letters, digits and '_', not a digit first.",
        )


def _is_text(value: object) -> bool:
    """Whether it is text that can be sent: half a surrogate pair cannot."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
