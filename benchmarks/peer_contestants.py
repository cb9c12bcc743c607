"""How each peer is started: with the same model, the same threads, and where it merges requests, the same batch.

Peers that merge requests are two contestants, `triton` and `triton-batched`: waiting for others to merge with helps
under load and costs latency without it. Access logs are off everywhere, and everything else is as it ships.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnx
from benchmarks.contestants import ROOT, Contestant, Launch, Ports, fastapi_contestant, peer_environment
from benchmarks.exchange import Protocol
from benchmarks.failure import MissingTool
from benchmarks.models import BenchModel

TOOLS: Final = ROOT / ".tools"
TRITON: Final = TOOLS / "triton"
BATCHED: Final = "-batched"
_PEERS: Final = Path(__file__).parent / "peers"
_LIGHT_DELAY_S: Final = 0.002
_HEAVY_DELAY_S: Final = 0.005
_TRITON_TYPES: Final[Mapping[int, str]] = {
    onnx.TensorProto.FLOAT: "TYPE_FP32",
    onnx.TensorProto.INT64: "TYPE_INT64",
}


def delay_s(model: BenchModel) -> float:
    """How long a server that merges may wait for others to merge with: a little of what a run takes."""
    return _HEAVY_DELAY_S if model.heavy else _LIGHT_DELAY_S


def triton(*, batched: bool) -> Contestant:
    """The real tritonserver of `make test-triton`, with the model in its python backend."""

    def launch(model: BenchModel, ports: Ports, folder: Path) -> Launch:
        repository = folder / "repository"
        version = repository / model.name / "1"
        version.mkdir(parents=True)
        shutil.copy(_PEERS / "triton_model.py", version / "model.py")
        (repository / model.name / "config.pbtxt").write_text(triton_configuration(model, batched=batched))
        serve = [str(TRITON / "tritonserver"), f"--model-repository={repository}", "--allow-gpu-metrics=false"]
        for kind, port in (("http", ports.http), ("grpc", ports.grpc), ("metrics", ports.metrics)):
            serve += [f"--{kind}-address=127.0.0.1", f"--{kind}-port={port}"]
        site_packages = next(TRITON.glob("lib/python3.*/site-packages"))
        return Launch(serve, {"PYTHONPATH": f"{site_packages}:{ROOT}"})

    protocols = (Protocol.JSON, Protocol.BINARY, Protocol.GRPC)
    return Contestant(_name("triton", batched=batched), protocols, launch)


def triton_configuration(model: BenchModel, *, batched: bool) -> str:
    """The model's config.pbtxt: one instance on the CPU."""
    graph = onnx.load(str(model.ensure()), load_external_data=False).graph
    parameters = {"model_file": str(model.path), "threads": str(model.threads)}
    lines = [
        f'name: "{model.name}"',
        'backend: "python"',
        f"max_batch_size: {model.batch}",
        *(_tensor("input", value) for value in graph.input),
        *(_tensor("output", value) for value in graph.output),
        "instance_group [{ kind: KIND_CPU, count: 1 }]",
        *(f'parameters {{ key: "{key}", value: {{ string_value: "{value}" }} }}' for key, value in parameters.items()),
    ]
    if batched:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {round(delay_s(model) * 1e6)} }}")
    return "\n".join(lines) + "\n"


def _tensor(kind: str, value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    inner = ", ".join(str(axis.dim_value or -1) for axis in tensor.shape.dim[1:])
    return f'{kind} [{{ name: "{value.name}", data_type: {_TRITON_TYPES[tensor.elem_type]}, dims: [{inner}] }}]'


def mlserver(*, batched: bool) -> Contestant:
    """MLServer without worker processes, which cost it more than they bring."""

    def launch(model: BenchModel, ports: Ports, folder: Path) -> Launch:
        settings = {
            "host": "127.0.0.1",
            "http_port": ports.http,
            "grpc_port": ports.grpc,
            "metrics_port": ports.metrics,
            "parallel_workers": 0,
            "debug": False,
            "access_logger": False,
        }
        of_model: dict[str, Any] = {
            "name": model.name,
            "implementation": "benchmarks.peers.mlserver_model.OnnxModel",
            "parameters": {"uri": str(model.path), "extra": {"threads": model.threads}},
        }
        if batched:
            of_model |= {"max_batch_size": model.batch, "max_batch_time": delay_s(model)}
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "model-settings.json").write_text(json.dumps(of_model))
        return Launch([_program("mlserver", "mlserver"), "start", str(folder)], peer_environment())

    # It has no binary tensors over HTTP.
    return Contestant(_name("mlserver", batched=batched), (Protocol.JSON, Protocol.GRPC), launch)


