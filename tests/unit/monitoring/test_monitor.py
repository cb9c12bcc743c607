"""Pictures of services that answer, die, come back and lie."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.unit.monitoring.local_server import LocalServer

from nimify.errors import ConfigError, EnvironmentProblem
from nimify.metrics.prometheus_text import parse
from nimify.monitoring.change import Change
from nimify.monitoring.history import History, heights
from nimify.monitoring.monitor import Monitor, Source
from nimify.monitoring.picture import Figures, Picture


class Endpoint(LocalServer):
    """An address that answers what the test says."""

    def __init__(self) -> None:
        self.text = ""
        self.status = 200
        super().__init__()

    def reply(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        return self.status, self.text.encode()


@pytest.fixture
def endpoints() -> Iterator[Callable[[], Endpoint]]:
    opened: list[Endpoint] = []

    def make() -> Endpoint:
        opened.append(Endpoint())
        return opened[-1]

    yield make
    for endpoint in opened:
        endpoint.close()


def exported(answered: int, *, started: int = 1, ready: int = 1) -> str:
    return (
        f'nv_inference_request_success{{model="m"}} {answered}\n'
        f'nv_inference_request_failure{{model="m",reason="REJECTED"}} {answered // 10}\n'
        f"nim_ready {ready}\nprocess_start_time_seconds {started}\n"
        f'nim_request_duration_seconds_bucket{{le="0.01"}} {answered}\n'
        f'nim_request_duration_seconds_bucket{{le="+Inf"}} {answered}\n'
    )


def test_rates_add_up_over_replicas(endpoints: Callable[[], Endpoint]) -> None:
    """Two replicas that answered 10 and 30 requests make 40 over the window, and a share of failures."""
    replicas = [endpoints(), endpoints()]
    monitor = Monitor("m", lambda: [Source.at(replica.url) for replica in replicas])
    for replica in replicas:
        replica.text = exported(0)
    monitor.look()
    replicas[0].text, replicas[1].text = exported(10), exported(30)

    picture = monitor.look()

    each = [replica.requests_per_s for replica in picture.replicas]
    assert None not in each
    assert picture.figures.requests_per_s == pytest.approx(sum(rate for rate in each if rate is not None))
    assert picture.figures.failures_per_s.keys() == {"REJECTED"}
    assert picture.figures.p50_s == pytest.approx(0.005)
    assert picture.up == 2


def test_a_replica_that_dies_is_told_and_the_others_go_on(endpoints: Callable[[], Endpoint]) -> None:
    """The picture names the dead one with its reason and still has the figures of the living one."""
    alive, dead = endpoints(), endpoints()
    alive.text = dead.text = exported(5)
    monitor = Monitor("m", lambda: [Source.at(alive.url), Source.at(dead.url)])
    monitor.look()
    dead.status, alive.text = 503, exported(6)

    picture = monitor.look()

    assert [replica.up for replica in picture.replicas] == [True, False]
    assert "503" in picture.replicas[1].problem
    assert picture.figures.requests_per_s is not None


def test_nobody_there_is_no_service_without_requests() -> None:
    """When nothing answers, figures are unknown and not zero, and the picture says so."""
    picture = Monitor("m", lambda: [Source.at("http://127.0.0.1:1")]).look()

    assert picture.figures == Figures()
    assert picture.missing == ("No replica answers, so there is nothing to show.",)
    assert picture.replicas[0].problem


def test_what_a_service_does_not_export_is_named(endpoints: Callable[[], Endpoint]) -> None:
    """A service without our metrics gives unknown figures and a sentence with their names."""
    replica = endpoints()
    replica.text = "up 1\n"
    monitor = Monitor("m", lambda: [Source.at(replica.url)])
    monitor.look()

    picture = monitor.look()

    assert picture.figures.requests_per_s is None
    assert "nv_inference_request_success" in picture.missing[0]
    assert picture.replicas[0].ready is None


def test_another_process_behind_the_address_starts_a_new_window() -> None:
    """After a restart, or a switch of revisions, counters of two processes are not compared."""
    earlier = parse(exported(1000, started=1), taken_s=1.0)
    later = parse(exported(5000, started=2), taken_s=2.0)

    assert Change.between(earlier, later) is None


def test_a_target_that_cannot_be_asked_for_a_while_is_no_end(endpoints: Callable[[], Endpoint]) -> None:
    """The first reading needs it; after that the replicas of before are read on, and the picture says why."""
    replica = endpoints()
    replica.text = exported(1)
    answers: list[bool] = [False, True, False]

    def discover() -> list[Source]:
        if not answers.pop(0):
            raise EnvironmentProblem("The engine is busy.")
        return [Source.at(replica.url)]

    monitor = Monitor("m", discover)
    with pytest.raises(EnvironmentProblem):
        monitor.look()
    assert monitor.look().up == 1

    picture = monitor.look()

    assert picture.up == 1
    assert "The engine is busy." in picture.missing[0]


def test_a_key_is_sent_to_replicas_and_asked_for_when_it_lacks(
    make_bundle: Callable[..., Path], start_service: Callable[..., Any], tmp_path: Path
) -> None:
    """Metrics behind API keys are read with one, and without it the replica says what is missing."""
    keys = tmp_path / "keys"
    keys.write_text(f"{'k' * 32}\n")
    service = start_service(make_bundle("tiny"), "--api-keys", str(keys))
    sources = [Source.at(service.url)]

    shut = Monitor("tiny", lambda: sources).look()
    assert [replica.problem for replica in shut.replicas] == [
        "its metrics want an API key: give it with --api-key-file"
    ]
    opened = Monitor("tiny", lambda: sources, headers={"Authorization": f"Bearer {'k' * 32}"}).look()
    assert opened.replicas[0].ready


def test_a_path_to_metrics_is_taken_as_it_is(endpoints: Callable[[], Endpoint]) -> None:
    """`http://host:8002/metrics`, as Triton has it, is read there; a page that is no metrics gives no figures."""
    replica = endpoints()
    replica.text = "<html>not metrics</html>"

    picture = Monitor("m", lambda: [Source.at(f"{replica.url}/metrics")]).look()

    assert picture.up == 1
    assert picture.figures == Figures()


@pytest.mark.parametrize("url", ["ftp://x", "http://", "host:notaport"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """A wrong URL is an error at once, and not a replica that is down for ever."""
    with pytest.raises(ConfigError):
        Source.at(url)


def test_a_picture_of_a_real_service_is_complete_json(
    make_bundle: Callable[..., Path], start_service: Callable[..., Any]
) -> None:
    """A live service shows its requests, latencies, memory and readiness, and the picture is a JSON document."""
    bundle = make_bundle("tiny")
    service = start_service(bundle)
    monitor = Monitor("tiny", lambda: [Source.at(service.url)])
    monitor.look()
    body = (bundle / "golden" / "batch-1.request.json").read_bytes()
    for _ in range(5):
        with urllib.request.urlopen(f"{service.url}/v2/models/tiny/infer", body, timeout=30) as answer:
            answer.read()

    picture = monitor.look()

    figures = picture.figures
    assert figures.requests_per_s is not None
    assert figures.requests_per_s * picture.window_s == pytest.approx(5)
    assert figures.p50_s is not None
    assert 0 < figures.p50_s <= (figures.p99_s or 0)
    assert figures.memory_bytes
    assert figures.mean_batch == 1
    assert picture.replicas[0].ready
    assert picture.missing == ("No GPU metrics: the service exports none.",)
    assert json.loads(json.dumps(picture.to_dict()))["figures"]["waiting"] == 0


def test_heights_are_in_proportion_and_gaps_stay() -> None:
    """The largest value has the full height; what is unknown is no low value."""
    assert heights([0.0, 3.5, 7.0, None]) == [0, 4, 7, None]
    assert heights([0.0, None]) == [0, None]
    assert heights([]) == []


def test_history_forgets_the_oldest() -> None:
    """Only as many values are kept as a screen can show."""
    history = History()
    for number in range(1000):
        figures = Figures(requests_per_s=float(number))
        history.add(Picture("m", "", 1.0, figures, (), ()))

    assert len(history.heights("requests", 1000)) < 1000
    assert history.heights("requests", 2) == [7, 7]
    assert history.heights("p99", 3) == [None] * 3
