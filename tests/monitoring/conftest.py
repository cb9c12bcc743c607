"""A real Prometheus that watches real services through the rules of their bundles, at many times the usual speed.

Programs come from the PATH (Debian's package `prometheus`). Without them these tests are skipped, and say so; they
fail when NIMIFY_REQUIRE names `monitoring`, as in CI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port

from nimify.artifacts.artifact import Artifact
from nimify.artifacts.monitoring.rules import rules
from nimify.artifacts.monitoring.scraping import prometheus_config
from nimify.artifacts.monitoring.watched import WatchedService
from nimify.artifacts.yaml_file import yaml_artifact

Program = Callable[[str], str]


@pytest.fixture(scope="session")
def program() -> Program:
    """The path of a program that the tests drive."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            message = f"{name} is not installed; apt-get install prometheus"
            if "monitoring" in os.environ.get("NIMIFY_REQUIRE", "").split(","):
                pytest.fail(message)
            pytest.skip(message)
        return found

    return find


@pytest.fixture(scope="session")
def promtool(program: Program) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run promtool on files of a folder."""
    path = program("promtool")

    def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([path, *arguments], cwd=folder, capture_output=True, text=True, timeout=240, check=False)

    return run


@dataclass(frozen=True)
class Watched:
    """A service, and where it is scraped."""

    service: WatchedService
    target: str


class Prometheus:
    """A running Prometheus, asked over its API."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The samples that an expression gives now."""
        found: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return found

    def fired(self, job: str) -> set[str]:
        """The names of every alert of a service that fired since the start."""
        expr = f'max_over_time(ALERTS{{alertstate="firing", service="{job}"}}[1h])'
        return {sample["metric"]["alertname"] for sample in self.query(expr)}

    def wait_until(self, condition: Callable[[], object], what: str, *, timeout_s: float = 120.0) -> None:
        """Wait for something to come true."""
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline_s, f"{what} did not come true"
            time.sleep(0.2)


StartPrometheus = Callable[[list[Watched]], Prometheus]
RunPrometheus = Callable[..., Prometheus]


@pytest.fixture(scope="session")
def run_prometheus(program: Program) -> Iterator[RunPrometheus]:
    """Start a Prometheus with a configuration and options, and wait until it is ready; ended with the session."""
    running: list[Prometheus] = []
    path = program("prometheus")

    def run(config: Path, *options: str, password: str = "") -> Prometheus:
        folder = config.parent
        for _ in range(5):  # another process may take the port in between
            port, log = free_port(), folder / "log.txt"
            with log.open("wb") as stream:
                process = subprocess.Popen(
                    [
                        path,
                        f"--config.file={config}",
                        f"--storage.tsdb.path={folder / 'data'}",
                        f"--web.listen-address=127.0.0.1:{port}",
                        "--log.level=warn",
                        *options,
                    ],
                    stdout=stream,
                    stderr=stream,
                    stdin=subprocess.DEVNULL,
                )
            prometheus = Prometheus(process, f"http://127.0.0.1:{port}", log)
            running.append(prometheus)
            if _is_up(prometheus, port, password):
                return prometheus
        raise RuntimeError(log.read_text())

    yield run
    for prometheus in running:
        if prometheus.process.poll() is None:
            prometheus.process.kill()
        prometheus.process.wait()


@pytest.fixture(scope="session")
def start_prometheus(run_prometheus: RunPrometheus, tmp_path_factory: pytest.TempPathFactory) -> StartPrometheus:
    """Start a Prometheus over some services, each with the rules and the scrape configuration made for it."""
    return lambda watched: run_prometheus(_config(watched, tmp_path_factory.mktemp("prometheus")))


def _is_up(prometheus: Prometheus, port: int, password: str) -> bool:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/-/ready")
    if password:
        request.add_header("Authorization", password)
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s and prometheus.process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return True
        except OSError:
            time.sleep(0.05)
    return False


def _config(watched: list[Watched], folder: Path) -> Path:
    """The configurations of all services as one, as their files stand beside each other."""
    parts = [prometheus_config(one.service, [one.target]) for one in watched]
    assert len({part["global"]["scrape_interval"] for part in parts}) == 1
    for one in watched:
        _write(folder, yaml_artifact(f"{one.service.name}.rules.yaml", rules(one.service)))
    jobs = [job for part in parts for job in part["scrape_configs"]]
    whole = {**parts[0], "rule_files": ["*.rules.yaml"], "scrape_configs": jobs}
    return _write(folder, yaml_artifact("prometheus.yaml", whole))


def _write(folder: Path, artifact: Artifact) -> Path:
    path = folder / artifact.path
    path.write_bytes(artifact.content)
    return path