def litserve(*, batched: bool) -> Contestant:
    """LitServe with one worker."""

    def launch(model: BenchModel, ports: Ports, _folder: Path) -> Launch:
        serve = [_program("litserve", "python"), "-m", "benchmarks.peers.litserve_server", str(model.path)]
        serve += [f"--name={model.name}", f"--threads={model.threads}", f"--port={ports.http}"]
        if batched:
            serve += [f"--batch={model.batch}", f"--delay={delay_s(model)}"]
        return Launch(serve, peer_environment())

    return Contestant(_name("litserve", batched=batched), (Protocol.JSON,), launch, "/health", restless=batched)


def bentoml(*, batched: bool) -> Contestant:
    """BentoML with one worker; batched is its own adaptive batching, which has no fixed delay."""

    def launch(model: BenchModel, ports: Ports, folder: Path) -> Launch:
        serve = [_program("bentoml", "bentoml"), "serve", "benchmarks.peers.bentoml_service:OnnxService"]
        environment = {
            "MODEL_FILE": str(model.path),
            "THREADS": str(model.threads),
            "BATCH": str(model.batch if batched else 1),
            "BENTOML_HOME": str(folder),
            "BENTOML_DO_NOT_TRACK": "1",
            "BENTOML_CONFIG_OPTIONS": "api_server.logging.access.enabled=false",
        }
        return Launch([*serve, "--host=127.0.0.1", f"--port={ports.http}"], {**peer_environment(), **environment})

    return Contestant(_name("bentoml", batched=batched), (Protocol.LISTS,), launch, "/readyz")


def kserve() -> Contestant:
    """KServe's Python server, which does not merge."""

    def launch(model: BenchModel, ports: Ports, _folder: Path) -> Launch:
        serve = [_program("kserve", "python"), "-m", "benchmarks.peers.kserve_server", str(model.path)]
        serve += [f"--name={model.name}", f"--threads={model.threads}"]
        return Launch([*serve, f"--port={ports.http}", f"--grpc-port={ports.grpc}"], peer_environment())

    return Contestant("kserve", (Protocol.JSON, Protocol.BINARY, Protocol.GRPC), launch)


PEERS: Final[Mapping[str, Callable[[], Sequence[Contestant]]]] = {
    "triton": lambda: (triton(batched=False), triton(batched=True)),
    "fastapi": lambda: (fastapi_contestant(TOOLS / "bench/bin/python"),),
    "mlserver": lambda: (mlserver(batched=False), mlserver(batched=True)),
    "litserve": lambda: (litserve(batched=False), litserve(batched=True)),
    "bentoml": lambda: (bentoml(batched=False), bentoml(batched=True)),
    "kserve": lambda: (kserve(),),
}
"""Every peer by name, and how it is run."""


def environment_of(peer: str) -> Path:
    """The virtual environment that a peer is installed in.

    Raises:
        MissingTool: It is not there.
    """
    places = {"triton": TRITON, "fastapi": TOOLS / "bench"}
    folder = places.get(peer, TOOLS / "peers" / peer)
    if not (folder / ".ready").exists():
        raise MissingTool(f"{peer} is not installed; run: make {folder.relative_to(ROOT)}/.ready")
    return folder


def _program(peer: str, name: str) -> str:
    return str(TOOLS / "peers" / peer / "bin" / name)


def _name(peer: str, *, batched: bool) -> str:
    return f"{peer}{BATCHED}" if batched else peer
