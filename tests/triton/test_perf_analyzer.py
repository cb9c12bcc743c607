"""Triton's load generator, unchanged, against the embedded engine: it finds what it asks for, and its counts agree."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunningService

pytestmark = pytest.mark.triton

PROGRAM: Final = Path(__file__).parents[2] / ".tools/perf-analyzer/perf_analyzer"
WINDOWS: Final = ("--measurement-interval", "500", "--max-trials", "3", "--stability-percentage", "999")
"""Three windows of half a second, whatever they show. Told a number of requests, it now and then waits for ever."""


@pytest.fixture(scope="module")
def service(start_service: Callable[..., RunningService], make_bundle: Callable[..., Path]) -> RunningService:
    return start_service(make_bundle("tiny"))


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("http", []),
        ("http", ["--async", "-b", "4"]),
        ("grpc", []),
        ("grpc", ["--async", "-b", "4"]),
        ("grpc", ["--async", "--streaming"]),
    ],
    ids=["http", "http-async", "grpc", "grpc-async", "grpc-stream"],
)
def test_perf_analyzer_measures_the_service(
    protocol: str, options: list[str], service: RunningService, tmp_path: Path
) -> None:
    """It reads the configuration and the statistics, and every request that it sends is answered and counted."""
    if not PROGRAM.is_file():
        pytest.fail("perf_analyzer is not there; install it with: make .tools/perf-analyzer/.ready")
    address = service.url.removeprefix("http://") if protocol == "http" else service.grpc_address
    before = _counts(service)
    done = subprocess.run(
        [
            str(PROGRAM), "-m", "tiny", "-u", address, "-i", protocol, "--concurrency-range", "2",
            *WINDOWS, "--profile-export-file", str(tmp_path / "profile.json"), *options,
        ],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.search(r"Successful request count: (\d+)", done.stdout)
    assert told, done.stdout
    after = _counts(service)
    profile = json.loads((tmp_path / "profile.json").read_bytes())
    requests = profile["experiments"][0]["requests"]
    assert after["success"] - before["success"] >= max(int(told[1]), len(requests))
    assert after["fail"] == before["fail"]
    assert int(told[1]) > 0
    assert len(requests) > 0
    assert all(request["response_timestamps"] for request in requests)


def _counts(service: RunningService) -> dict[str, int]:
    with urllib.request.urlopen(f"{service.url}/v2/models/tiny/stats") as response:
        statistics = json.load(response)["model_stats"][0]["inference_stats"]
    return {name: statistics[name]["count"] for name in ("success", "fail")}
