"""`nimify monitor --prometheus` on a real Prometheus that scrapes real replicas."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from tests.monitoring.conftest import Prometheus, RunPrometheus

from nimify import cli

pytestmark = pytest.mark.monitoring
PASSWORD: Final = "a password of these tests"
# bcrypt of PASSWORD, as web.yml wants it; of the cheapest kind.
HASH: Final = "$2b$04$abcdefghijklmnopqrstuuuD/R07rdTsRcphGOojYA6VXtG23jzXK"
LETS_IN: Final = "Basic " + base64.b64encode(f"someone:{PASSWORD}".encode()).decode()
REQUESTS: Final = 20


def config(folder: Path, jobs: dict[str, list[str]], *, every: str = "500ms") -> Path:
    path = folder / "prometheus.yaml"
    document = {
        "global": {"scrape_interval": every, "scrape_timeout": every},
        "scrape_configs": [
            {"job_name": job, "metrics_path": "/v1/metrics", "static_configs": [{"targets": targets}]}
            for job, targets in jobs.items()
        ],
    }
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle("tiny")


@pytest.fixture(scope="module")
def replicas(bundle: Path, start_service: Callable[..., Any]) -> list[Any]:
    return [start_service(bundle), start_service(bundle)]


@pytest.fixture(scope="module")
def prometheus(
    replicas: list[Any], run_prometheus: RunPrometheus, tmp_path_factory: pytest.TempPathFactory
) -> Prometheus:
    """One that scrapes two replicas that live and one that does not, and another job."""
    folder = tmp_path_factory.mktemp("prometheus")
    alive = [replica.url.removeprefix("http://") for replica in replicas]
    started = run_prometheus(config(folder, {"tiny": [*alive, "127.0.0.1:1"], "other": ["127.0.0.1:1"]}))
    started.wait_until(lambda: len(started.query('up{job="tiny"}')) == 3, "a first scrape")
    return started


def monitored(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    ended = cli.main(["monitor", "--once", "--json", "--interval", "1s", *arguments])
    said = capsys.readouterr()
    assert ended == status, said
    return json.loads(said.out)


def test_replicas_are_seen_as_they_would_be_seen_themselves(
    prometheus: Prometheus, replicas: list[Any], bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requests of two replicas are counted once each, over a window that Prometheus has; the dead one is told."""
    body = (bundle / "golden" / "batch-1.request.json").read_bytes()
    before = int(prometheus.query('sum(nv_inference_request_success{job="tiny"})')[0]["value"][1])
    for replica in replicas:
        for _ in range(REQUESTS):
            with urllib.request.urlopen(f"{replica.url}/v2/models/tiny/infer", body, timeout=30) as answer:
                answer.read()
    after = before + 2 * REQUESTS
    prometheus.wait_until(
        lambda: prometheus.query('sum(nv_inference_request_success{job="tiny"})')[0]["value"][1] == str(after),
        "the scrape of all requests",
    )

    picture = monitored(capsys, str(bundle), "--prometheus", prometheus.url, "--interval", "60s")

    figures = picture["figures"]
    assert picture["service"] == "tiny"
    # The windows of two replicas differ by the time between two scrapes; told is the longer one.
    assert 2 * REQUESTS * 0.99 <= figures["requests_per_s"] * picture["window_s"] <= 4 * REQUESTS
    assert 0 < figures["p50_s"] <= figures["p99_s"]
    assert figures["memory_bytes"] > 10e6
    assert figures["mean_batch"] == 1
    assert figures["waiting"] == 0
    assert figures["gpu_utilization"] is None
    states = {replica["name"]: (replica["up"], replica["ready"]) for replica in picture["replicas"]}
    alive = {replica.url.removeprefix("http://"): (True, True) for replica in replicas}
    assert states == {**alive, "127.0.0.1:1": (False, None)}
    assert [replica["problem"] for replica in picture["replicas"] if not replica["up"]] == [
        "Prometheus cannot scrape it"
    ]
    assert picture["missing"] == ["No GPU metrics: the service exports none."]


