"""What stops a service from starting with Triton: told in one line, with who must act and what to do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.triton.stand_in import TritonStandIn

MakeBundle = Callable[..., Path]

pytestmark = pytest.mark.triton


@pytest.fixture
def exchanged(triton: TritonStandIn, make_bundle: MakeBundle, tmp_path: Path) -> Path:
    """A bundle of one's own that Triton can load."""
    return Path(shutil.copytree(triton.bundle(make_bundle("tiny")), tmp_path / "exchanged"))


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def refusal(bundle: Path, triton: TritonStandIn, *options: str, **variables: str) -> tuple[int, str]:
    """The exit code of a service that does not start, and the error it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "nimify", "serve", str(bundle), "--port", "0", "--quiet", *triton.options, *options],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **triton.environment, **variables},
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    _, mark, error = f"\n{done.stderr}".rpartition("\nError: ")  # not the one that Triton's own lines speak of
    assert mark, done.stderr
    return done.returncode, f"Error: {error}"


def test_a_missing_program_is_named(exchanged: Path, triton: TritonStandIn) -> None:
    """With the ways to get one."""
    code, error = refusal(exchanged, triton, "--triton-server", "/nowhere/tritonserver")
    assert code == 5
    assert "There is no program '/nowhere/tritonserver'." in error
    assert "--triton-server" in error


def test_another_program_is_told_from_triton(exchanged: Path, triton: TritonStandIn) -> None:
    """By its own help."""
    code, error = refusal(exchanged, triton, "--triton-server", "/bin/ls")
    assert code == 5
    assert "is not Triton's tritonserver" in error


def test_a_triton_without_the_backend_is_the_machines_problem(make_bundle: MakeBundle, triton: TritonStandIn) -> None:
    """The generated repository as it is, in a binary that has only the python backend."""
    code, error = refusal(make_bundle("tiny"), triton)
    assert code == 5
    assert "This tritonserver has no backend 'onnxruntime'." in error


def test_a_model_that_triton_refuses_is_told_in_our_words(exchanged: Path, triton: TritonStandIn) -> None:
    """Its reason, without its status and its paths."""
    (model,) = exchanged.glob("model_repository/*/1/model.onnx")
    model.unlink()  # its place may be a link to another bundle's file
    model.write_bytes(b"\x08\x07 no model")
    code, error = refusal(exchanged, triton, "--no-verify")
    assert code == 3
    assert error.startswith("Error: Cannot use 'tiny': Triton cannot load it: ")
    assert "/" not in error.splitlines()[0]
    assert "Internal:" not in error.splitlines()[0]


def test_a_configuration_that_triton_refuses_is_told_in_our_words(exchanged: Path, triton: TritonStandIn) -> None:
    """Such as one that its owner edited, with an output that the model does not have."""
    (config,) = exchanged.glob("model_repository/*/config.pbtxt")
    before, mark, after = config.read_text().partition("output {")
    config.write_text(before + mark + after.replace('name: "y"', 'name: "another"', 1))
    code, error = refusal(exchanged, triton)
    assert code == 3
    assert error.startswith("Error: Cannot use 'tiny': Triton cannot load it: ")


def test_a_damaged_model_does_not_reach_triton(exchanged: Path, triton: TritonStandIn) -> None:
    """Its digest is checked first, as with the embedded engine."""
    (model,) = exchanged.glob("model_repository/*/1/model.onnx")
    content = model.read_bytes()
    model.unlink()
    model.write_bytes(content + b"\0")
    code, error = refusal(exchanged, triton)
    assert code == 4
    assert "does not match its digest" in error


def test_a_second_model_in_the_repository_is_refused(exchanged: Path, triton: TritonStandIn) -> None:
    """Triton would serve it beside the one that was verified."""
    (exchanged / "model_repository/planted/1").mkdir(parents=True)
    code, error = refusal(exchanged, triton)
    assert code == 4
    assert "'planted'" in error


@pytest.mark.parametrize("which", ["--grpc-port", "NIM_HTTP_TRITON_PORT", "NIM_TRITON_METRICS_PORT"])
def test_a_port_in_use_is_named(which: str, exchanged: Path, triton: TritonStandIn, taken: int) -> None:
    """Each of Triton's three, with the way to choose another."""
    options, variables = ([which, str(taken)], {}) if which.startswith("--") else ([], {which: str(taken)})
    code, error = refusal(exchanged, triton, *options, **variables)
    assert code == 5
    assert str(taken) in error
    assert which in error


def test_several_workers_are_refused(exchanged: Path, triton: TritonStandIn) -> None:
    """Each would start a Triton of its own."""
    code, error = refusal(exchanged, triton, "--workers", "2")
    assert code == 2
    assert "workers" in error


def test_a_program_without_the_engine_is_a_mistake(make_bundle: MakeBundle) -> None:
    """The option alone would silently do nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "nimify", "serve", str(make_bundle("tiny")), "--triton-server", "x"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "--engine triton" in done.stderr
