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


@pytest.fixture(scope="session")
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


def test_a_search_that_finds_nothing_fails(run: Run, service: RunningService) -> None:
    """No service answers within a microsecond."""
    code, out, _ = run(service.url, "-c", "1", "--objective", "p50=1us", *QUICK)
    assert code == 1
    assert "No rate that was tried keeps p50" in out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("127.0.0.1:1",), 5, "cannot be used"),
        (("http://x:y",), 2, "no address"),
        (("{url}", "--model", "other"), 5, "/v2/models/other"),
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
    found, _, err = run(*(argument.format(url=service.url) for argument in arguments))
    assert (found, says in err, "Traceback" in err) == (code, True, False)
