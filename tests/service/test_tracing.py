"""Traces: what a real collector is sent over OTLP of requests over HTTP and gRPC, and what happens without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests.service.otlp_collector import ERROR, SERVER, UNSET, CollectedSpan, Collector
from tritonclient.grpc import service_pb2, service_pb2_grpc

if TYPE_CHECKING:
    from tests.conftest import RunningService, ServiceStarter
    from tests.service.conftest import Ask, Dial, RunServe

Eventually = Callable[..., None]
Traced = Callable[..., "RunningService"]

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
INFER = "/v2/models/tiny/infer"
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def environment(collector: Collector, **more: str) -> dict[str, str]:
    """What switches traces on, and has spans sent at once."""
    return {
        "NIM_ENABLE_OTEL": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        **more,
    }


@pytest.fixture(scope="module")
def traced(start_service: ServiceStarter, make_bundle: Callable[..., Path], collector: Collector) -> RunningService:
    return start_service(make_bundle("tiny"), env=environment(collector))


@pytest.fixture
def span_of(collector: Collector, eventually: Eventually) -> Callable[..., CollectedSpan]:
    """The only span of a request with these attributes, once it has come."""

    def find(**attributes: Any) -> CollectedSpan:
        eventually(lambda: collector.servers(**attributes), timeout_s=PATIENCE_S, what=f"a span with {attributes}")
        (span,) = collector.servers(**attributes)
        return span

    return find


def _body(rows: int = 1, **more: Any) -> dict[str, Any]:
    data = [[0.5] * 4] * rows
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 4], "data": data}], **more}


def _message(rows: int = 1, model: str = "tiny") -> Any:
    request = service_pb2.ModelInferRequest(model_name=model, id="m")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[rows, 4])
    tensor.contents.fp32_contents.extend([0.5] * 4 * rows)
    return request


def test_a_request_is_one_span_below_its_callers_with_its_phases_below_it(
    traced: RunningService, ask: Ask, collector: Collector, span_of: Callable[..., CollectedSpan]
) -> None:
    """It is the child that `traceparent` says, and parse, queue, compute and reply follow each other within it."""
    headers = {"traceparent": TRACEPARENT, "x-request-id": "phases", "user-agent": "a test"}
    before_ns = time.time_ns()
    answer = ask(traced, "POST", INFER, _body(rows=2), headers)
    after_ns = time.time_ns()
    assert answer.status == 200
    span = span_of(nimify__request__id="phases")
    assert (span.name, span.kind) == (f"POST {INFER}", SERVER)
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
    assert span.status == UNSET
    assert span.attributes == {
        "http.request.method": "POST",
        "http.request.body.size": len(json.dumps(_body(rows=2))),
        "http.response.status_code": 200,
        "http.response.body.size": len(answer.body),
        "http.route": INFER,
        "nimify.request.id": "phases",
        "server.address": "127.0.0.1",
        "server.port": traced.port,
        "url.path": INFER,
        "url.scheme": "http",
        "user_agent.original": "a test",
    }
    assert before_ns <= span.begun_ns <= span.ended_ns <= after_ns + 1_000_000_000
    phases = collector.children(span)
    assert list(phases) == ["parse", "queue", "compute", "reply"]
    times = [span.begun_ns, *(phase.ended_ns for phase in phases.values())]
    assert [phase.begun_ns for phase in phases.values()] == times[:-1]
    assert times[-1] == span.ended_ns
    assert all(phase.trace_id == TRACE for phase in phases.values())


def test_spans_say_which_service_sends_them(
    traced: RunningService, ask: Ask, span_of: Callable[..., CollectedSpan]
) -> None:
    """The resource names the service, its version and the model's digest, and the scope the conventions."""
    ask(traced, "GET", "/v1/models", headers={"x-request-id": "resource"})
    span = span_of(nimify__request__id="resource")
    assert span.resource["service.name"] == "tiny"
    assert span.resource["service.version"] == "1.0.0"
    assert span.resource["nimify.model.digest"].startswith("sha256:")
    assert span.resource["telemetry.sdk.language"] == "python"
    assert span.schema.startswith("https://opentelemetry.io/schemas/")


def test_v1_and_binary_requests_have_the_same_phases(
    traced: RunningService, ask: Ask, collector: Collector, span_of: Callable[..., CollectedSpan]
) -> None:
    """The typed API and raw tensors go through the same queue."""
    ask(traced, "POST", "/v1/infer", {"inputs": {"x": [[1, 2, 3, 4]]}}, {"x-request-id": "typed"})
    raw = {"inference-header-content-length": "0", "x-request-id": "raw"}
    ask(traced, "POST", INFER, bytes(16), raw)
    for id in ("typed", "raw"):
        span = span_of(nimify__request__id=id)
        assert span.attributes["http.response.status_code"] == 200
        assert list(collector.children(span)) == ["parse", "queue", "compute", "reply"]


