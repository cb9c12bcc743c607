"""`nimify analyze`: the screen, the document, the page, and when it fails."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nimify import cli
from nimify.analysis import measure
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs the command in an empty folder, in a terminal of 100 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield call
    signal.signal(signal.SIGTERM, handler)


KEYS = [
    "model",
    "batch_axis",
    "golden",
    "trial",
    "rows",
    "structure",
    "memory",
    "gpu_memory",
    "compute",
    "rooflines",
    "tensorrt",
    "versions",
    "gpus",
    "hints",
    "random_operators",
    "measured",
    "findings",
]


def test_the_document_has_every_part(run: Run, tmp_path: Path) -> None:
    """Scripts find each part under its name; what was not asked for is null."""
    models.save(models.digits_mlp(), tmp_path / "digits.onnx")

    code, out, err = run("analyze", "digits.onnx", "--json", "--no-trial")
    document: dict[str, Any] = json.loads(out)

    assert (code, err) == (0, "")
    assert list(document) == KEYS
    assert [key for key in KEYS if document[key] is None] == ["trial", "measured"]
    assert document["compute"]["matrix_macs"] == 64 * 32 + 32 * 10
    assert set(document["memory"]["by_batch"]) == {"1", "32"}


def test_the_screen_fits_and_says_the_main_things(run: Run, tmp_path: Path) -> None:
    """Memory, compute, TensorRT and versions, on one screen."""
    models.save(models.image_cnn(), tmp_path / "image.onnx")

    code, out, _ = run("analyze", "image.onnx", "--no-trial")

    assert code == 0
    assert len(out.splitlines()) < 60
    for word in ("Memory", "Compute", "At best", "TensorRT", "GPU", "Triton"):
        assert f"  {word} " in out


def test_a_model_without_work_has_no_speed(run: Run, tmp_path: Path) -> None:
    """What computes nothing is not said to give 0 items in a second."""
    graph = GraphBuilder("nothing")
    graph.output(graph.op("Relu", graph.input("x", "FP32", ["batch", 0]), out="y"), "FP32", ["batch", 0])
    models.save(graph.model(), tmp_path / "m.onnx")

    code, out, _ = run("analyze", "m.onnx", "--gpu", "T4", "--report", "m.html")

    assert code == 0
    assert " 0 items/s" not in out
    assert "on T4 (estimated" not in out


def test_warnings_fail_only_when_that_was_asked_for(run: Run, tmp_path: Path) -> None:
    """A pickle beside the model is a warning; `--strict` makes it count."""
    models.save(models.tiny(), tmp_path / "tiny.onnx")
    assert run("analyze", "tiny.onnx", "--no-trial", "--strict")[0] == 0
    (tmp_path / "weights.pkl").write_bytes(b"\x80\x04K\x01.")

    assert run("analyze", "tiny.onnx", "--no-trial")[0] == 0
    code, out, _ = run("analyze", "tiny.onnx", "--no-trial", "--strict")
    assert code == 1
    assert "weights.pkl" in out


def test_a_report_is_written_beside_the_summary(run: Run, tmp_path: Path) -> None:
    """Where it is goes to standard error; the result stays the result."""
    models.save(models.tiny(), tmp_path / "tiny.onnx")

    code, _, err = run("analyze", "tiny.onnx", "--no-trial", "--report", "page.html")

    assert code == 0
    assert "page.html" in err
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_no_digest_leaves_the_digest_out(run: Run, tmp_path: Path) -> None:
    """The file is not read as a whole, and everything else is known."""
    models.save(models.digits_mlp(), tmp_path / "digits.onnx")

    document = json.loads(run("analyze", "digits.onnx", "--json", "--no-trial", "--no-digest")[1])

    assert document["model"]["digest"] == ""
    assert document["memory"] is not None


@pytest.mark.parametrize(("option", "found"), [("--digest", True), ("--no-digest", False)])
def test_weights_that_are_stored_twice_are_found_unless_none_may_be_read(
    option: str, found: bool, run: Run, tmp_path: Path
) -> None:
    """The same table under two names is a hint; without reading the weights nobody knows."""
    graph = GraphBuilder("twins")
    table = np.random.default_rng(0).standard_normal((512, 1024))
    x = graph.op("MatMul", graph.input("x", "FP32", ["batch", 512]), graph.constant(table))
    twin = graph.op("MatMul", "x", graph.constant(table))
    graph.output(graph.op("Add", x, twin, out="y"), "FP32", ["batch", 1024])
    models.save(graph.model(), tmp_path / "twins.onnx")

    document = json.loads(run("analyze", "twins.onnx", "--json", "--no-trial", option)[1])

    assert ("hint.duplicated-weights" in {hint["code"] for hint in document["hints"]}) is found


def test_a_gpu_is_named_and_an_unknown_one_refused(run: Run, tmp_path: Path) -> None:
    """The estimate is for the GPU that was asked for; a mistyped one lists what there is."""
    models.save(models.digits_mlp(), tmp_path / "digits.onnx")

    document = json.loads(run("analyze", "digits.onnx", "--json", "--no-trial", "--gpu", "l4")[1])
    code, _, err = run("analyze", "digits.onnx", "--no-trial", "--gpu", "Voodoo2")

    assert "L4" in {roofline["device"] for roofline in document["rooflines"]}
    assert code == 2
    assert "Voodoo2" in err
    assert "L4" in err


def test_the_length_of_an_axis_can_be_given(run: Run, tmp_path: Path) -> None:
    """A longer sequence costs more, and the document says for which it was estimated."""
    models.save(models.text_encoder(), tmp_path / "text.onnx")

    short, long = (
        json.loads(run("analyze", "text.onnx", "--json", "--no-trial", "--axis", f"sequence={length}")[1])
        for length in (16, 64)
    )

    assert long["structure"]["binding"]["sequence"] == 64
    assert long["compute"]["total_flops"] > 3 * short["compute"]["total_flops"]


@pytest.mark.parametrize("text", ["sequence", "=5", "a=0", "a=-1", "a=1.5", "a=99999999", "a=٣"])
def test_what_is_no_length_is_refused(text: str, run: Run) -> None:
    """A wrong option ends with 2 before anything is read."""
    code, _, err = run("analyze", "nowhere.onnx", "--axis", text)

    assert code == 2
    assert "--axis" in err


def test_measuring_without_running_is_refused(run: Run) -> None:
    """The two options contradict each other."""
    code, _, err = run("analyze", "nowhere.onnx", "--measure", "--no-trial")

    assert code == 2
    assert "--measure runs the model" in err


def test_a_measurement_is_part_of_the_analysis(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency and throughput for each batch size, marked as measured."""
    monkeypatch.setattr(measure, "BUDGET_S", 0.5)
    models.save(models.digits_mlp(), tmp_path / "digits.onnx")

    document = json.loads(run("analyze", "digits.onnx", "--json", "--measure", "--batch", "4")[1])

    assert document["measured"]["basis"] == "measured"
    assert [point["batch"] for point in document["measured"]["points"]] == [1, 2, 4]
    assert document["measured"]["model_memory_bytes"] > 0


