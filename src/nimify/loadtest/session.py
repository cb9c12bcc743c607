"""A whole load test: which loads, in which order, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nimify.artifacts.bundle import Bundle
from nimify.conformance.client import Client
from nimify.errors import ConfigError
from nimify.loadtest.endpoint import Endpoint
from nimify.loadtest.measurement import Measurement, Watch, unwatched
from nimify.loadtest.objective import Objective, highest_rate
from nimify.loadtest.point import LoadPoint
from nimify.loadtest.protocol import WireProtocol
from nimify.loadtest.request import LoadRequest, described_requests, golden_requests

MANY_CONNECTIONS: Final = 64
"""Of the closed loop that tells the search for a rate where to begin."""
_METRICS_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class LoadTest:
    """What is asked for.

    Attributes:
        url: Where the service is; see `nimify.loadtest.endpoint`.
        bundle: Folder whose golden requests are sent; values are drawn when left out.
        model: Which model to ask; may be left out when the service has only one.
        sample: Inputs to send, an .npz or .json file.
        lengths: Length of an input's free axes, by its name, for values that are drawn.
        protocol: `json`, `binary` or `grpc`; what the URL implies when left out.
        metrics_url: Where the service tells of itself when that is not `url`; gRPC has no such place.
        connections: Closed loops to measure.
        rates: Open loops to measure, in requests in a second.
        objective: What the highest rate must keep, when one is to be searched.
        duration_s: Length of each measurement.
        warmup_s: How long to send before each.
        timeout_s: How long one request may take.
        headers: Beside those of every request, e.g. an API key.
        authorities: A PEM file of authorities to trust instead of the system's.
    """

    url: str
    bundle: Path | None = None
    model: str | None = None
    sample: Path | None = None
    lengths: Mapping[str, int] = field(default_factory=dict)
    protocol: str | None = None
    metrics_url: str | None = None
    connections: Sequence[int] = ()
    rates: Sequence[float] = ()
    objective: Objective | None = None
    duration_s: float = 10.0
    warmup_s: float = 2.0
    timeout_s: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)
    authorities: str | None = None


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What came out.

    Attributes:
        url: Of the service.
        model: Its model.
        protocol: `json`, `binary` or `grpc`.
        inputs: What was sent, in words.
        points: Every measurement, in the order of its kind and level.
        objective: What the highest rate had to keep; `None` when none was searched.
        best: The measurement at that rate; `None` when no rate kept it.
    """

    url: str
    model: str
    protocol: str
    inputs: str
    points: tuple[LoadPoint, ...]
    objective: Objective | None = None
    best: LoadPoint | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        found: dict[str, Any] = {}
        if self.objective is not None:
            found["objective"] = {
                "quantile": self.objective.quantile,
                "latency_s": self.objective.latency_s,
                "rate": None if self.best is None else self.best.level,
            }
        return {
            "url": self.url,
            "model": self.model,
            "protocol": self.protocol,
            "inputs": self.inputs,
            **found,
            "points": [point.to_dict() for point in self.points],
        }


def run(test: LoadTest, *, watch: Watch = unwatched) -> LoadReport:
    """Carry out a load test.

    Args:
        test: What is asked for.
        watch: Told several times a second how it goes.

    Raises:
        EnvironmentProblem: The service cannot be reached, or refuses the requests.
        ConfigError: The requests cannot be made.
        BundleError: The bundle cannot be read.
    """
    load = prepared(test, watch=watch)
    measurement = load.measurement
    points = [measurement.closed(count) for count in test.connections]
    points += [measurement.open(rate) for rate in test.rates]
    best: LoadPoint | None = None
    if test.objective is not None:
        base = max((point.throughput for point in points if point.kind == "closed"), default=0.0)
        if not base:
            points.append(measurement.closed(MANY_CONNECTIONS))
            base = points[-1].throughput
        best, tried = highest_rate(test.objective, base, measurement.open)
        points += tried
    return LoadReport(
        url=load.url,
        model=load.model,
        protocol=load.protocol,
        inputs=load.inputs,
        points=tuple(sorted(points, key=lambda point: (point.kind, point.level))),
        objective=test.objective,
        best=best,
    )


@dataclass(frozen=True, slots=True)
class PreparedLoad:
    """A load that only has to be made.

    Attributes:
        measurement: Makes it.
        url: Of the service.
        protocol: `json`, `binary` or `grpc`.
        requests: What is sent; each was answered right once.
    """

    measurement: Measurement
    url: str
    protocol: str
    requests: tuple[LoadRequest, ...]

    @property
    def model(self) -> str:
        """Which model is asked."""
        return self.requests[0].model

    @property
    def inputs(self) -> str:
        """What is sent, in words."""
        return ", ".join(request.name for request in self.requests[:4])

    @property
    def rows(self) -> list[int]:
        """The length of the first axis of each request; 1 where there is none."""
        return [
            max((array.shape[0] for array in request.inputs.values() if array.ndim), default=1)
            for request in self.requests
        ]


def prepared(test: LoadTest, *, watch: Watch = unwatched) -> PreparedLoad:
    """Make the requests of a load test, and send each of them once; raises as `run` does."""
    endpoint = Endpoint.parse(test.url, test.protocol)
    protocol = endpoint.protocol(test.headers, timeout_s=test.timeout_s, authorities=test.authorities)
    requests = _requests(test, protocol)
    for request in requests:
        protocol.check(request)
    traffic = protocol.traffic(requests, test.timeout_s)
    measurement = Measurement(traffic, _metrics(test, endpoint), test.duration_s, test.warmup_s, watch)
    return PreparedLoad(measurement, protocol.url, protocol.name, tuple(requests))


def _metrics(test: LoadTest, endpoint: Endpoint) -> Client | None:
    """Who asks the service how it does; nobody when it is not known where."""
    url = test.metrics_url or endpoint.metrics_url
    if url is None:
        return None
    tls = Endpoint.parse(url, "json", field="--metrics").address.tls(test.authorities)
    return Client(url, timeout_s=_METRICS_TIMEOUT_S, headers=test.headers, tls=tls)


def _requests(test: LoadTest, protocol: WireProtocol) -> list[LoadRequest]:
    if test.bundle is None or test.sample is not None:
        return described_requests(protocol, test.model, sample=test.sample, lengths=test.lengths)
    bundle = Bundle.open(test.bundle)
    golden = bundle.golden()
    if golden is None:
        raise ConfigError(
            f"'{test.bundle}' has no golden requests.", field="--bundle", remedy="Name your own inputs with --sample."
        )
    return golden_requests(bundle.service, golden, as_json=protocol.name == "json")