def test_a_request_without_a_parent_begins_a_trace(
    traced: RunningService, ask: Ask, span_of: Callable[..., CollectedSpan]
) -> None:
    """So does one whose `traceparent` is none."""
    ask(traced, "GET", "/v2", headers={"x-request-id": "orphan"})
    ask(traced, "GET", "/v2", headers={"x-request-id": "broken", "traceparent": "00-zz-1-01"})
    orphan, broken = span_of(nimify__request__id="orphan"), span_of(nimify__request__id="broken")
    assert orphan.parent_id == broken.parent_id == ""
    assert len({orphan.trace_id, broken.trace_id, TRACE}) == 3


def test_a_caller_that_is_not_sampled_gets_no_span(
    traced: RunningService, ask: Ask, collector: Collector, span_of: Callable[..., CollectedSpan]
) -> None:
    """The last flag of `traceparent` is the caller's decision, and the service keeps to it."""
    unsampled = TRACEPARENT[:-1] + "0"
    ask(traced, "POST", INFER, _body(), {"traceparent": unsampled, "x-request-id": "unsampled"})
    ask(traced, "GET", "/v2", headers={"x-request-id": "after"})
    span_of(nimify__request__id="after")
    assert not collector.servers(nimify__request__id="unsampled")


def test_what_is_the_clients_fault_is_recorded_and_no_error_of_the_service(
    traced: RunningService, ask: Ask, span_of: Callable[..., CollectedSpan]
) -> None:
    """A wrong request has an event that says what was wrong, and an unset status."""
    answer = ask(traced, "POST", INFER, b"{", {"x-request-id": "wrong"})
    span = span_of(nimify__request__id="wrong")
    assert span.attributes["http.response.status_code"] == answer.status == 400
    assert (span.status, "error.type" in span.attributes) == (UNSET, False)
    ((name, event),) = span.events
    assert name == "exception"
    assert event == {"exception.type": "invalid_argument", "exception.message": answer.json["error"]}


