"""Reads a service out of a Prometheus that scrapes its replicas, in place of the replicas themselves.

What Prometheus keeps are scrapes: the samples of one have one timestamp. So the last two of each replica, taken as far
apart as the wanted window, are what the monitor would have read itself, and figures come of them in the same way.
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import urlencode

from nimify.conformance.address import Address
from nimify.conformance.client import Client, NoAnswer
from nimify.errors import EnvironmentProblem, one_line, shortened
from nimify.metrics import catalog
from nimify.metrics.prometheus_text import Sample, Scrape
from nimify.monitoring.change import Change
from nimify.monitoring.picture import GPU_MEMORY, GPU_UTILIZATION, Picture, Replica, figures_of, missing_of, replica_of

_LONGEST_LOOK_S: Final = 300.0
"""Prometheus itself takes what is older than five minutes for gone."""
_SPARE: Final = 4
_TIMEOUT_S: Final = 10.0
_MOST_NAMES: Final = 8
_STARTED: Final = catalog.PROCESS_START.name
_READ: Final = (
    catalog.REQUEST_SUCCESS.name,
    catalog.REQUEST_FAILURE.name,
    catalog.HTTP_RESPONSES.name,
    catalog.INFERENCE_COUNT.name,
    catalog.EXECUTION_COUNT.name,
    catalog.PROCESS_CPU.name,
    catalog.PROCESS_MEMORY.name,
    _STARTED,
    catalog.PENDING.name,
    catalog.HTTP_IN_FLIGHT.name,
    catalog.HTTP_CONNECTIONS.name,
    catalog.READY.name,
    catalog.BUILD_INFO.name,
    catalog.WORKER_RESTARTS.name,
    *(f"{histogram.name}_bucket" for histogram in (catalog.DURATION, catalog.QUEUE_SECONDS, catalog.BATCH_SIZE)),
    GPU_UTILIZATION,
    GPU_MEMORY,
)
"""What a picture is made of; the rest of what a service exports stays where it is."""
_Scrapes = dict[float, dict[str, list[Sample]]]
"""The samples of one replica by name, by the time of their scrape."""


@dataclass(frozen=True, slots=True)
class PrometheusPlace:
    """A Prometheus, and what is read of it.

    Attributes:
        url: Where it is.
        job: The job that scrapes the service; the service's name, as every rule of its bundle has it.
        namespace: That the series must have as a label; empty for any.
        headers: Sent with every query, such as what lets in.
        authorities: A PEM file of authorities to trust instead of the system's.
    """

    url: str
    job: str
    namespace: str = ""
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    authorities: str | None = None

    def selector(self, *more: str) -> str:
        """The series of the service."""
        matchers = [f"job={_quoted(self.job)}", *more]
        if self.namespace:
            matchers.append(f"namespace={_quoted(self.namespace)}")
        return f"{{{', '.join(matchers)}}}"


class PrometheusMonitor:
    """Takes pictures of a service by what a Prometheus knows of it.

    Args:
        place: Which Prometheus.
        window_s: The time that rates and quantiles are over; at least the time between two of its scrapes.

    Raises:
        ConfigError: The address is none.
    """

    def __init__(self, place: PrometheusPlace, *, window_s: float) -> None:
        self._place = place
        self._window_s = window_s
        address = Address.parse(place.url, field="--prometheus")
        tls = address.tls(place.authorities)
        self._client = Client(place.url, timeout_s=_TIMEOUT_S, headers=place.headers, tls=tls)
        self._look_s = _LONGEST_LOOK_S
        self._answered = False

    def look(self) -> Picture:
        """What Prometheus knows now.

        Raises:
            EnvironmentProblem: It has not answered yet, or not as a Prometheus does. One that stops answering later is
                told in the picture.
        """
        try:
            picture = self._seen()
        except EnvironmentProblem as error:
            if not self._answered:
                raise
            return self._picture([], [], [], (error.message,))
        self._answered = True
        return picture

    def _seen(self) -> Picture:
        present = {_instance(series): series for series in self._query(f"up{self._place.selector()}")}
        if not present:
            return self._picture([], [], [], (self._no_such_job(),))
        names = "|".join(_READ)
        found = self._query(f"{self._place.selector(f'__name__=~{_quoted(names)}')}[{math.ceil(self._look_s)}s]")
        kept = _by_replica(found)
        scrapes: list[Scrape] = []
        changes: list[Change] = []
        replicas: list[Replica] = []
        longest_gap_s = 0.0
        for instance, series in sorted(present.items()):
            last, change, gap_s = _last_two(kept.get(instance, {}), self._window_s)
            longest_gap_s = max(longest_gap_s, gap_s)
            up = float(series["value"][1]) > 0
            if not up or last is None:
                problem = "Prometheus cannot scrape it" if not up else "Prometheus has scraped nothing of it lately"
                replicas.append(Replica(_name(series), self._place.url, up=False, problem=problem))
                continue
            scrapes.append(last)
            changes += [] if change is None else [change]
            replicas.append(replica_of(_name(series), self._place.url, last, change, now_s=time.time()))
        if changes:
            # Once the pace of the scrapes is known, there is no need to fetch more of them than it takes.
            self._look_s = min(_LONGEST_LOOK_S, self._window_s + _SPARE * longest_gap_s)
        return self._picture(replicas, scrapes, changes, ())

    def _picture(
        self,
        replicas: Sequence[Replica],
        scrapes: Sequence[Scrape],
        changes: Sequence[Change],
        missing: tuple[str, ...],
    ) -> Picture:
        figures = figures_of(scrapes, changes)
        return Picture(
            service=self._place.job,
            taken_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            window_s=max((change.seconds for change in changes), default=0.0),
            figures=figures,
            replicas=tuple(replicas),
            missing=missing or tuple(missing_of(scrapes, changes, figures)),
        )

    def _no_such_job(self) -> str:
        where = f" in the namespace '{self._place.namespace}'" if self._place.namespace else ""
        jobs = sorted({series["metric"].get("job", "") for series in self._query("count by (job) (up)")} - {""})
        close = get_close_matches(self._place.job, jobs, n=1)
        known = close or jobs[:_MOST_NAMES]
        more = f" (and {len(jobs) - len(known)} more)" if len(jobs) > len(known) else ""
        has = f"It has {', '.join(shortened(one_line(job), 60) for job in known)}{more}." if jobs else "It has none."
        return f"Prometheus scrapes no job '{self._place.job}'{where}: the job must have the service's name. {has}"

    def _query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression.

        Raises:
            EnvironmentProblem: There is no answer, or one that is not Prometheus'.
        """
        body = urlencode({"query": expression}).encode()
        name = f"The Prometheus at {self._place.url}"
        try:
            answer = self._client.post("/api/v1/query", body, {"Content-Type": "application/x-www-form-urlencoded"})
        except NoAnswer as error:
            raise EnvironmentProblem(
                f"{name} cannot be reached: {error}.", remedy="Start it, or mend the URL after --prometheus."
            ) from error
        if answer.status in {401, 403}:
            raise EnvironmentProblem(
                f"{name} does not let nimify in: it answered {answer.status}.",
                remedy="Put a token, or `Basic ` and user:password as Base64, into a file for --prometheus-auth.",
            )
        document = answer.json()
        if not isinstance(document, dict) or document.get("status") not in {"success", "error"}:
            raise EnvironmentProblem(
                f"What is at {self._place.url} is no Prometheus: it answered {answer.status} to /api/v1/query.",
                remedy="Give its address as far as /api/v1, without it.",
            )
        if document["status"] == "error":
            reason = shortened(one_line(str(document.get("error", "it does not say why"))), 200)
            raise EnvironmentProblem(f"{name} cannot answer: {reason}.")
        return _series(document, self._place.url)


