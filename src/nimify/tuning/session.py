"""A whole tuning run: the bundle as it is, the search, the repeats, the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from nimify.analysis.cpu_ceilings import cpu_model
from nimify.artifacts.bundle import Bundle
from nimify.errors import NimifyError
from nimify.loadtest.measurement import Measurement, Watch, unwatched
from nimify.loadtest.objective import Objective, highest_rate
from nimify.loadtest.point import LoadPoint
from nimify.loadtest.session import MANY_CONNECTIONS, LoadTest, prepared
from nimify.serving.cpus import available_cpus
from nimify.tuning.budget import Budget, OutOfTime
from nimify.tuning.candidate import SETTINGS, Candidate
from nimify.tuning.rates import Measure, around, climbed
from nimify.tuning.repeats import Change, Repeats, Samples
from nimify.tuning.report import TuningReport
from nimify.tuning.search import searched
from nimify.tuning.space import Space
from nimify.tuning.staged import staged
from nimify.tuning.trial import Trial

_SEARCH_SHARE: Final = 0.6
"""Of the time; the rest is for the repeats, without which nothing is changed."""
AS_IT_IS: Final = "as it is"


class Served(Protocol):
    """A service that runs."""

    @property
    def url(self) -> str:
        """Where HTTP answers."""
        ...

    @property
    def grpc_url(self) -> str:
        """Where gRPC answers."""
        ...


Serve = Callable[[Path], AbstractContextManager[Served]]
"""Serves the bundle in a folder with the embedded engine, for as long as a context lasts."""
Tell = Callable[[Trial], None]
"""Told of each trial that has ended."""


def untold(_: Trial) -> None:
    """For those who only want the report."""


@dataclass(frozen=True, slots=True)
class TuningOrder:
    """What is asked for.

    Attributes:
        bundle: The folder of the bundle.
        objective: What must be kept.
        settings: The settings to sweep.
        kept: Settings that are left alone, and why.
        protocol: How requests travel: `json`, `binary` or `grpc`.
        sample: Inputs to send, an .npz or .json file; the golden requests when left out.
        duration_s: Length of each measurement.
        warmup_s: How long to send before each.
        budget_s: How long all of it may take.
        repeats: How often the best candidates are measured again.
        refusal: Why the plan would not take a candidate; empty when it would.
    """

    bundle: Path
    objective: Objective
    settings: tuple[str, ...] = tuple(SETTINGS)
    kept: tuple[tuple[str, str], ...] = ()
    protocol: str = "json"
    sample: Path | None = None
    duration_s: float = 3.0
    warmup_s: float = 1.0
    budget_s: float = 900.0
    repeats: int = 3
    refusal: Callable[[Candidate], str] = lambda _: ""


def run(order: TuningOrder, serve: Serve, *, watch: Watch = unwatched, tell: Tell = untold) -> TuningReport:
    """Carry it out; nothing is written.

    Args:
        order: What is asked for.
        serve: Serves a bundle.
        watch: Told several times a second how a measurement goes.
        tell: Told of each trial that has ended.

    Raises:
        BundleError: The bundle cannot be read.
        ConfigError: The requests cannot be made.
        EnvironmentProblem: The bundle as it is cannot be served, or refuses the requests.
    """
    return _Tuning(order, serve, watch, tell).run()


class _Tuning:
    def __init__(self, order: TuningOrder, serve: Serve, watch: Watch, tell: Tell) -> None:
        self._order = order
        self._serve = serve
        self._watch = watch
        self._tell = tell
        self._budget = Budget(order.budget_s)
        self._trials: list[Trial] = []
        self._repeated: dict[Candidate, Samples] = {}
        self._inputs = ""
        self._rows = 1

    def run(self) -> TuningReport:
        bundle = Bundle.open(self._order.bundle)
        spec = bundle.service
        start = self._noted(self._first(Candidate.of(spec), AS_IT_IS))
        space = Space(
            self._order.settings,
            available_cpus(),
            self._order.objective.latency_s,
            least_rows=max(self._rows, _golden_rows(bundle)),
            planned_rows=spec.max_batch_size,
        )
        self._budget.allow(_SEARCH_SHARE)
        best, whole = searched(start, space, self._examine)
        self._budget.allow(1.0)
        ended = "" if whole else f"The time of {self._order.budget_s:g} s was over before everything was tried."
        changes: tuple[Change, ...] = ()
        if best is not start:
            try:
                changes = self._worth_changing(start, best)
            except OutOfTime:
                ended = (
                    f"The time of {self._order.budget_s:g} s was over before the best settings had been measured "
                    "again, so nothing is sure enough to be changed."
                )
        return TuningReport(
            objective=self._order.objective,
            protocol=self._order.protocol,
            inputs=self._inputs,
            machine=cpu_model(),
            cpus=space.cpus,
            kept=dict(self._order.kept),
            start=start.candidate,
            trials=tuple(self._trials),
            repeated=self._repeated,
            changes=changes,
            ended=ended,
            took_s=self._budget.used_s,
        )

    def _worth_changing(self, start: Trial, best: Trial) -> tuple[Change, ...]:
        repeats = Repeats(self._sample, self._order.repeats)
        try:
            repeats.alternate({best.candidate: best.rate, start.candidate: start.rate or best.rate})
            return repeats.worth_changing(start.candidate, best.candidate, best.rate)
        finally:
            self._repeated = repeats.all

    def _examine(self, candidate: Candidate, rate: float) -> Trial:
        """See `nimify.tuning.search.Examine`."""
        self._budget.check()
        if refusal := self._order.refusal(candidate):
            return self._noted(Trial(candidate, None, f"not tried: {refusal}"))
        if not rate:
            return self._noted(self._tried(candidate, lambda: self._first(candidate, "keeps the objective")))
        return self._noted(self._tried(candidate, lambda: self._further(candidate, rate)))

    def _first(self, candidate: Candidate, verdict: str) -> Trial:
        """A candidate of which nothing is known: what a closed loop reaches says where to look."""
        with self._measurement(candidate) as measurement:
            # A service that many requests at once bring to a stand may yet answer a few.
            reached = measurement.closed(MANY_CONNECTIONS).throughput or measurement.closed(1).throughput
            best, _ = highest_rate(self._order.objective, reached, measurement.open)
        return Trial(candidate, best, verdict if best else f"{verdict}, does not keep the objective")

    def _further(self, candidate: Candidate, rate: float) -> Trial:
        with self._measurement(candidate) as measurement:
            best = climbed(self._order.objective, rate, self._within_budget(measurement))
        return Trial(candidate, best, "better" if best else "not better")

    def _tried(self, candidate: Candidate, measure: Callable[[], Trial]) -> Trial:
        """A candidate that cannot be served is passed over: the bundle as it is can be."""
        try:
            return measure()
        except NimifyError as error:
            return Trial(candidate, None, f"failed: {error.message}")

    def _sample(self, candidate: Candidate, guess: float) -> float:
        """See `nimify.tuning.repeats.Sample`."""
        self._budget.check()
        with self._measurement(candidate) as measurement:
            point = around(self._order.objective, guess, self._within_budget(measurement))
        trial = Trial(candidate, point, "again" if point else "again, does not keep the objective")
        return self._noted(trial).rate

    def _within_budget(self, measurement: Measurement) -> Measure:
        def measure(rate: float) -> LoadPoint:
            self._budget.check()
            return measurement.open(rate)

        return measure

    def _noted(self, trial: Trial) -> Trial:
        self._trials.append(trial)
        self._tell(trial)
        return trial

    @contextmanager
    def _measurement(self, candidate: Candidate) -> Iterator[Measurement]:
        """A service with these settings, ready to be measured."""
        order = self._order
        with staged(order.bundle, candidate) as folder, self._serve(folder) as service:
            test = LoadTest(
                url=service.grpc_url if order.protocol == "grpc" else service.url,
                bundle=order.bundle,
                sample=order.sample,
                protocol=order.protocol,
                metrics_url=service.url,
                duration_s=order.duration_s,
                warmup_s=order.warmup_s,
            )
            load = prepared(test, watch=self._watch)
            self._inputs = load.inputs
            self._rows = max(load.rows)
            yield load.measurement


def _golden_rows(bundle: Bundle) -> int:
    """Rows of the largest golden request: it must be answered whatever the batch becomes."""
    golden = bundle.golden()
    if golden is None:
        return 1
    rows: list[int] = [array.shape[0] for row in golden.cases for array in row.case.inputs.values() if array.ndim]
    return max(rows, default=1)
