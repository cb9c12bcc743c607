"""The options of `nimify validate`: which checks are made, and whether one may be skipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nimify import cli

Run = Callable[..., tuple[int, str, str]]
MakeBundle = Callable[..., Path]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `nimify validate BUNDLE` where none of the programs is installed."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(("validate", *arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture(scope="session")
def bundle(make_bundle: MakeBundle) -> str:
    return str(make_bundle("digits"))


def test_only_the_named_checks_are_made(run: Run, bundle: str) -> None:
    """In the order of the report, whatever the order of the names."""
    code, out, _ = run(bundle, "--only", "chart, manifest", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)["results"]] == ["manifest", "chart"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), 0),
        (("--strict",), 0),
        (("--require", "chart"), 1),
        (("--require", "manifest"), 0),
        (("--no-skip",), 1),
    ],
)
def test_a_skipped_check_fails_where_it_is_required(options: tuple[str, ...], code: int, run: Run, bundle: str) -> None:
    """For a pipeline, in which nobody reads what was skipped."""
    found, out, _ = run(bundle, "--only", "manifest,chart", "--json", *options)
    assert found == code
    assert json.loads(out)["passed"] is (code == 0)
    assert json.loads(out)["results"][1]["status"] == ("failed" if code else "skipped")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--only", "helm"), "There is no check 'helm'"),
        (("--require", "manifest,helm"), "There is no check 'helm'"),
        (("--only", "manifest", "--require", "chart"), "which --only leaves out"),
        (("--url", "http://127.0.0.1:1", "--only", "manifest"), "not of a service"),
    ],
)
def test_names_that_mean_nothing_are_refused(options: tuple[str, ...], said: str, run: Run, bundle: str) -> None:
    """A typing error ends with 2, and not with a check that passes."""
    code, out, err = run(bundle, *options)
    assert (code, out) == (2, "")
    assert said in err
