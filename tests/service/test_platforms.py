"""The container contracts of SageMaker, Vertex AI, Azure ML and Cloud Run, by the real service on real sockets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.conftest import RunningService, wait_until_ready
from tests.ports import free_port

from nimify.serving.http.body_form import LOOKED_AT_BYTES
from nimify.serving.http.platform_routes import BINARY_TYPE
from nimify.serving.open_inference import HEADER_LENGTH
from nimify.testing import models

if TYPE_CHECKING:
    from tests.service.conftest import Ask, AssertRefused, ScrapeOf

MakeBundle = Callable[..., Path]
StartService = Callable[..., RunningService]
KEY = "a-key-that-is-long-enough"
BINARY = BINARY_TYPE.decode()
ROWS = [[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]]
TYPED = {"inputs": {"x": ROWS}}
TENSORS = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": ROWS}]}
VERTEX = {"AIP_HTTP_PORT": "8080", "AIP_HEALTH_ROUTE": "/v1/endpoints/1:health", "AIP_PREDICT_ROUTE": "/say"}
PLATFORMS: dict[str, tuple[dict[str, str], str, str]] = {
    "sagemaker": ({"NIMIFY_PLATFORM": "sagemaker"}, "/ping", "/invocations"),
    "sagemaker-port": ({"SAGEMAKER_BIND_TO_PORT": "8080"}, "/ping", "/invocations"),
    "vertex": (VERTEX, "/v1/endpoints/1:health", "/say"),
    "vertex-named": ({"NIMIFY_PLATFORM": "Vertex"}, "/health", "/predict"),
    "azureml": ({"AZUREML_MODEL_DIR": "/var/azureml-app/azureml-models/x/1"}, "/v1/health/ready", "/score"),
}
"""What the platform sets, what it asks for health, and where it sends requests."""


@pytest.fixture(scope="module")
def started(start_service: StartService, make_bundle: MakeBundle) -> Callable[[str], RunningService]:
    """A service as a platform starts it, started once."""
    running: dict[str, RunningService] = {}

    def service(name: str) -> RunningService:
        if name not in running:
            running[name] = start_service(make_bundle("tiny"), env=PLATFORMS[name][0])
        return running[name]

    return service


@pytest.fixture(params=PLATFORMS)
def platform(
    request: pytest.FixtureRequest, started: Callable[[str], RunningService]
) -> tuple[RunningService, str, str]:
    """The service of each platform, what it asks for health, and where it sends requests."""
    _, health, inference = PLATFORMS[request.param]
    return started(request.param), health, inference


@pytest.fixture
def sagemaker(started: Callable[[str], RunningService]) -> RunningService:
    return started("sagemaker")


@pytest.fixture
def vertex(started: Callable[[str], RunningService]) -> RunningService:
    return started("vertex")


def answered_rows(service: RunningService, ask: Ask) -> list[list[float]]:
    rows: list[list[float]] = ask(service, "POST", "/v1/infer", TYPED).json["outputs"]["y"]
    return rows


def test_health_and_both_forms_are_answered_where_the_platform_asks(
    platform: tuple[RunningService, str, str], ask: Ask
) -> None:
    """200 for health, and the answers of `/v1/infer` and of `/v2` on the one route."""
    service, health, inference = platform
    assert ask(service, "GET", health).status == 200
    typed = ask(service, "POST", inference, TYPED)
    assert typed.status == 200
    assert typed.json["outputs"]["y"] == answered_rows(service, ask)
    tensors = ask(service, "POST", inference, {**TENSORS, "id": "seven"})
    assert tensors.json == ask(service, "POST", "/v2/models/tiny/infer", {**TENSORS, "id": "seven"}).json
    assert tensors.json["id"] == "seven"


def test_the_routes_of_a_platform_are_its_own(start_service: StartService, make_bundle: MakeBundle, ask: Ask) -> None:
    """Without the platform there is none of them, and Cloud Run adds none; Vertex AI's are not SageMaker's."""
    bundle = make_bundle("tiny")
    for environment in ({"NIMIFY_PLATFORM": "none", **VERTEX}, {"NIMIFY_PLATFORM": "cloud-run"}):
        service = start_service(bundle, env=environment)
        for path in ("/ping", "/invocations", "/score", "/predict", "/say", "/health"):
            assert {ask(service, method, path, b"{}").status for method in ("GET", "POST")} == {404}
        service.stop()


NO_PARAMETERS: tuple[dict[str, Any], ...] = (
    {},
    {"parameters": {}},
    {"parameters": None},
    {"parameters": {"timeout": 9_000_000}},
)
BAD: dict[str, tuple[bytes, dict[str, str]]] = {
    "empty": (b"", {}),
    "no-json": (b"\x00\xff", {}),
    "csv": (b"1,2,3,4", {"Content-Type": "text/csv"}),
    "list": (b"[[1,2,3,4]]", {}),
    "nothing-in-it": (b"{}", {}),
    "unknown-field": (b'{"inputs":{"x":[[1,2,3,4]]},"more":1}', {}),
    "unknown-input": (b'{"inputs":{"z":[[1,2,3,4]]}}', {}),
    "ragged": (b'{"inputs":{"x":[[1,2,3,4],[1]]}}', {}),
    "tensor-without-shape": (b'{"inputs":[{"name":"x","datatype":"FP32","data":[1]}]}', {}),
    "inputs-is-text": (b'{"inputs":"x"}', {}),
    "cut-off": (b'{"inputs":', {}),
    "deep": (b"[" * 100_000, {}),
    "deep-within": (b'{"a":' * 30_000, {}),
    "binary-without-length": (b"{}", {"Content-Type": BINARY}),
    "binary-with-words": (b"{}", {"Content-Type": f"{BINARY};json-header-size=many"}),
    "binary-too-long": (b"{}", {"Content-Type": f"{BINARY};json-header-size=99"}),
    "binary-negative": (b"{}", {"Content-Type": f"{BINARY};json-header-size=-1"}),
    "length-too-long": (b"{}", {HEADER_LENGTH: "99"}),
    "instances-empty": (b'{"instances":[]}', {}),
    "instances-are-text": (b'{"instances":"x"}', {}),
    "instances-null": (b'{"instances":[null]}', {}),
    "instances-beside": (b'{"instances":[[1,2,3,4]],"signature_name":"x"}', {}),
    "instance-unknown": (b'{"instances":[{"x":[1,2,3,4],"z":1}]}', {}),
    "instance-missing": (b'{"instances":[{}]}', {}),
    "instances-ragged": (b'{"instances":[[1,2,3,4],[1]]}', {}),
    "instances-too-many": (b'{"instances":[' + b",".join([b"[1,2,3,4]"] * 40) + b"]}", {}),
    "instances-parameters": (b'{"instances":[[1,2,3,4]],"parameters":{"beam":3}}', {}),
    "instances-parameters-text": (b'{"instances":[[1,2,3,4]],"parameters":"x"}', {}),
    "instances-large-ragged": (b'{"instances":[' + b",".join([b"[1,2,3,4]"] * 30_000) + b",[1]]}", {}),
    "instances-large-cut": (b'{"instances":[' + b"[1,2,3,4]," * 30_000, {}),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_400_that_says_why(
    name: str, sagemaker: RunningService, vertex: RunningService, ask: Ask, assert_refused: AssertRefused
) -> None:
    """On the platforms' routes as on our own, and the service goes on."""
    body, headers = BAD[name]
    for service, path in ((sagemaker, "/invocations"), (vertex, "/say")):
        assert_refused(ask(service, "POST", path, body, headers), {400}, v2=False)
        assert ask(service, "POST", path, TYPED).status == 200


