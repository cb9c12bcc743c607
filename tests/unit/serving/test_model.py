"""A model on its way into service: checked, loaded, warmed up, and closed."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from nimify.errors import BundleDamaged, ModelError, PluginError
from nimify.metrics.registry import Registry
from nimify.metrics.service import ModelMetrics
from nimify.serving.batching import Answer, Job
from nimify.serving.engines.onnxruntime import OnnxRuntimeEngine
from nimify.serving.logs import Log
from nimify.serving.model import ServedModel
from nimify.serving.spec import Limits, ModelFile, ServiceSpec
from nimify.tensors import Signature
from nimify.testing import models


def spec_for(model: onnx.ModelProto, bundle: Path, *, max_batch_size: int = 4) -> ServiceSpec:
    """Write a model into a folder and describe it as a plan would."""
    path = models.save(model, bundle / "m.onnx")
    engine = OnnxRuntimeEngine.load(path, threads=1)
    return ServiceSpec(
        name="m",
        version="1.0.0",
        model_version="1",
        model_file="m.onnx",
        model_files=tuple(
            ModelFile(file.name, hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)
            for file in sorted(bundle.iterdir())
        ),
        model_digest="sha256:00",
        engine="onnxruntime",
        signature=engine.signature,
        api=engine.signature,
        max_batch_size=max_batch_size,
    )


def served(spec: ServiceSpec, bundle: Path, log: io.StringIO | None = None) -> ServedModel:
    return ServedModel(
        spec,
        bundle,
        threads=1,
        limits=Limits(),
        metrics=ModelMetrics(Registry(), "m", "1"),
        log=Log(stream=log or io.StringIO()),
    )


def load(spec: ServiceSpec, bundle: Path, *, verify: bool = True) -> str:
    """Load and close; what was logged."""
    log = io.StringIO()

    async def main() -> None:
        model = served(spec, bundle, log)
        assert not model.ready
        await model.load(verify=verify)
        assert model.ready
        model.close()

    asyncio.run(main())
    return log.getvalue()


async def answer(model: ServedModel, value: float) -> Answer:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    names = tuple(output.name for output in model.spec.signature.outputs)
    assert model.batcher is not None
    model.batcher.submit(Job({"x": np.full((1, 4), value, dtype="f4")}, names, 1, 1e12, future.set_result))
    return await future


def test_a_loaded_model_answers(tmp_path: Path) -> None:
    """`y = x + 1` through the queue."""

    async def main() -> None:
        model = served(spec_for(models.tiny(), tmp_path), tmp_path)
        await model.load(verify=True)
        result = await answer(model, 2)
        model.close()
        assert not isinstance(result, Exception)
        np.testing.assert_array_equal(result[0], np.full((1, 4), 3))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("make", "max_batch_size", "place"),
    [
        (models.tiny, 4, "event loop"),
        (models.slow, 4, "own thread"),  # too slow to hold up the loop
        (models.if_subgraph, 4, "own thread"),  # a request may be larger than the warm-up
        (models.fixed_batch, 0, "event loop"),
        (models.strings, 4, "event loop"),
    ],
)
def test_only_a_fast_model_of_known_size_runs_on_the_event_loop(
    tmp_path: Path, make: Callable[[], onnx.ModelProto], max_batch_size: int, place: str
) -> None:
    """Everything else gets a thread, so that health checks are answered meanwhile."""
    log = load(spec_for(make(), tmp_path, max_batch_size=max_batch_size), tmp_path)
    assert f'runs_on="{place}"' in log


def test_a_run_that_the_machine_held_up_does_not_make_a_model_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program had the processor in one of the runs of the warm-up, as on any machine that is busy."""
    durations, run = iter([0.0, 0.005]), OnnxRuntimeEngine.run

    def held_up(engine: OnnxRuntimeEngine, *arguments: Any) -> Any:
        time.sleep(next(durations, 0.0))
        return run(engine, *arguments)

    monkeypatch.setattr(OnnxRuntimeEngine, "run", held_up)
    assert 'runs_on="event loop"' in load(spec_for(models.tiny(), tmp_path), tmp_path)


def test_closing_frees_the_thread(tmp_path: Path) -> None:
    """A notebook that serves again and again does not collect threads."""
    before = set(threading.enumerate())
    spec = spec_for(models.if_subgraph(), tmp_path)
    for _ in range(3):
        load(spec, tmp_path)
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("name", ["m.onnx", models.DATA_FILE])
@pytest.mark.parametrize("damage", ["flip", "append", "remove"])
def test_a_file_that_changed_since_the_plan_is_not_loaded(tmp_path: Path, name: str, damage: str) -> None:
    """One bit, one byte more, or gone: the message names the file."""
    spec = spec_for(models.external_data(), tmp_path)
    load(spec, tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content + b"\0" if damage == "append" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleDamaged, match=f"'{name}'") as caught:
        load(spec, tmp_path)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_that_is_exchanged_while_it_is_loaded_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine opens files by name: what it read must be what was verified."""
    spec = spec_for(models.tiny(), tmp_path)
    real = OnnxRuntimeEngine.load

    def exchange_then_load(model_file: Path, *, threads: int) -> OnnxRuntimeEngine:
        (tmp_path / "other").write_bytes(model_file.read_bytes())
        (tmp_path / "other").replace(model_file)
        return real(model_file, threads=threads)

    monkeypatch.setattr(OnnxRuntimeEngine, "load", exchange_then_load)
    with pytest.raises(BundleDamaged, match="changed while it was loaded"):
        load(spec, tmp_path)
    load(spec, tmp_path, verify=False)


def test_a_file_that_is_no_model_is_told_by_the_engine(tmp_path: Path) -> None:
    """Also when nobody checks digests; the folder stays out of the message."""
    spec = spec_for(models.tiny(), tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"\x89PNG\r\n" * 10)
    with pytest.raises(ModelError, match=r"Cannot use 'm\.onnx': ONNX Runtime") as caught:
        load(spec, tmp_path, verify=False)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("other", ["inputs", "outputs", "datatype"])
def test_a_model_with_another_signature_is_not_served(tmp_path: Path, other: str) -> None:
    """The plan, openapi.json and config.pbtxt would all be wrong about it."""
    spec = spec_for(models.tiny(), tmp_path)
    wanted = {
        "inputs": Signature((), spec.signature.outputs),
        "outputs": Signature(spec.signature.inputs, (*spec.signature.outputs, *spec.signature.inputs)),
        "datatype": Signature.from_dict(
            {
                "inputs": [{"name": "x", "datatype": "FP64", "shape": ["batch", 4]}],
                "outputs": spec.signature.to_dict()["outputs"],
            }
        ),
    }
    with pytest.raises(BundleDamaged, match="other inputs or outputs than the plan says"):
        load(replace(spec, signature=wanted[other]), tmp_path)


def test_an_engine_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """With those that are."""
    spec = replace(spec_for(models.tiny(), tmp_path), engine="onnxruntim")
    with pytest.raises(PluginError, match="Did you mean 'onnxruntime'"):
        load(spec, tmp_path)


def test_a_model_that_refuses_made_up_inputs_is_served_all_the_same(tmp_path: Path) -> None:
    """It says so in the log: a batch of zeros is not what it takes."""
    log = load(spec_for(models.baked_batch(), tmp_path), tmp_path)
    assert "warm-up skipped" in log
    assert "model loaded" in log