def test_a_plan_rests_on_a_measurement_only_when_asked(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`create --measure` says that memory and CPUs were measured; without it nothing of the machine is in the plan."""
    monkeypatch.setattr(measure, "BUDGET_S", 0.5)
    models.save(models.digits_mlp(), tmp_path / "digits.onnx")

    plans = [
        json.loads(run("create", "digits.onnx", "-o", name, "--json", *options)[1])["plan"]
        for name, options in (("a", ("--measure",)), ("b", ()))
    ]

    measured, estimated = (
        {decision["key"]: decision["basis"] for decision in made["decisions"]}["resources.memory"] for made in plans
    )
    assert (measured, estimated) == ("measured", "estimated")


def test_the_folder_of_a_bundle_is_its_model(run: Run, tmp_path: Path) -> None:
    """The same digest and name as the file that it was made from, with the bundle's own batch."""
    models.save(models.digits_mlp(), tmp_path / "digits.onnx")
    run("create", "digits.onnx", "-o", "bundle", "--max-batch-size", "4", "-q")

    file, bundle = (json.loads(run("analyze", path, "--json", "--no-trial")[1]) for path in ("digits.onnx", "bundle"))

    assert bundle["model"]["digest"] == file["model"]["digest"]
    assert bundle["model"]["file"] == "digits.onnx"
    assert (file["rows"], bundle["rows"]) == (32, 4)


def test_a_folder_that_is_no_bundle_is_refused(run: Run, tmp_path: Path) -> None:
    """It is named, with what to do."""
    (tmp_path / "folder").mkdir()

    code, _, err = run("analyze", "folder")

    assert code == 3
    assert "it is a directory" in err


def test_an_axis_that_the_model_does_not_have_is_refused(run: Run, tmp_path: Path) -> None:
    """A misspelt name is not ignored; the right ones are listed."""
    models.save(models.text_encoder(), tmp_path / "text.onnx")

    code, _, err = run("analyze", "text.onnx", "--no-trial", "--axis", "sequenze=64")

    assert code == 2
    assert "no free axis named 'sequenze'" in err
    assert "Free axes:" in err
