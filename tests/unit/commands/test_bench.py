"""`nimify bench`: from the command line to a table, a document and a page."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nimify import cli

if TYPE_CHECKING:
    from tests.conftest import RunningService, ServiceStarter

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--duration", "300ms", "--warmup", "50ms")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs the command in an empty folder, in a terminal of 110 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(("bench", *arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="session")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle("digits")


@pytest.fixture(scope="module")
def service(start_service: ServiceStarter, bundle: Path) -> RunningService:
    return start_service(bundle)


def test_a_bundle_is_served_for_the_time_of_the_test(run: Run, bundle: Path) -> None:
    """Nothing else is needed to see how fast a model answers."""
    code, out, err = run(str(bundle), "-c", "1,2", *QUICK)
    assert (code, "for the time of the test" in err) == (0, True)
    assert [line.split()[0] for line in out.splitlines() if "connection" in line] == ["1", "2"]


def test_the_document_holds_every_measurement(run: Run, service: RunningService) -> None:
    """Scripts get seconds and counts, without rounding."""
    code, out, _ = run(service.url, "-c", "2", "--rate", "100", "--json", *QUICK)
    report = json.loads(out)
    assert code == 0
    assert [point["loop"] for point in report["points"]] == ["closed", "open"]
    assert report["points"][0]["latency_s"]["p50"] > 0
    assert report["inputs"] == "drawn values"


def test_the_page_asks_nobody_for_anything(run: Run, service: RunningService, bundle: Path, tmp_path: Path) -> None:
    """One file, with the curves in it."""
    code, _, _ = run(service.url, "--bundle", str(bundle), "-c", "1,4", "--report", "load.html", *QUICK)
    page = (tmp_path / "load.html").read_text()
    assert code == 0
    assert "<svg" in page
    assert "src=" not in page


def test_the_binary_form_is_measured_too(run: Run, service: RunningService, bundle: Path) -> None:
    """The protocol is an option."""
    code, out, _ = run(service.url, "--bundle", str(bundle), "--protocol", "binary", "-c", "1", "--json", *QUICK)
    assert (code, json.loads(out)["protocol"]) == (0, "binary")


def test_a_bundle_is_measured_over_grpc(run: Run, bundle: Path) -> None:
    """The port that was chosen for it is found, and its metrics are read from the other one."""
    code, out, _ = run(str(bundle), "--protocol", "grpc", "-c", "2", "--json", *QUICK)
    report = json.loads(out)
    assert (code, report["protocol"], report["points"][0]["failures"]) == (0, "grpc", {})
    assert report["points"][0]["server"]["memory_bytes"] > 0


def test_a_url_says_that_grpc_is_spoken(run: Run, service: RunningService) -> None:
    """The model's inputs are asked for over gRPC as well; without its metrics the service's columns stay empty."""
    code, out, _ = run(f"grpc://{service.grpc_address}", "-c", "1", *QUICK)
    assert (code, "grpc, sending drawn values" in out) == (0, True)
    row = next(line for line in out.splitlines() if "1 connection" in line)
    assert row.split()[-3:] == ["-", "-", "-"]


def test_the_page_of_a_grpc_test_says_so(run: Run, service: RunningService, tmp_path: Path) -> None:
    """The same page, with the address of gRPC."""
    url = f"grpc://{service.grpc_address}"
    code, _, _ = run(url, "--metrics", service.url, "-c", "1,2", "--report", "load.html", *QUICK)
    page = (tmp_path / "load.html").read_text()
    assert (code, f"{url}, grpc" in page) == (0, True)


def test_a_search_that_finds_nothing_fails(run: Run, service: RunningService) -> None:
    """No service answers within a microsecond."""
    code, out, _ = run(service.url, "-c", "1", "--objective", "p50=1us", *QUICK)
    assert code == 1
    assert "No rate that was tried keeps p50" in out


@pytest.mark.parametrize("options", [("--objective", "p99=20"), ("--duration", "0")])
def test_a_wrong_option_is_told_before_anything_is_started(run: Run, bundle: Path, options: tuple[str, str]) -> None:
    """Nobody waits for a service to start, only to read of a typing error."""
    code, _, err = run(str(bundle), *options)
    assert (code, "Serving" in err) == (2, False)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("127.0.0.1:1",), 5, "cannot be used"),
        (("http://x:y",), 2, "no address"),
        (("{url}", "--model", "other"), 5, "/v2/models/other"),
        (("grpc://127.0.0.1:1",), 5, "cannot be used"),
        (("grpc://127.0.0.1",), 2, "no address of gRPC"),
        (("grpc://127.0.0.1:1/v2",), 2, "no address of gRPC"),
        (("{url}", "--protocol", "grpc"), 2, "grpc://HOST:PORT"),
        (("{grpc}", "--protocol", "binary"), 2, "http://HOST:PORT"),
        (("{grpc}", "--model", "other"), 5, "NOT_FOUND"),
        (("{grpc}", "--header", "Host: x"), 2, "cannot be sent over gRPC"),
        (("{grpc}", "--metrics", "grpc://127.0.0.1:1"), 2, "no address of HTTP"),
        (("{url}", "--axis", "nothing=3"), 2, "no input 'nothing'"),
        (("{url}", "-c", "0"), 2, "no list of connections"),
        (("{url}", "--rate", "nan"), 2, "no list of rates"),
        (("{url}", "--objective", "fast"), 2, "no objective"),
        (("{url}", "--header", "a\nb: c"), 2, "no header"),
        (("{url}", "--duration", "0"), 2, "more than 0"),
        (("{url}", "--sample", "missing.npz"), 2, "cannot be read"),
    ],
)
def test_misuse_is_explained(
    run: Run, service: RunningService, arguments: tuple[str, ...], code: int, says: str
) -> None:
    """One line, the right status, and no traceback."""
    urls = {"url": service.url, "grpc": f"grpc://{service.grpc_address}"}
    found, _, err = run(*(argument.format(**urls) for argument in arguments))
    assert (found, says in err, "Traceback" in err) == (code, True, False)