def test_an_unknown_route_and_method_keep_the_number_of_names_small(
    traced: RunningService, ask: Ask, span_of: Callable[..., CollectedSpan]
) -> None:
    """What a stranger makes up is no name of a span, and no route."""
    ask(traced, "GET", "/made/up?secret=1", headers={"x-request-id": "route"})
    ask(traced, "PROPFIND", "/v2", headers={"x-request-id": "method"})
    route, method = span_of(nimify__request__id="route"), span_of(nimify__request__id="method")
    assert (route.name, "http.route" in route.attributes) == ("GET", False)
    assert route.attributes["url.path"] == "/made/up"
    assert "secret" not in repr(route)
    assert (method.name, method.attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert method.attributes["http.request.method_original"] == "PROPFIND"
    assert method.attributes["http.response.status_code"] == 405


def test_probes_and_scrapes_are_not_traced(
    traced: RunningService, ask: Ask, collector: Collector, span_of: Callable[..., CollectedSpan]
) -> None:
    """Health routes and the metrics are asked every few seconds, by nobody who traces."""
    for path in ("/v1/health/live", "/v1/health/ready", "/v2/health/live", "/v2/health/ready", "/v1/metrics"):
        ask(traced, "GET", path)
    ask(traced, "GET", "/v2", headers={"x-request-id": "later"})
    span_of(nimify__request__id="later")
    paths = {span.attributes.get("url.path", "") for span in collector.servers()}
    assert not [path for path in paths if "health" in path or "metrics" in path]


def test_what_a_platform_asks_for_health_is_not_traced(
    start_service: ServiceStarter, make_bundle: Callable[..., Path], ask: Ask, collector: Collector, span_of: Any
) -> None:
    """SageMaker asks every few seconds, too; what it sends to be inferred is traced."""
    service = start_service(make_bundle("tiny"), env={**environment(collector), "NIMIFY_PLATFORM": "sagemaker"})
    assert ask(service, "GET", "/ping").status == 200
    body = {"inputs": {"x": [[1, 2, 3, 4]]}}
    assert ask(service, "POST", "/invocations", body, headers={"x-request-id": "invoked"}).status == 200
    assert span_of(nimify__request__id="invoked").attributes["http.route"] == "/invocations"
    assert not collector.servers(url__path="/ping")


def test_a_grpc_call_is_one_span_below_its_callers(
    traced: RunningService, collector: Collector, span_of: Callable[..., CollectedSpan]
) -> None:
    """The metadata carries the context, and the attributes are those of RPC."""
    with grpc.insecure_channel(traced.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        stub.ModelInfer(_message(), metadata=[("traceparent", TRACEPARENT)], timeout=30)
    span = span_of(rpc__method="inference.GRPCInferenceService/ModelInfer", rpc__response__status_code="OK")
    assert span.name == "inference.GRPCInferenceService/ModelInfer"
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
    assert span.attributes["rpc.system.name"] == "grpc"
    assert "grpc" in span.attributes["user_agent.original"]
    phases = collector.children(span)
    assert list(phases) == ["parse", "queue", "compute", "reply"]
    assert span.begun_ns <= phases["parse"].begun_ns
    assert phases["reply"].ended_ns == span.ended_ns


def test_a_grpc_call_that_fails_says_why(traced: RunningService, span_of: Callable[..., CollectedSpan]) -> None:
    """The caller's mistake is no error of the service; what is not offered is one, as the conventions say."""
    with grpc.insecure_channel(traced.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.ModelInfer(_message(model="other"), timeout=30)
        with pytest.raises(grpc.RpcError):
            stub.LogSettings(service_pb2.LogSettingsRequest(), timeout=30)
    missing = span_of(rpc__response__status_code="NOT_FOUND")
    assert missing.status == UNSET
    assert missing.events[0][1]["exception.type"] == "not_found"
    refused = span_of(rpc__response__status_code="UNIMPLEMENTED")
    assert (refused.status, refused.attributes["error.type"]) == (ERROR, "unsupported")
    assert refused.status_text


def test_each_message_of_a_stream_is_a_span_below_the_call(
    traced: RunningService, collector: Collector, span_of: Callable[..., CollectedSpan]
) -> None:
    """A stream is one call; its messages have phases of their own, and one that fails says so alone."""
    with grpc.insecure_channel(traced.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        messages = [_message(), _message(model="other"), _message()]
        answers = list(stub.ModelStreamInfer(iter(messages), timeout=30))
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]
    call = span_of(rpc__method="inference.GRPCInferenceService/ModelStreamInfer")
    below = [span for span in collector.spans if span.parent_id == call.span_id]
    assert [span.name for span in below] == ["message"] * 3
    assert sorted(len(collector.children(span)) for span in below) == [0, 4, 4]
    assert [span.events[0][1]["exception.type"] for span in below if span.events] == ["not_found"]


def test_a_client_that_leaves_is_noted(
    start_service: ServiceStarter,
    steps_bundle: Path,
    dial: Dial,
    ask: Ask,
    collector: Collector,
    eventually: Eventually,
    span_of: Callable[..., CollectedSpan],
) -> None:
    """The span of a request that nobody waits for ends when its client is gone, and says so."""
    service = start_service(steps_bundle, env=environment(collector))
    body = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [100_000_000]}]}
    content = json.dumps(body).encode()
    wire = dial(service)
    head = "POST /v2/models/steps/infer HTTP/1.1\r\nhost: a\r\nx-request-id: gone\r\ncontent-length: %d\r\n\r\n"
    wire.send((head % len(content)).encode() + content)
    eventually(lambda: b"nim_http_requests_in_flight 2" in ask(service, "GET", "/v1/metrics").body)
    wire.reset()
    span = span_of(nimify__request__id="gone")
    service.process.kill()  # its engine would go on for minutes
    assert span.attributes["nimify.cancelled"] is True
    assert "http.response.status_code" not in span.attributes


def test_what_is_the_services_fault_is_an_error(
    start_service: ServiceStarter, steps_bundle: Path, ask: Ask, collector: Collector, span_of: Callable[..., Any]
) -> None:
    """A request that takes longer than it may is answered 504, and its span has the status of an error."""
    service = start_service(steps_bundle, "--request-timeout", "300ms", env=environment(collector))
    body = {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1], "data": [3_000_000]}]}
    answer = ask(service, "POST", "/v2/models/steps/infer", body, {"x-request-id": "late"})
    span = span_of(nimify__request__id="late")
    assert span.attributes["http.response.status_code"] == answer.status == 504
    assert (span.status, span.attributes["error.type"]) == (ERROR, "deadline_exceeded")
    assert span.status_text == answer.json["error"]
    service.process.kill()


def test_spans_that_wait_are_sent_before_the_service_ends(
    start_service: ServiceStarter, make_bundle: Callable[..., Path], ask: Ask, collector: Collector
) -> None:
    """The queue is sent at the end of the drain, however long its interval."""
    service = start_service(make_bundle("tiny"), env=environment(collector, OTEL_BSP_SCHEDULE_DELAY="600000"))
    ask(service, "POST", INFER, _body(), {"x-request-id": "flushed"})
    assert not collector.servers(nimify__request__id="flushed")
    assert service.stop() == 0
    assert collector.servers(nimify__request__id="flushed")