def _series(document: Mapping[str, Any], url: str) -> list[dict[str, Any]]:
    """The series of an answer, each with a metric and its values.

    Raises:
        EnvironmentProblem: They are none.
    """
    data = document.get("data")
    found = data.get("result") if isinstance(data, dict) else None
    if not isinstance(found, list) or not all(
        isinstance(series, dict) and isinstance(series.get("metric"), dict) and ({"value", "values"} & series.keys())
        for series in found
    ):
        raise EnvironmentProblem(f"What is at {url} answers otherwise than a Prometheus.")
    return found


def _by_replica(found: Iterable[Mapping[str, Any]]) -> dict[str, _Scrapes]:
    replicas: dict[str, _Scrapes] = {}
    for series in found:
        labels = series["metric"]
        scrapes = replicas.setdefault(_instance(series), {})
        for taken_s, text in series["values"]:
            value = float(text)
            if not math.isnan(value):
                samples = scrapes.setdefault(float(taken_s), {})
                samples.setdefault(labels.get("__name__", ""), []).append(Sample(labels, value))
    return replicas


def _last_two(scrapes: _Scrapes, window_s: float) -> tuple[Scrape | None, Change | None, float]:
    """The last scrape, what changed since the one a window before, and the time between the last two scrapes."""
    times = sorted(scrapes)
    if not times:
        return None, None, 0.0
    last = _scrape(scrapes, times[-1])
    earlier = [taken_s for taken_s in times[:-1] if _same_process(scrapes[taken_s], scrapes[times[-1]])]
    gap_s = times[-1] - times[-2] if len(times) > 1 else 0.0
    if not earlier:
        return last, None, gap_s
    chosen = max((taken_s for taken_s in earlier if taken_s <= times[-1] - window_s), default=earlier[0])
    return last, Change.between(_scrape(scrapes, chosen), last), gap_s


def _scrape(scrapes: _Scrapes, taken_s: float) -> Scrape:
    return Scrape({name: tuple(samples) for name, samples in scrapes[taken_s].items()}, taken_s)


def _same_process(one: Mapping[str, list[Sample]], other: Mapping[str, list[Sample]]) -> bool:
    started, later = one.get(_STARTED), other.get(_STARTED)
    if not started or not later:
        return started == later
    return max(sample.value for sample in started) == max(sample.value for sample in later)


def _instance(series: Mapping[str, Any]) -> str:
    return str(series["metric"].get("instance", ""))


def _name(series: Mapping[str, Any]) -> str:
    """What a replica is called: its pod, where Prometheus knows it."""
    return str(series["metric"].get("pod") or _instance(series))


def _quoted(text: str) -> str:
    """A string of PromQL."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
