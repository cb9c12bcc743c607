"""Reads the Prometheus text format, from nimify's services and from anybody else's.

It comes over the network from whatever answers there: what is no sample is passed over, and there is an end to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_SAMPLE: Final = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(?P<labels>[^\n]*)\})?\s+(?P<value>[^\s{}]+)(?:\s+-?\d+)?\s*"
)
_LABEL: Final = re.compile(r'\s*(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPES: Final = {r"\\": "\\", r"\n": "\n", r"\"": '"'}
_ESCAPE: Final = re.compile(r"\\[\\n\"]")
MOST_SAMPLES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One line.

    Attributes:
        labels: By name.
        value: Its number; a sample without one is not kept.
    """

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Scrape:
    """All samples of one answer, by name.

    Attributes:
        samples: As exported, histograms with their `_bucket`, `_sum` and `_count`.
        taken_s: When, by the monotonic clock.
    """

    samples: Mapping[str, tuple[Sample, ...]]
    taken_s: float

    def total(self, name: str) -> float | None:
        """The sum over the series of a name; `None` when there is none."""
        found = self.samples.get(name)
        return None if found is None else sum(sample.value for sample in found)

    def largest(self, name: str) -> float | None:
        """The largest of the series of a name; `None` when there is none."""
        found = self.samples.get(name)
        return None if found is None else max(sample.value for sample in found)

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums over the series of a name, by one of their labels."""
        sums: dict[str, float] = {}
        for sample in self.samples.get(name, ()):
            key = sample.labels.get(label, "")
            sums[key] = sums.get(key, 0.0) + sample.value
        return sums

    def buckets(self, name: str) -> dict[float, float] | None:
        """The cumulated counts of a histogram by upper bound; `None` when there is no such histogram."""
        found = self.samples.get(f"{name}_bucket")
        if found is None:
            return None
        counts: dict[float, float] = {}
        for sample in found:
            bound = _number(sample.labels.get("le", ""))
            if bound is not None:
                counts[bound] = counts.get(bound, 0.0) + sample.value
        return dict(sorted(counts.items()))

    def label(self, name: str, label: str) -> str:
        """A label of the first series of a name; empty when there is none."""
        found = self.samples.get(name, ())
        return found[0].labels.get(label, "") if found else ""


def parse(text: str, *, taken_s: float) -> Scrape:
    """Read an exposition."""
    samples: dict[str, list[Sample]] = {}
    for name, sample in _samples(text):
        samples.setdefault(name, []).append(sample)
    return Scrape({name: tuple(found) for name, found in samples.items()}, taken_s)


def _samples(text: str) -> Iterator[tuple[str, Sample]]:
    read = 0
    for line in text.split("\n"):
        match = _SAMPLE.fullmatch(line)
        if match is None:
            continue
        value, labels = _number(match["value"]), _labels(match["labels"] or "")
        if value is None or math.isnan(value) or labels is None:
            continue
        read += 1
        if read > MOST_SAMPLES:
            return
        yield match["name"], Sample(labels, value)


def _labels(text: str) -> dict[str, str] | None:
    labels: dict[str, str] = {}
    position = 0
    while text[position:].strip():
        match = _LABEL.match(text, position)
        if match is None:
            return None
        labels[match["name"]] = _ESCAPE.sub(lambda found: _ESCAPES[found[0]], match["value"])
        position = match.end()
    return labels


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
