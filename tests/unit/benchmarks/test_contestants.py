"""How servers are started, asked and ended, with the real one of nimify."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from benchmarks import contestants, models
from benchmarks.contestants import make_bundle, nimify_contestant, running
from benchmarks.exchange import Answer, Protocol, infer_request, send
from benchmarks.failure import NoAnswer, RunFailed
from benchmarks.machine import end_leftovers, identified_tree, resident_bytes
from benchmarks.models import MODELS, BenchModel
from benchmarks.peer_contestants import triton_configuration
from benchmarks.rounds import questions_for

SPOKEN = (Protocol.JSON, Protocol.BINARY, Protocol.GRPC)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchModel:
    monkeypatch.setattr(models, "MODELS_DIR", tmp_path / "models")
    monkeypatch.setattr(contestants, "RESULTS_DIR", tmp_path / "results")
    return MODELS["tiny"]


@pytest.mark.slow
def test_nimify_is_started_asked_in_every_protocol_and_ended(tiny: BenchModel) -> None:
    """The answers are those of ONNX Runtime, a wrong model has none, and nothing is left running."""
    make_bundle(tiny)
    questions = questions_for(tiny)
    with running(nimify_contestant(*SPOKEN), tiny, questions[Protocol.JSON][0]) as server:
        for protocol in SPOKEN:
            for question in questions[protocol]:
                question.check(send(server.ports.of(protocol), question.request))
            unknown = infer_request("unknown", protocol, tiny.draw(1, np.random.default_rng(0)))
            with pytest.raises(NoAnswer):
                send(server.ports.of(protocol), unknown)
        assert server.idle_bytes > 20_000_000
    assert not Path(f"/proc/{server.pid}").exists()


def test_a_wrong_answer_is_noticed(tiny: BenchModel) -> None:
    """An answer of another question is not taken for this one's."""
    first, second = questions_for(tiny)[Protocol.GRPC][:2]
    with pytest.raises(RunFailed, match="differs"):
        first.check(Answer(second.answer, length=1))


def test_two_inputs_are_stacked_for_a_peer_that_takes_one() -> None:
    """The second axis is the input."""
    inputs = {name: np.full((1, 3), value) for value, name in enumerate(("input_ids", "attention_mask"))}
    request = infer_request("text", Protocol.LISTS, inputs)
    assert request.body == b'{"x":[[[0,0,0],[1,1,1]]]}'


@pytest.mark.parametrize("batched", [True, False])
def test_triton_is_told_the_same_model(tiny: BenchModel, batched: bool) -> None:
    """Tensors without the batch axis, the batch, the threads, and the delay only where it merges."""
    text = triton_configuration(tiny, batched=batched)
    assert 'input [{ name: "x", data_type: TYPE_FP32, dims: [64] }]' in text
    assert 'output [{ name: "y", data_type: TYPE_FP32, dims: [10] }]' in text
    assert "max_batch_size: 32" in text
    assert ("max_queue_delay_microseconds: 2000" in text) is batched


def test_what_outlives_its_parent_is_ended() -> None:
    """A server's own processes do not stay behind it."""
    start = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    command = [sys.executable, "-c", f"import subprocess, sys; print({start}.pid, flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        tree = identified_tree(parent.pid)
        assert set(tree) == {parent.pid, child}
        parent.kill()
    assert _runs(child)
    end_leftovers(tree)
    while _runs(child):
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    """Whether a process is there and not dead; whoever collects the dead may do it later."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_resident_memory_is_that_of_the_process() -> None:
    """What a process holds is in the figure, and it is no larger than the kernel's own."""
    holding = [sys.executable, "-c", "held = b'x' * 30_000_000; print(); input()"]
    with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        own = resident_bytes(process.pid)
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        process.kill()
    assert 30_000_000 < own < int(status["VmRSS"].split()[0]) * 1024 * 1.2
