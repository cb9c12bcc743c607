"""`nimify tune`: from the command line to a table and a document."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nimify import cli

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--duration", "200ms", "--warmup", "0", "--settings", "delay", "--repeats", "2", "--budget", "2s")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs the command in an empty folder, in a terminal of 110 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(("tune", *arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    return shutil.copytree(make_bundle("digits"), tmp_path / "bundle")


def test_a_table_says_what_was_tried(run: Run, bundle: Path) -> None:
    """The bundle as it is comes first, each trial is told while it happens, and what is left alone has its reason."""
    code, out, err = run(str(bundle), "--objective", "p50=2s", "--protocol", "grpc", *QUICK)
    assert code == 0
    assert "grpc, sending batch-1" in out
    assert "as it is" in next(line for line in out.splitlines() if line.lstrip().startswith("32"))
    assert "batch 32, no delay" in err


def test_an_objective_that_nothing_keeps_is_a_failure(run: Run, bundle: Path) -> None:
    """Nothing is written, and the document says that nothing was."""
    before = (bundle / "nimify.yaml").read_bytes()
    code, out, _ = run(str(bundle), "--objective", "p50=1us", "--json", *QUICK)
    report = json.loads(out)
    assert (code, report["written"], report["changes"]) == (1, False, [])
    assert report["chosen"] == report["start"]
    assert report["trials"][0]["rate"] is None
    assert (bundle / "nimify.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("nowhere",), 4, "is not a bundle"),
        (("{bundle}", "--objective", "fast"), 2, "no objective"),
        (("{bundle}", "--settings", "size"), 2, "cannot be tuned"),
        (("{bundle}", "--budget", "0"), 2, "more than 0"),
        (("{bundle}", "--repeats", "1"), 2, "2<=x<=20"),
        (("{bundle}", "--sample", "missing.npz", "--duration", "100ms"), 2, "cannot be read"),
    ],
)
def test_misuse_is_explained(run: Run, bundle: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    """One line, the right status, and no traceback."""
    found, _, err = run(*(argument.format(bundle=bundle) for argument in arguments))
    assert (found, says in err, "Traceback" in err) == (code, True, False)
