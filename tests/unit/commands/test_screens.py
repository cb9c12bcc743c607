"""What the commands print of hostile and of ordinary models, on narrow terminals too."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from nimify import cli
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield call
    signal.signal(signal.SIGTERM, handler)


def _hostile_model(path: Path) -> Path:
    graph = GraphBuilder("hostile")
    name = "x\x1b[2J\n\u202e" + "y" * 3000
    x = graph.input(name, "FP32", ["b\x1b[31m", 4])
    graph.output(graph.op("Identity", x, out="out\r\nError: forged"), "FP32", ["b\x1b[31m", 4])
    return models.save(graph.model(), path)


@pytest.mark.parametrize("columns", ["20", "100"])
def test_hostile_names_do_not_reach_the_terminal(
    columns: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tensor and axis names are escaped and shortened; the screen stays a screen."""
    monkeypatch.setenv("COLUMNS", columns)
    _hostile_model(tmp_path / "m.onnx")

    _, out, err = run("analyze", "m.onnx", "--no-trial")

    lines = (out + err).splitlines()
    assert all(character.isprintable() for line in lines for character in line)
    assert not any(line.startswith("Error: forged") for line in lines)
    assert sum(map(len, lines)) < 6000


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_screens_fit_the_terminal(columns: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of `create` is wider than the terminal, but for words that cannot be broken."""
    monkeypatch.setenv("COLUMNS", str(columns))
    models.save(models.digits_mlp(), tmp_path / "digits.onnx")

    code, out, _ = run("create", "digits.onnx", "--no-trial")

    too_long = [line for line in out.splitlines() if len(line) > columns and len(line.split()) > 1]
    assert code == 0
    assert too_long == []


def test_create_tells_the_same_in_json(run: Run, tmp_path: Path) -> None:
    """`--json` gives outcome, files and plan, and nothing else on either stream."""
    models.save(models.digits_mlp(), tmp_path / "digits.onnx")

    code, out, err = run("create", "digits.onnx", "--json", "--no-trial")
    document: dict[str, Any] = json.loads(out)

    assert (code, err) == (0, "")
    assert document["outcome"] == "created"
    assert "plan.json" in document["written"]
    assert document["plan"] == json.loads((tmp_path / "digits/plan.json").read_text())
    assert json.loads(run("create", "digits.onnx", "--json", "--no-trial")[1])["outcome"] == "unchanged"


def test_a_truncated_model_is_one_line_wherever_it_ends(run: Run, tmp_path: Path) -> None:
    """At each of 40 points the error names the file, the exit code is that of a model, and nothing is written."""
    content = models.save(models.digits_mlp(), tmp_path / "whole.onnx").read_bytes()
    for length in range(0, len(content) - 1, len(content) // 40 + 1):
        (tmp_path / "cut.onnx").write_bytes(content[:length])

        code, out, err = run("create", "cut.onnx")

        assert (code, out) == (3, ""), length
        assert err.startswith("Error: Cannot use 'cut.onnx': "), err
        assert len(err.splitlines()) <= 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.onnx", "whole.onnx"]


def test_validate_shows_a_table_and_counts(run: Run, tmp_path: Path) -> None:
    """A damaged bundle ends with 1, and every check is listed with its result."""
    models.save(models.digits_mlp(), tmp_path / "digits.onnx")
    run("create", "digits.onnx")
    with (tmp_path / "digits/openapi.json").open("a") as stream:
        stream.write("}")

    code, out, err = run("validate", "digits")

    assert (code, err) == (1, "")
    assert "failed   openapi" in click.unstyle(out)
    assert out.splitlines()[-1].startswith("Not valid: ")


def test_validate_in_json_agrees_with_its_exit_code(run: Run, tmp_path: Path) -> None:
    """`passed` is what the exit code says, under `--strict` too."""
    models.save(models.digits_mlp(), tmp_path / "digits.onnx")
    run("create", "digits.onnx", "--no-trial")

    for options in ((), ("--strict",)):
        code, out, _ = run("validate", "digits", "--json", *options)
        assert json.loads(out)["passed"] is (code == 0)


@pytest.mark.parametrize(
    "options",
    [("--port", "70000"), ("--workers", "0"), ("--max-body-size", "big"), ("--request-timeout", "0"), ("--drain", "x")],
)
def test_serve_refuses_what_makes_no_sense(options: tuple[str, ...], run: Run) -> None:
    """A wrong option ends with 2 before anything is read, and is named."""
    code, out, err = run("serve", "nowhere", *options)

    assert (code, out) == (2, "")
    assert options[0] in err


def test_serve_refuses_a_wrong_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that is wrong is named."""
    monkeypatch.setenv("NIM_HTTP_API_PORT", "http")

    code, _, err = run("serve", "nowhere")

    assert code == 2
    assert "NIM_HTTP_API_PORT" in err