def test_other_methods_are_405_and_bodies_are_limited(
    start_service: StartService, make_bundle: MakeBundle, ask: Ask, assert_refused: AssertRefused
) -> None:
    """The limits of the service hold on the routes of the platform."""
    service = start_service(make_bundle("tiny"), "--max-body-size", "2KiB", env={"NIMIFY_PLATFORM": "sagemaker"})
    assert ask(service, "GET", "/invocations").status == 405
    assert ask(service, "POST", "/ping", b"{}").status == 405
    assert ask(service, "HEAD", "/ping").status == 200
    assert_refused(ask(service, "POST", "/invocations", b"x" * 4096), {413})


def test_a_ping_is_answered_with_nothing(sagemaker: RunningService, ask: Ask) -> None:
    """As SageMaker asks for it: 200 and an empty body."""
    answer = ask(sagemaker, "GET", "/ping")
    assert (answer.status, answer.body) == (200, b"")


def binary_request(**parameters: Any) -> tuple[bytes, int]:
    raw = np.array(ROWS, "<f4").tobytes()
    tensor = {"name": "x", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    header = json.dumps({"inputs": [tensor], "parameters": parameters}).encode()
    return header + raw, len(header)


def test_the_binary_form_goes_by_its_content_type(sagemaker: RunningService, ask: Ask) -> None:
    """Where headers do not get through, the length of the JSON part stands in the content type, both ways."""
    body, length = binary_request(binary_data_output=True)
    headers = {"Content-Type": f"{BINARY}; json-header-size={length}"}
    answer = ask(sagemaker, "POST", "/invocations", body, headers)
    assert answer.status == 200
    media, _, size = answer.headers["content-type"].partition(";json-header-size=")
    assert media == BINARY
    assert HEADER_LENGTH.lower() not in answer.headers
    document = json.loads(answer.body[: int(size)])
    rows = np.frombuffer(answer.body[int(size) :], "<f4").reshape(document["outputs"][0]["shape"])
    assert rows.tolist() == answered_rows(sagemaker, ask)


def test_a_binary_answer_to_json_says_its_length_in_the_way_that_is_accepted(
    sagemaker: RunningService, ask: Ask
) -> None:
    """With `Accept` in the content type, otherwise in the header of the protocol."""
    asked = {**TENSORS, "parameters": {"binary_data_output": True}}
    plain = ask(sagemaker, "POST", "/invocations", asked)
    assert int(plain.headers[HEADER_LENGTH.lower()]) > 0
    accepted = ask(sagemaker, "POST", "/invocations", asked, {"Accept": BINARY})
    assert accepted.headers["content-type"] == f"{BINARY};json-header-size={plain.headers[HEADER_LENGTH.lower()]}"
    assert accepted.body == plain.body


def test_the_binary_form_goes_by_the_headers_of_the_protocol(vertex: RunningService, ask: Ask) -> None:
    """As every client of the protocol sends it, through `rawPredict`."""
    body, length = binary_request()
    answer = ask(vertex, "POST", "/say", body, {HEADER_LENGTH: str(length), "Content-Type": "application/octet-stream"})
    assert answer.json["outputs"][0]["shape"] == [2, 4]


@pytest.mark.parametrize("count", [1, 2, 32])
def test_instances_become_predictions(count: int, vertex: RunningService, ask: Ask) -> None:
    """As bare values and as objects, in order; the batch is what `/v1/infer` would have run."""
    rows = [[float(number), 1.0, 2.0, 3.0] for number in range(count)]
    expected = ask(vertex, "POST", "/v1/infer", {"inputs": {"x": rows}}).json["outputs"]["y"]
    for instances in (rows, [{"x": row} for row in rows]):
        for parameters in NO_PARAMETERS:
            answer = ask(vertex, "POST", "/say", {"instances": instances, **parameters})
            assert answer.json == {"predictions": expected}


def test_a_large_request_in_instances_is_answered(
    start_service: StartService, make_bundle_of: Callable[..., Path], ask: Ask
) -> None:
    """Longer than what the event loop reads itself, both ways."""
    service = start_service(make_bundle_of("identity", models.identity()), env=VERTEX)
    instances = [[number + 0.25, 0.5, 0.125] for number in range(32)]
    padded = json.dumps({"instances": instances}) + " " * 200_000
    answer = ask(service, "POST", "/say", padded)
    assert answer.json == {"predictions": instances}


def wide() -> onnx.ModelProto:
    """Two inputs of 4,000 numbers a row; their sum, and their difference."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    operators = ("Add", "Sub")
    values = [helper.make_tensor_value_info(name, kind, ["batch", 4000]) for name in ("a", "b", *operators)]
    nodes = [helper.make_node(operator, ["a", "b"], [operator]) for operator in operators]
    graph = helper.make_graph(nodes, "wide", values[:2], values[2:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_several_inputs_and_outputs_are_objects(
    start_service: StartService, make_bundle_of: Callable[..., Path], ask: Ask
) -> None:
    """A row names its inputs, and a prediction its outputs when there are several; each is tens of kilobytes."""
    service = start_service(make_bundle_of("wide", wide()), env=VERTEX)
    instances = [{"a": [float(row)] * 4000, "b": [0.5] * 4000} for row in range(8)]
    predictions = ask(service, "POST", "/say", {"instances": instances}).json["predictions"]
    for row, prediction in enumerate(predictions):
        assert prediction == {"Add": [row + 0.5] * 4000, "Sub": [row - 0.5] * 4000}
    assert len(predictions) == 8
    refused = ask(service, "POST", "/say", {"instances": [[1.0]]})
    assert (refused.status, "must be an object" in refused.json["message"]) == (400, True)


def test_a_model_without_rows_takes_one_instance(
    start_service: StartService, make_bundle_of: Callable[..., Path], ask: Ask, assert_refused: AssertRefused
) -> None:
    """The instance is then the whole input."""
    service = start_service(make_bundle_of("rows-interact", models.rows_interact()), env=VERTEX)
    shape = ask(service, "GET", "/v2/models/rows-interact").json["inputs"][0]["shape"]
    instance = np.ones([2 if length == -1 else length for length in shape]).tolist()
    answer = ask(service, "POST", "/say", {"instances": [instance]})
    name = ask(service, "GET", "/v2/models/rows-interact").json["inputs"][0]["name"]
    typed = ask(service, "POST", "/v1/infer", {"inputs": {name: instance}}).json["outputs"]
    assert answer.json == {"predictions": list(typed.values())}
    assert_refused(ask(service, "POST", "/say", {"instances": [instance, instance]}), {400})


def test_a_key_that_tells_the_form_must_come_early(sagemaker: RunningService, ask: Ask) -> None:
    """What stands before it may be long, and nested, and hold the words; beyond 4 KiB it is not looked for."""
    trick = {"id": "inputs", "more": {"inputs": [1]}, "parameters": {"text": '{"instances":['}, **TENSORS}
    assert ask(sagemaker, "POST", "/invocations", trick).status == 200
    far = ask(sagemaker, "POST", "/invocations", {"id": "x" * LOOKED_AT_BYTES, **TENSORS})
    assert far.status == 400


def test_metrics_count_the_requests_of_the_platform(
    start_service: StartService, make_bundle: MakeBundle, ask: Ask, scrape: ScrapeOf
) -> None:
    """Successes and refusals, of the model and of HTTP."""
    service = start_service(make_bundle("tiny"), env=VERTEX)
    ask(service, "POST", "/say", {"instances": ROWS})
    ask(service, "POST", "/say", TENSORS)
    ask(service, "POST", "/say", {"instances": []})
    found = scrape(service)
    assert found.value("nv_inference_request_success") == 2
    assert found.value("nv_inference_request_failure") == 1
    assert found.value("nim_http_responses_total", code="400") == 1


def test_the_gate_is_before_the_routes_of_the_platform(
    start_service: StartService, make_bundle: MakeBundle, ask: Ask, assert_refused: AssertRefused, tmp_path: Path
) -> None:
    """Health is open and inference is not; with --protect-health neither is."""
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    for environment, health, inference in (PLATFORMS["sagemaker"], PLATFORMS["vertex"]):
        guarded = start_service(make_bundle("tiny"), "--api-keys", str(keys), env=environment)
        assert ask(guarded, "GET", health).status == 200
        assert_refused(ask(guarded, "POST", inference, TYPED), {401})
        assert ask(guarded, "POST", inference, TYPED, {"X-API-Key": KEY}).status == 200
        guarded.stop()
    options = ("--api-keys", str(keys), "--protect-health")
    shut = start_service(make_bundle("tiny"), *options, env=PLATFORMS["sagemaker"][0], wait_ready=False)
    assert_refused(ask(shut, "GET", "/ping"), {401})


def serve_refused(bundle: Path, *options: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nimify", "serve", str(bundle), "--port", "0", *options],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


HOSTILE_ROUTES = ["health", "/", "/a b", "/a?b", "/a#b", "/a\tb", "/é", "//\x7f", "/" + "a" * 2000, "/a\\b", '/"']


@pytest.mark.parametrize("route", HOSTILE_ROUTES)
@pytest.mark.parametrize("variable", ["AIP_HEALTH_ROUTE", "AIP_PREDICT_ROUTE"])
def test_a_route_that_is_none_is_refused_by_its_variable(variable: str, route: str) -> None:
    """Before anything listens."""
    from nimify.errors import ConfigError
    from nimify.serving.settings import ServiceSettings

    with pytest.raises(ConfigError, match=variable):
        ServiceSettings.from_environment({**VERTEX, variable: route})


def test_what_would_open_another_route_is_refused(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """A health route must not open inference to callers without a key, nor be something else."""
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    bundle = make_bundle("tiny")
    same = {"AIP_HEALTH_ROUTE": "/same", "AIP_PREDICT_ROUTE": "/same"}
    refused = serve_refused(bundle, "--api-keys", str(keys), **{**VERTEX, **same})
    assert "AIP_HEALTH_ROUTE: must be another route" in refused
    assert "another route of the service" in serve_refused(bundle, **{**VERTEX, "AIP_HEALTH_ROUTE": "/v1/infer"})
    assert "is a health route" in serve_refused(bundle, **{**VERTEX, "AIP_PREDICT_ROUTE": "/v2/health/live"})
    assert "must be one of sagemaker" in serve_refused(bundle, NIMIFY_PLATFORM="heroku")


def test_one_route_may_be_for_both_when_there_are_no_keys(
    start_service: StartService, make_bundle: MakeBundle, ask: Ask
) -> None:
    """As Vertex AI has it when neither route was named: told apart by the method."""
    route = "/v1/endpoints/5/deployedModels/6:predict"
    environment = {"AIP_HTTP_PORT": "8080", "AIP_HEALTH_ROUTE": route, "AIP_PREDICT_ROUTE": route}
    service = start_service(make_bundle("tiny"), env=environment)
    assert ask(service, "GET", route).status == 200
    assert ask(service, "POST", route, {"instances": ROWS}).status == 200


def test_a_predict_route_that_we_have_stays_what_it_is(
    start_service: StartService, make_bundle: MakeBundle, ask: Ask
) -> None:
    """For `rawPredict`: the owner chose one of the service's own routes."""
    service = start_service(make_bundle("tiny"), env={**VERTEX, "AIP_PREDICT_ROUTE": "/v1/infer"})
    assert ask(service, "POST", "/v1/infer", TYPED).status == 200
    assert ask(service, "POST", "/v1/infer", {"instances": ROWS}).status == 400


CONTAINERS: dict[str, tuple[list[str], dict[str, str], str]] = {
    "sagemaker": (["serve"], {"SAGEMAKER_BIND_TO_PORT": "PORT"}, "/ping"),
    "vertex": ([], {"AIP_HTTP_PORT": "PORT", "NIM_HTTP_API_PORT": "1", "AIP_HEALTH_ROUTE": "/up"}, "/up"),
    "cloud-run": ([], {"PORT": "PORT", "K_SERVICE": "tiny"}, "/v1/health/ready"),
}


@pytest.fixture(params=CONTAINERS)
def container(
    request: pytest.FixtureRequest, make_bundle: MakeBundle, tmp_path: Path
) -> Iterator[tuple[RunningService, str, dict[str, str]]]:
    """The image's entry point, started as each platform starts it, listening where the platform says."""
    arguments, given, health = CONTAINERS[request.param]
    port = free_port()
    asked = {name: str(port) if value == "PORT" else value for name, value in given.items()}
    own = {"NIMIFY_BUNDLE": str(make_bundle("tiny", limits={"drain_s": 0})), "NIMIFY_HOST": "127.0.0.1"}
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "nimify.serving", *arguments],
            env={**os.environ, **own, "NIMIFY_GRPC": "0", **asked},
            stderr=stream,
        )
    try:
        yield RunningService(f"http://127.0.0.1:{port}", process, log), health, asked
    finally:
        process.kill()
        process.wait()


def test_the_entry_point_listens_where_the_platform_asks(
    container: tuple[RunningService, str, dict[str, str]], ask: Ask
) -> None:
    """Its variable wins over the NIM's; the image's own health check asks there, too; SIGTERM ends it with 0."""
    service, health, environment = container
    wait_until_ready(service)
    assert ask(service, "GET", health).status == 200
    probe = subprocess.run(
        [sys.executable, "-m", "nimify.serving.probe"], env={**os.environ, **environment}, timeout=60, check=False
    )
    assert probe.returncode == 0
    assert service.stop(signal.SIGTERM, timeout_s=60) == 0
