"""What a collector gave, held to what it described, and written in the text format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from numbers import Real
from typing import Final

from nimify.errors import PluginError, shortened
from nimify.metrics.collectors.collector import Sample
from nimify.metrics.collectors.families import Families
from nimify.metrics.exposition import head, sample_line

MAX_SERIES: Final = 1000
"""Of one collector; a label with many values costs every Prometheus that reads it."""
MAX_TEXT_BYTES: Final = 256 * 1024
"""Of one collector, encoded."""
_MAX_LABEL_VALUE: Final = 1024


def samples_text(who: str, families: Families, samples: object) -> bytes:
    """The samples in the text format, grouped by metric.

    Args:
        who: The subject of messages, e.g. `The collector 'queue'`.
        families: What the collector described.
        samples: What its `collect` gave; not more of it is taken than may be.

    Raises:
        PluginError: A sample is not what was described, is given twice, or there are too many of them.
    """
    if not isinstance(samples, Iterable):
        raise PluginError(f"{who} must collect samples, not {type(samples).__name__}.")
    lines: dict[str, dict[tuple[str, ...], str]] = {}
    for number, sample in enumerate(islice(samples, MAX_SERIES + 1)):
        if number == MAX_SERIES:
            raise PluginError(f"{who} has more than {MAX_SERIES} series.", remedy="Use labels with fewer values.")
        name, values, line = _series(who, families, sample)
        if values in lines.setdefault(name, {}):
            raise PluginError(f"{who} gives a value of '{name}' twice{_with(values)}.")
        lines[name][values] = line
    rows = [row for name, own in lines.items() for row in (*head(families[name]), *own.values())]
    text = "".join(f"{row}\n" for row in rows).encode()
    if len(text) > MAX_TEXT_BYTES:
        raise PluginError(f"{who} gives more than {MAX_TEXT_BYTES} bytes of text.", remedy="Use shorter labels.")
    return text


def _series(who: str, families: Families, sample: object) -> tuple[str, tuple[str, ...], str]:
    if not isinstance(sample, Sample):
        raise PluginError(f"{who} must collect values as Sample, not as {type(sample).__name__}.")
    metric = families.get(sample.name)
    if metric is None:
        raise PluginError(f"{who} gives a value of {shortened(repr(sample.name), 80)}, which it does not describe.")
    labels: object = sample.labels
    if not isinstance(labels, Mapping) or labels.keys() != set(metric.labels):
        wanted = ", ".join(metric.labels) or "none"
        raise PluginError(f"{who} must give '{metric.name}' exactly the labels that it describes: {wanted}.")
    values = tuple(_label_value(who, metric.name, labels[name]) for name in metric.labels)
    return metric.name, values, sample_line(metric, values, _number(who, metric.name, metric.kind, sample.value))


def _label_value(who: str, metric: str, value: object) -> str:
    if not isinstance(value, str):
        raise PluginError(f"{who} must give '{metric}' labels that are text, not {type(value).__name__}.")
    if len(value) > _MAX_LABEL_VALUE:
        raise PluginError(f"{who} gives '{metric}' a label of more than {_MAX_LABEL_VALUE} characters.")
    # A file's name may hold bytes that are no text; they stay visible, and the page stays readable.
    return value.encode("utf-8", "backslashreplace").decode()


def _number(who: str, metric: str, kind: str, value: object) -> float:
    if not isinstance(value, Real):
        raise PluginError(f"{who} must give '{metric}' a number, not {type(value).__name__}.")
    try:
        number = float(value)
    except OverflowError:
        raise PluginError(f"{who} gives '{metric}' a number that is too large.") from None
    if kind == "counter" and not 0 <= number < float("inf"):
        raise PluginError(f"{who} gives the counter '{metric}' the value {number}, which is no total.")
    return number


def _with(values: tuple[str, ...]) -> str:
    return f", with the labels {shortened(', '.join(values), 80)}" if values else ""