def test_a_job_that_nobody_scrapes_is_named_and_no_zeros_are_shown(
    prometheus: Prometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what is missing and which job was probably meant, and ends with 1."""
    picture = monitored(capsys, "tinny", "--prometheus", prometheus.url, status=1)
    assert picture["figures"]["requests_per_s"] is None
    assert picture["replicas"] == []
    (why,) = picture["missing"]
    assert "scrapes no job 'tinny'" in why
    assert "It has tiny" in why
    elsewhere = monitored(capsys, "tiny", "--prometheus", prometheus.url, "--namespace", "no'w\"here", status=1)
    assert "in the namespace" in elsewhere["missing"][0]


def test_replicas_that_are_all_down_are_no_idle_service(
    prometheus: Prometheus, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing that Prometheus still remembers of them is shown as the present."""
    picture = monitored(capsys, "other", "--prometheus", prometheus.url, status=1)
    assert [replica["up"] for replica in picture["replicas"]] == [False]
    assert picture["missing"] == ["No replica answers, so there is nothing to show."]
    assert picture["figures"]["memory_bytes"] is None


def test_one_that_wants_a_password_is_told_and_then_read(
    replicas: list[Any],
    run_prometheus: RunPrometheus,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, or with another, the error says how to give it; with it, by a file or a variable, it is read."""
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump({"basic_auth_users": {"someone": HASH}}))
    jobs = {"tiny": [replicas[0].url.removeprefix("http://")]}
    started = run_prometheus(config(tmp_path, jobs), f"--web.config.file={web}", password=LETS_IN)
    refused = monitored(capsys, "tiny", "--prometheus", started.url, status=5)["error"]
    assert "answered 401" in refused["message"]
    assert "--prometheus-auth" in refused["remedy"]
    wrong, right = tmp_path / "wrong", tmp_path / "right"
    wrong.write_text("another-token\n")
    right.write_text(f"# for the monitor\n{LETS_IN}\n")
    said = json.dumps(monitored(capsys, "tiny", "--prometheus", started.url, "--prometheus-auth", str(wrong), status=5))
    assert "another-token" not in said
    assert "401" in said
    options = ("--prometheus", started.url, "--interval", "200ms")
    while not _all_up(picture := json.loads(_said(capsys, "tiny", *options, "--prometheus-auth", str(right)))):
        assert picture["replicas"] or "no job" in picture["missing"][0]  # it has not scraped yet
    monkeypatch.setenv("NIMIFY_PROMETHEUS_AUTHORIZATION", LETS_IN)
    assert monitored(capsys, "tiny", *options)["replicas"][0]["up"]


def _all_up(picture: Any) -> bool:
    return bool(picture["replicas"]) and all(replica["up"] for replica in picture["replicas"])


def _said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    cli.main(["monitor", *arguments, "--once", "--json"])
    return capsys.readouterr().out


def test_a_prometheus_that_goes_away_is_told_and_the_watching_goes_on(
    replicas: list[Any], run_prometheus: RunPrometheus, tmp_path: Path
) -> None:
    """The first reading must succeed; a later one that does not becomes a picture with the reason."""
    from nimify.monitoring.prometheus import PrometheusMonitor, PrometheusPlace

    started = run_prometheus(config(tmp_path, {"tiny": [replicas[0].url.removeprefix("http://")]}))
    started.wait_until(lambda: started.query('up{job="tiny"} == 1'), "a first scrape")
    monitor = PrometheusMonitor(PrometheusPlace(started.url, "tiny"), window_s=1)
    assert monitor.look().up == 1
    started.process.kill()
    started.process.wait()

    picture = monitor.look()

    assert picture.up == 0
    assert picture.figures.requests_per_s is None
    assert "cannot be reached" in picture.missing[0]
