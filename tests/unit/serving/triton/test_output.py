"""What Triton writes: folded into our log, and read for why it ended."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from nimify.errors import EnvironmentProblem, ModelError
from nimify.serving.logs import Log
from nimify.serving.triton.output import TritonOutput


def written(*lines: str, level: str = "debug") -> tuple[TritonOutput, list[dict[str, Any]]]:
    stream = io.StringIO()
    output = TritonOutput("digits", Log(level, json_lines=True, stream=stream))
    for line in lines:
        output.add(line)
    return output, [json.loads(row) for row in stream.getvalue().splitlines()]


def test_levels_are_kept_and_information_is_for_debugging() -> None:
    """Triton tells much while it starts; warnings and errors are what a person must see."""
    _, rows = written(
        'I1124 15:34:53.184000 7 server.cc:604] "starting"',
        'W1124 15:34:53.184000 7 metrics.cc:798] "odd"',
        'E1124 15:34:53.184000 7 model_lifecycle.cc:642] "bad \\"thing\\"\\nmore"',
        "+-------+",
    )
    assert [row["level"] for row in rows] == ["debug", "warning", "error", "debug"]
    assert [row["text"] for row in rows] == ["starting", "odd", 'bad "thing"\nmore', "+-------+"]
    assert rows[2]["source"] == "model_lifecycle.cc:642"


def test_what_every_machine_without_a_gpu_says_is_no_error() -> None:
    """An operator must not be woken by a CPU."""
    _, rows = written(
        'E1124 15:34:53.185000 7 server.cc:241] "CudaDriverHelper has not been initialized."',
        'W1124 15:34:53.185000 7 metrics.cc:798] "DCGM unable to start: DCGM initialization error"',
        level="info",
    )
    assert rows == []


def test_a_model_that_triton_refuses_is_a_model_error_without_paths() -> None:
    """Triton's reason, in one line, without its status and the folders of the machine."""
    output, _ = written(
        'E1124 15:34:53.2 7 backend_model.cc:692] "ERROR: Failed to create instance"',
        "E1124 15:34:53.2 7 model_lifecycle.cc:642] \"failed to load 'digits' version 1: Internal: onnx runtime error "
        '7: Load model from /models/secret/model.onnx failed:Protobuf parsing failed.\\n  at:\\n /x/y.py"',
        "error: creating server: Internal - failed to load all models",
    )
    error = output.failure("its exit code is 1")
    assert isinstance(error, ModelError)
    assert error.message == (
        "Cannot use 'digits': Triton cannot load it: onnx runtime error 7: "
        "Load model from model.onnx failed:Protobuf parsing failed."
    )
    assert "config.pbtxt" in error.remedy


def test_a_missing_backend_is_a_problem_of_the_machine() -> None:
    """The model is sound; this Triton is not the right one."""
    output, _ = written(
        "E1124 15:34:53.4 7 model_lifecycle.cc:642] \"failed to load 'digits' version 1: Invalid argument: unable to "
        "find backend library for backend 'onnxruntime', try specifying runtime on the model configuration.\""
    )
    error = output.failure("its exit code is 1")
    assert isinstance(error, EnvironmentProblem)
    assert "'onnxruntime'" in error.message


def test_a_port_that_was_taken_meanwhile_is_a_problem_of_the_machine() -> None:
    """It was free when we looked."""
    output, _ = written("error: failed to start GRPC service: Unavailable - Socket '127.0.0.1:8001' already in use")
    error = output.failure("its exit code is 1")
    assert isinstance(error, EnvironmentProblem)
    assert "8001" in error.message


@pytest.mark.parametrize("ending", ["it was ended by SIGKILL", "its exit code is 3"])
def test_an_end_without_a_word_is_told_as_it_is(ending: str) -> None:
    """And where to look for more."""
    error = written()[0].failure(ending)
    assert isinstance(error, EnvironmentProblem)
    assert ending in error.message
    assert "--log-level debug" in error.remedy