def test_every_worker_sends_its_spans(
    start_service: ServiceStarter, make_bundle: Callable[..., Path], ask: Ask, collector: Collector
) -> None:
    """Each worker has a tracer of its own, and all of them are heard at the end."""
    service = start_service(make_bundle("tiny"), "--workers", "2", env=environment(collector))
    for number in range(20):
        ask(service, "GET", "/v2", headers={"x-request-id": f"worker-{number}"})
    assert service.stop() == 0
    seen = {span.attributes.get("nimify.request.id") for span in collector.servers()}
    assert {f"worker-{number}" for number in range(20)} <= seen


def test_nims_own_names_and_the_standard_ones_are_heard(
    start_service: ServiceStarter, make_bundle: Callable[..., Path], ask: Ask
) -> None:
    """The endpoint and the name come from NIM's variables, headers and further attributes from OpenTelemetry's."""
    with Collector() as other:
        service = start_service(
            make_bundle("tiny"),
            env={
                "NIM_ENABLE_OTEL": "true",
                "NIM_OTEL_EXPORTER_OTLP_ENDPOINT": other.url + "/",
                "NIM_OTEL_SERVICE_NAME": "front",
                "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
                "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20secret",
                "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
                "OTEL_TRACES_SAMPLER": "parentbased_always_off",
            },
        )
        ask(service, "GET", "/v2", headers={"x-request-id": "unwanted"})
        ask(service, "GET", "/v2", headers={"x-request-id": "wanted", "traceparent": TRACEPARENT})
        assert service.stop() == 0
        (span,) = other.spans
        assert span.attributes["nimify.request.id"] == "wanted"
        assert span.resource["service.name"] == "front"
        assert span.resource["deployment.environment.name"] == "test"
        assert (other.headers["authorization"], other.headers["content-encoding"]) == ("Bearer secret", "gzip")


@pytest.mark.parametrize("trouble", ["gone", "hanging"])
def test_a_collector_in_trouble_costs_no_request(
    trouble: str, start_service: ServiceStarter, make_bundle: Callable[..., Path], ask: Ask
) -> None:
    """Requests are answered, the queue stays bounded, and the service ends in time and says what was wrong."""
    with Collector() as collector:
        if trouble == "hanging":
            collector.hang()
        small = {"OTEL_BSP_MAX_QUEUE_SIZE": "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"}
        more = {} if trouble != "gone" else {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
        service = start_service(
            make_bundle("tiny"), "--log-format", "json", env={**environment(collector), **small, **more}
        )
        for _ in range(50):
            assert ask(service, "POST", INFER, _body()).status == 200
        assert service.stop() == 0
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
        assert [line for line in lines if line["event"] == "tracing"]


def test_without_being_asked_for_nothing_is_loaded(served: Traced) -> None:
    """No module of OpenTelemetry is in the process, and no thread of it."""
    service = served("tiny")
    maps = Path(f"/proc/{service.process.pid}/maps").read_text()
    assert "opentelemetry" not in maps
    threads = [path.read_text() for path in Path(f"/proc/{service.process.pid}/task").glob("*/comm")]
    assert not [name for name in threads if "Otel" in name]
    script = (
        "import sys; import nimify.serving.worker, nimify.serving.service, nimify.serving.grpc.server\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'requests'))])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "[]\n"


def test_without_the_extra_the_service_says_what_to_install(
    run_serve: RunServe, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """It does not start, and says how to mend that."""
    package = tmp_path / "opentelemetry"
    package.mkdir()
    (package / "__init__.py").write_text("")  # stands before the installed one, and has nothing in it
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    result = run_serve(make_bundle("tiny"), env={"NIM_ENABLE_OTEL": "1", "PYTHONPATH": path})
    assert result.returncode == 5
    assert "NIM_ENABLE_OTEL asks for traces, and 'opentelemetry.sdk' is not installed." in result.stderr
    assert "pip install 'nimify-anything[otel]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_what_the_sdk_does_not_take_is_refused_at_the_start(
    run_serve: RunServe, make_bundle: Callable[..., Path]
) -> None:
    """A variable that only the SDK reads is told from a bug, without a traceback."""
    env = {"NIM_ENABLE_OTEL": "1", "OTEL_BSP_MAX_QUEUE_SIZE": "1"}
    result = run_serve(make_bundle("tiny"), "--port", "0", env=env)
    assert result.returncode == 2
    assert "OpenTelemetry does not take what one of its variables holds" in result.stderr
    assert "Traceback" not in result.stderr
