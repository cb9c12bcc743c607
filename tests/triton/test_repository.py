"""The generated model repository, in the real tritonserver: loaded literally, and answering what was recorded."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.comparison import compare_outputs
from nimify.conformance.live import validate_service
from nimify.conformance.report import Status
from nimify.serving.engines.engine import Array

if TYPE_CHECKING:
    from tests.triton.conftest import StartTriton, TritonService

KINDS: Final = ("digits", "image", "text")
"""A small perceptron, a residual network on pictures, and an encoder of text with free lengths."""
FORBIDDEN: Final[Mapping[str, tuple[Any, ...]]] = {
    "load_model": ("tiny",),
    "unload_model": ("tiny",),
    "register_system_shared_memory": ("region", "/region", 64),
    "get_system_shared_memory_status": (),
    "update_trace_settings": (None, {"trace_file": "stolen"}),
    "update_log_settings": ({"log_file": "stolen"},),
}

pytestmark = pytest.mark.triton


@pytest.fixture
def service(request: pytest.FixtureRequest, start_triton: StartTriton, make_bundle: Callable[..., Path]) -> Any:
    return start_triton(make_bundle(request.param))


@pytest.mark.parametrize("service", KINDS, indirect=True)
def test_triton_answers_the_golden_requests_to_its_own_clients(service: TritonService) -> None:
    """Over Triton's own HTTP and gRPC, past our front; without auto-complete, so the configuration is all there is."""
    bundle = Bundle.open(service.bundle)
    golden, specs = bundle.golden(), bundle.service.signature.outputs
    assert golden is not None
    assert len(golden.cases) > 1
    for module, port in ((http_client, service.http_port), (grpc_client, service.grpc_port)):
        client = module.InferenceServerClient(f"127.0.0.1:{port}")
        assert client.is_server_ready()
        assert client.is_model_ready(service.name, "1")
        for recorded in golden.cases:
            answer = client.infer(service.name, _tensors(module, recorded.case.inputs))
            outputs = {spec.name: answer.as_numpy(spec.name) for spec in specs}
            assert compare_outputs(specs, recorded.case.outputs, outputs, golden.tolerances) is None
        client.close()


def _tensors(module: Any, inputs: Mapping[str, Array]) -> list[Any]:
    tensors = []
    for name, array in inputs.items():
        tensor = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


@pytest.mark.parametrize("service", KINDS, indirect=True)
def test_the_front_passes_every_check_of_a_live_service(service: TritonService) -> None:
    """Health, management, both protocols, golden requests as JSON and binary, errors and metrics."""
    report = validate_service(service.front.url, Bundle.open(service.bundle))
    unpassed = {result.name: result.status for result in report.results if result.status != Status.PASSED}
    assert unpassed in ({}, {"golden-json": Status.SKIPPED})  # recorded pictures are binary


@pytest.mark.parametrize("service", KINDS, indirect=True)
def test_triton_took_the_configuration_as_it_was_written(service: TritonService) -> None:
    """What Triton says it runs is what the plan says: it completed nothing."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.http_port}/v2/models/{service.name}/config") as response:
        config = json.load(response)
    plan = json.loads((service.bundle / "plan.json").read_bytes())["service"]
    assert config["max_batch_size"] == plan["max_batch_size"]
    assert [row["name"] for row in config["input"]] == [row["name"] for row in plan["signature"]["inputs"]]
    policy = config["dynamic_batching"]["default_queue_policy"]
    assert policy["max_queue_size"] == plan["limits"]["max_queue_size"]
    assert policy["default_timeout_microseconds"] == plan["limits"]["request_timeout_s"] * 1e6
    assert config["version_policy"] == {"latest": {"num_versions": 1}}
    assert config["model_warmup"][0]["name"] == "first-run"


@pytest.mark.parametrize("service", ["tiny"], indirect=True)
def test_nobody_can_change_what_triton_serves(service: TritonService) -> None:
    """Loading and unloading are refused, and what would write files or map memory asks for a header nobody has."""
    http = http_client.InferenceServerClient(f"127.0.0.1:{service.http_port}")
    grpc = grpc_client.InferenceServerClient(f"127.0.0.1:{service.grpc_port}")
    assert [(row["name"], row["state"]) for row in http.get_model_repository_index()] == [("tiny", "READY")]
    for client in (http, grpc):
        for method, arguments in FORBIDDEN.items():
            with pytest.raises(InferenceServerException):
                getattr(client, method)(*arguments)
        assert client.is_model_ready("tiny")
        client.close()


@pytest.mark.parametrize("service", ["tiny"], indirect=True)
def test_tritons_metrics_are_its_own(service: TritonService) -> None:
    """On a port of their own they count what runs, whoever sent it; ours count what passed the front."""
    client = grpc_client.InferenceServerClient(f"127.0.0.1:{service.grpc_port}")
    client.infer("tiny", _tensors(grpc_client, {"x": np.zeros((1, 4), np.float32)}))
    client.close()
    with urllib.request.urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics") as response:
        theirs = response.read().decode()
    assert 'nv_inference_request_success{model="tiny",version="1"}' in theirs
    with urllib.request.urlopen(f"{service.front.url}/v1/metrics") as response:
        ours = response.read().decode()
    assert 'engine="triton"' in ours
    assert 'nv_inference_request_success{model="tiny",version="1"} 0' in ours
