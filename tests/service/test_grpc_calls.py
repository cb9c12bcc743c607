"""What becomes of calls: deadlines, cancellation, the end of the service, keys, TLS, and requests that are wrong."""

from __future__ import annotations

import queue
import signal
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.service.http2_peer import Peer
from tritonclient.grpc import service_pb2, service_pb2_grpc

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import RunServe

Served = Callable[..., "RunningService"]
StartService = Callable[..., "RunningService"]
Eventually = Callable[..., None]
Input = service_pb2.ModelInferRequest.InferInputTensor
Output = service_pb2.ModelInferRequest.InferRequestedOutputTensor
Contents = service_pb2.InferTensorContents
Parameter = service_pb2.InferParameter
ONE_ROW = struct.pack("<4f", 1, 2, 3, 4)
INFER = "/inference.GRPCInferenceService/ModelInfer"


def tiny(**fields: Any) -> Any:
    """A good request for the tiny model, or one with other fields."""
    given = {
        "model_name": "tiny",
        "inputs": [Input(name="x", datatype="FP32", shape=[1, 4])],
        "raw_input_contents": [ONE_ROW],
        **fields,
    }
    return service_pb2.ModelInferRequest(**given)


def steps(count: int) -> Any:
    """A request that takes 0.1 s for a count of 100 000."""
    return service_pb2.ModelInferRequest(
        model_name="steps",
        inputs=[Input(name="x", datatype="INT64", shape=[1])],
        raw_input_contents=[struct.pack("<q", count)],
    )


def stub(channel: grpc.Channel) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture
def open_channel() -> Iterator[Callable[..., grpc.Channel]]:
    """Connect gRPC's own client, each time anew; closed with the test."""
    channels: list[grpc.Channel] = []

    def opened(service: RunningService, **options: Any) -> grpc.Channel:
        own = [("grpc.use_local_subchannel_pool", 1), *options.items()]
        channels.append(grpc.insecure_channel(service.grpc_address, own))
        return channels[-1]

    yield opened
    for channel in channels:
        channel.close()


@pytest.fixture(scope="module")
def counting(start_service: StartService, steps_bundle: Path) -> RunningService:
    return start_service(steps_bundle)


def code_of(call: Callable[[], Any]) -> grpc.StatusCode:
    """How a call ends that does not succeed."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    code: grpc.StatusCode = caught.value.code()
    return code


def f32(*values: float) -> Any:
    return Contents(fp32_contents=values)


X = {"name": "x", "datatype": "FP32", "shape": [1, 4]}
WRONG: dict[str, dict[str, Any]] = {
    "no inputs": {"inputs": [], "raw_input_contents": []},
    "no name": {"inputs": [Input(datatype="FP32", shape=[1, 4])]},
    "unknown name": {"inputs": [Input(**{**X, "name": "z"})]},
    "long name": {"inputs": [Input(**{**X, "name": "z" * 100_000})]},
    "given twice": {"inputs": [Input(**X), Input(**X)], "raw_input_contents": [ONE_ROW, ONE_ROW]},
    "unknown datatype": {"inputs": [Input(**{**X, "datatype": "fp32"})]},
    "other datatype": {"inputs": [Input(**{**X, "datatype": "INT32"})]},
    "no shape": {"inputs": [Input(name="x", datatype="FP32")]},
    "negative": {"inputs": [Input(**{**X, "shape": [-1, 4]})]},
    "huge": {"inputs": [Input(**{**X, "shape": [2**62, 4]})]},
    "overflowing": {"inputs": [Input(**{**X, "shape": [2**31 - 1] * 3 + [0]})]},
    "many axes": {"inputs": [Input(**{**X, "shape": [1] * 65})]},
    "no rows": {"inputs": [Input(**{**X, "shape": [0, 4]})], "raw_input_contents": [b""]},
    "too many rows": {"inputs": [Input(**{**X, "shape": [33, 4]})], "raw_input_contents": [ONE_ROW * 33]},
    "raw too short": {"raw_input_contents": [ONE_ROW[:-1]]},
    "raw too long": {"raw_input_contents": [ONE_ROW + b"\0"]},
    "raw for two": {"raw_input_contents": [ONE_ROW, ONE_ROW]},
    "raw and typed": {"inputs": [Input(**X, contents=f32(1, 2, 3, 4))]},
    "nothing at all": {"raw_input_contents": []},
    "typed too few": {"inputs": [Input(**X, contents=f32(1))], "raw_input_contents": []},
    "other field": {"inputs": [Input(**X, contents=Contents(fp64_contents=[1] * 4))], "raw_input_contents": []},
    "two fields": {
        "inputs": [Input(**X, contents=Contents(fp32_contents=[1] * 4, int_contents=[1]))],
        "raw_input_contents": [],
    },
    "typed FP16": {"inputs": [Input(**{**X, "datatype": "FP16"}, contents=f32(1))], "raw_input_contents": []},
    "INT8 out of range": {
        "inputs": [Input(name="x", datatype="INT8", shape=[1, 1], contents=Contents(int_contents=[300]))],
        "raw_input_contents": [],
    },
    "unknown output": {"outputs": [Output(name="z")]},
    "output twice": {"outputs": [Output(name="y"), Output(name="y")]},
    "many outputs": {"outputs": [Output(name=str(n)) for n in range(5000)]},
    "reserved": {"parameters": {"triton_x": Parameter(bool_param=True)}},
    "no value": {"parameters": {"a": Parameter()}},
    "bad timeout": {"parameters": {"timeout": Parameter(int64_param=-1)}},
    "text timeout": {"parameters": {"timeout": Parameter(string_param="1")}},
    "bad priority": {"parameters": {"priority": Parameter(int64_param=-1)}},
    "text priority": {"parameters": {"priority": Parameter(string_param="1")}},
    "bad sequence": {"parameters": {"sequence_id": Parameter(int64_param=-1)}},
    "number as start": {"parameters": {"sequence_start": Parameter(int64_param=1)}},
    "in shared memory": {
        "inputs": [Input(**X, parameters={"shared_memory_region": Parameter(string_param="r")})],
        "raw_input_contents": [],
    },
    "to shared memory": {
        "outputs": [Output(name="y", parameters={"shared_memory_region": Parameter(string_param="r")})]
    },
    "bad classes": {"outputs": [Output(name="y", parameters={"classification": Parameter(int64_param=-1)})]},
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_the_clients_mistake(
    case: str, served: Served, open_channel: Callable[..., grpc.Channel]
) -> None:
    """Never INTERNAL or UNKNOWN, over one call and in a stream, which goes on."""
    service = stub(open_channel(served("tiny")))
    request = tiny(**WRONG[case])
    with pytest.raises(grpc.RpcError) as caught:
        service.ModelInfer(request, timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = caught.value.details()
    assert details
    assert len(details) < 1024
    wrong, right = service.ModelStreamInfer(iter([request, tiny(id="after")]), timeout=60)
    assert wrong.error_message == details
    assert right.infer_response.id == "after"


def raw_call(channel: grpc.Channel, body: bytes, path: str = INFER, **options: Any) -> Any:
    return channel.unary_unary(path, None, None)(body, timeout=60, **options)


def test_what_is_no_protobuf_is_an_invalid_argument(served: Served, open_channel: Callable[..., grpc.Channel]) -> None:
    """Garbage, a truncated message, text that is not UTF-8, a message that is too deep."""
    channel = open_channel(served("tiny"))
    deep = b"\x2a\x80\x01" * 10_000
    for body in (b"\xff" * 10, tiny().SerializeToString()[:-3], b"\x0a\x01\xff", deep):
        assert code_of(lambda body=body: raw_call(channel, body)) is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[misc]  # bound at once


def test_unknown_fields_do_no_harm(served: Served, open_channel: Callable[..., grpc.Channel]) -> None:
    """A newer client may send them."""
    body = tiny().SerializeToString() + b"\xfa\x3e\x03abc"
    answer = service_pb2.ModelInferResponse.FromString(raw_call(open_channel(served("tiny")), body))
    assert answer.raw_output_contents


@pytest.mark.parametrize("path", ["/inference.GRPCInferenceService/Nothing", "/other.Service/ModelInfer", "/"])
def test_an_unknown_method_is_unimplemented(
    path: str, served: Served, open_channel: Callable[..., grpc.Channel]
) -> None:
    """Whatever its name."""
    assert code_of(lambda: raw_call(open_channel(served("tiny")), b"", path)) is grpc.StatusCode.UNIMPLEMENTED


def test_messages_are_bounded_before_and_after_inflating(
    start_service: StartService,
    make_bundle: Callable[..., Path],
    open_channel: Callable[..., grpc.Channel],
    resident_bytes: Callable[[int], int],
) -> None:
    """One byte too many is too many, and a bomb takes no memory."""
    service = start_service(make_bundle("tiny"), "--max-body-size", "1MiB")
    channel = open_channel(service)
    assert code_of(lambda: raw_call(channel, b"\0" * ((1 << 20) + 1))) is grpc.StatusCode.RESOURCE_EXHAUSTED
    before = resident_bytes(service.process.pid)
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        bomb = b"\0" * (200 << 20)
        ending = code_of(lambda bomb=bomb, how=compression: raw_call(channel, bomb, compression=how))  # type: ignore[misc]  # bound at once
        assert ending is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert resident_bytes(service.process.pid) - before < 32 << 20
    assert stub(channel).ModelInfer(tiny(), timeout=60).raw_output_contents


def test_a_deadline_ends_a_call_in_the_engine_and_in_the_queue(
    counting: RunningService, open_channel: Callable[..., grpc.Channel], eventually: Eventually, scrape: Any
) -> None:
    """The client is not kept, and what has not begun is not run."""
    service = stub(open_channel(counting))
    before = scrape(counting)
    running = service.ModelInfer.future(steps(4_000_000), timeout=120)
    eventually(lambda: scrape(counting).value("nim_grpc_calls_in_flight") == 1, what="the first call's start")
    for _ in range(3):
        assert code_of(lambda: service.ModelInfer(steps(1), timeout=0.2)) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert running.result(timeout=120).raw_output_contents
    eventually(lambda: scrape(counting).value("nim_grpc_calls_in_flight") == 0, what="the calls' end")
    after = scrape(counting)
    assert after.value("nv_inference_count") == before.value("nv_inference_count") + 1


def test_a_deadline_that_has_passed_is_not_begun(
    counting: RunningService, open_channel: Callable[..., grpc.Channel]
) -> None:
    """However small the call is.

    Not tried: the least time above 0, which gRPC's client rounds up to a millisecond, and that is enough for an answer.
    """
    service = stub(open_channel(counting))
    for timeout_s in (0.0, -1.0):
        call = lambda timeout_s=timeout_s: service.ModelInfer(steps(1), timeout=timeout_s)  # noqa: E731
        assert code_of(call) is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_cancelled_call_leaves_the_queue(
    counting: RunningService, open_channel: Callable[..., grpc.Channel], eventually: Eventually, scrape: Any
) -> None:
    """What its client does not want any more is not run, and is counted as such."""
    service = stub(open_channel(counting))
    before = scrape(counting)
    running = service.ModelInfer.future(steps(4_000_000), timeout=120)
    eventually(lambda: scrape(counting).value("nim_grpc_calls_in_flight") == 1, what="the first call's start")
    waiting = [service.ModelInfer.future(steps(1), timeout=60) for _ in range(10)]
    eventually(lambda: scrape(counting).value("nim_grpc_calls_in_flight") == 11, what="the calls' start")
    for call in waiting:
        call.cancel()
    eventually(lambda: scrape(counting).value("nim_grpc_calls_in_flight") == 1, what="the cancelled calls' end")
    assert running.result(timeout=120).raw_output_contents
    after = scrape(counting)
    assert after.value("nv_inference_count") == before.value("nv_inference_count") + 1
    name = "nim_grpc_calls_total"
    assert after.value(name, code="CANCELLED") == before.value(name, code="CANCELLED") + 10


def test_a_stream_that_is_cancelled_gives_up_its_requests(
    counting: RunningService, open_channel: Callable[..., grpc.Channel], eventually: Eventually, scrape: Any
) -> None:
    """All of them at once."""
    service = stub(open_channel(counting))
    requests: queue.Queue[Any] = queue.Queue()
    answers = service.ModelStreamInfer(iter(requests.get, None), timeout=60)
    requests.put(steps(1))
    assert next(answers).infer_response.raw_output_contents
    before = scrape(counting).value("nv_inference_count")
    for _ in range(50):
        requests.put(steps(2_000_000))
    eventually(lambda: scrape(counting).value("nv_inference_pending_request_count") > 20, what="the requests' start")
    answers.cancel()
    requests.put(None)
    eventually(lambda: scrape(counting).value("nim_grpc_calls_in_flight") == 0, what="the stream's end")
    eventually(lambda: scrape(counting).value("nv_inference_pending_request_count") == 0, what="the queue's end")
    assert scrape(counting).value("nv_inference_count") - before < 10


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sixty_four_connections_at_once_are_answered(
    workers: str, start_service: StartService, make_bundle: Callable[..., Path]
) -> None:
    """By however many workers: all accept from one socket."""
    service = start_service(make_bundle("tiny"), "--workers", workers)

    def work(number: int) -> float:
        with grpc.insecure_channel(service.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            row = np.full((1, 4), number, "<f4")
            answer = stub(channel).ModelInfer(tiny(raw_input_contents=[row.tobytes()]), timeout=60)
            return float(np.frombuffer(answer.raw_output_contents[0], "<f4")[0])

    with ThreadPoolExecutor(64) as threads:
        answers = list(threads.map(work, range(64)))
    assert answers == [answers[0] + number for number in range(64)]
    assert service.stop() == 0


class Load:
    """Calls without a pause on a connection of its own, until it is told to stop."""

    def __init__(self, service: RunningService, threads: int = 4) -> None:
        self.stopping = threading.Event()
        self.answered = 0
        self.failures: list[str] = []
        self._service = service
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        with grpc.insecure_channel(self._service.grpc_address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            service = stub(channel)
            while not self.stopping.is_set():
                try:
                    service.ModelInfer(tiny(), timeout=30)
                    self.answered += 1
                except grpc.RpcError as error:
                    self.failures.append(f"{error.code()}: {error.details()}")

    def stop(self) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(60)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_drain_under_load_loses_nothing(
    workers: str, start_service: StartService, make_bundle: Callable[..., Path], eventually: Eventually
) -> None:
    """Calls are answered through the whole window in which clients are sent elsewhere."""
    service = start_service(make_bundle("tiny"), "--workers", workers, "--drain", "600")
    load = Load(service)
    try:
        eventually(lambda: load.answered > 100 or load.failures, timeout_s=60, what="the load's start")
        service.process.send_signal(signal.SIGTERM)
        answered = load.answered
        eventually(lambda: load.answered > answered + 20 or load.failures, what="answers while draining")
    finally:
        load.stop()
    assert service.stop() == 0  # hurried: what the drain was for is over
    assert load.failures == []


def test_calls_in_flight_are_finished_and_watchers_told(
    start_service: StartService, steps_bundle: Path, open_channel: Callable[..., grpc.Channel], eventually: Eventually,
    scrape: Any,
) -> None:  # fmt: skip
    """A call gets its answer, a stream the answers it is owed, and who watches health hears of the end at once."""
    service = start_service(steps_bundle, "--drain", "0", "--shutdown-grace", "600")
    channel = open_channel(service)
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=120)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    running = stub(channel).ModelInfer.future(steps(4_000_000), timeout=120)
    eventually(lambda: scrape(service).value("nim_grpc_calls_in_flight") == 2, what="the call's start")
    requests: queue.Queue[Any] = queue.Queue()
    answers = stub(channel).ModelStreamInfer(iter(requests.get, None), timeout=120)
    requests.put(steps(100_000))
    eventually(lambda: scrape(service).value("nim_grpc_calls_in_flight") == 3, what="the stream's start")
    eventually(lambda: scrape(service).value("nv_inference_pending_request_count") == 1, what="the stream's request")
    service.process.send_signal(signal.SIGTERM)
    assert running.result(timeout=120).raw_output_contents
    assert next(answers).infer_response.raw_output_contents
    assert code_of(lambda: next(answers)) is grpc.StatusCode.UNAVAILABLE
    requests.put(None)
    with pytest.raises(grpc.RpcError, match="stopping"):
        list(watch)
    assert service.process.wait(60) == 0


def test_an_unfinished_call_is_told_by_the_exit_code(
    start_service: StartService, steps_bundle: Path, open_channel: Callable[..., grpc.Channel], eventually: Eventually,
    scrape: Any,
) -> None:  # fmt: skip
    """8 when the grace was over before the answer; the client hears that the connection is gone."""
    service = start_service(steps_bundle, "--drain", "0", "--shutdown-grace", "0.2s")
    running = stub(open_channel(service)).ModelInfer.future(steps(100_000_000), timeout=60)
    eventually(lambda: scrape(service).value("nim_grpc_calls_in_flight") == 1, what="the call's start")
    assert service.stop() == 8
    assert running.exception(timeout=60).code() is grpc.StatusCode.UNAVAILABLE


def test_nothing_is_ready_before_the_model_is(
    start_service: StartService, slow_start_bundle: Path, open_channel: Callable[..., grpc.Channel]
) -> None:
    """The service lives, says that it is not ready, and asks to be called later."""
    service = start_service(slow_start_bundle, "--no-verify", wait_ready=False)
    channel = open_channel(service)
    assert stub(channel).ServerLive(service_pb2.ServerLiveRequest(), timeout=60).live
    assert not stub(channel).ServerReady(service_pb2.ServerReadyRequest(), timeout=60).ready
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
    name = stub(channel).RepositoryIndex(service_pb2.RepositoryIndexRequest(), timeout=60).models[0].name
    request = service_pb2.ModelInferRequest(
        model_name=name, inputs=[Input(name="x", datatype="INT64", shape=[1])], raw_input_contents=[b"\0" * 8]
    )
    assert code_of(lambda: stub(channel).ModelInfer(request, timeout=60)) is grpc.StatusCode.UNAVAILABLE
    service.stop(signal.SIGINT)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_idle_clients_do_not_delay_the_end(
    stop: signal.Signals, start_service: StartService, make_bundle: Callable[..., Path],
    open_channel: Callable[..., grpc.Channel],
) -> None:  # fmt: skip
    """They are asked to leave, and do."""
    service = start_service(make_bundle("tiny"), "--drain", "0", "--shutdown-grace", "60")
    stub(open_channel(service)).ServerLive(service_pb2.ServerLiveRequest(), timeout=60)
    assert service.stop(stop, timeout_s=55) == 0


def test_every_method_stands_behind_the_gate(
    start_service: StartService,
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    open_channel: Callable[..., grpc.Channel],
) -> None:
    """Whether it exists or not; health stays open, and either way of showing a key is taken."""
    keys = tmp_path / "keys.txt"
    keys.write_text("first-key-of-this-test\n")
    service = start_service(make_bundle("tiny"), "--api-keys", str(keys))
    channel = open_channel(service)
    methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    paths = [f"/inference.GRPCInferenceService/{name}" for name in (*methods, "Nothing")]
    paths += [f"/grpc.reflection.{v}.ServerReflection/ServerReflectionInfo" for v in ("v1", "v1alpha")]
    credentials: list[list[tuple[str, str]]] = [
        [],
        [("authorization", "Bearer wrong")],
        [("authorization", "first-key-of-this-test")],
        [("x-api-key", "")],
        [("x-api-key", "FIRST-KEY-OF-THIS-TEST")],
    ]
    for path in paths:
        if path.endswith(("/ServerLive", "/ServerReady")):
            continue
        for metadata in credentials:
            ending = code_of(lambda p=path, m=metadata: raw_call(channel, b"", p, metadata=m))  # type: ignore[misc]  # bound at once
            assert ending is grpc.StatusCode.UNAUTHENTICATED, (path, metadata)
    for metadata in [("authorization", "Bearer first-key-of-this-test")], [("x-api-key", "first-key-of-this-test")]:
        assert stub(channel).ModelInfer(tiny(), timeout=60, metadata=metadata).raw_output_contents
    assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60).status
    assert stub(channel).ServerReady(service_pb2.ServerReadyRequest(), timeout=60).ready


def test_tls_is_spoken_where_there_is_a_certificate(
    start_service: StartService, make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """Who trusts its authority is answered, by many messages too; plain text is not."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    service = start_service(
        make_bundle("tiny"), "--tls-certificate", str(certificate), "--tls-key", str(key), wait_ready=False
    )
    address = service.grpc_address.replace("127.0.0.1", "localhost")
    trusting = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    with grpc.secure_channel(address, trusting) as channel:
        assert stub(channel).ServerLive(service_pb2.ServerLiveRequest(), timeout=30, wait_for_ready=True).live
        deadline_s = time.monotonic() + 30
        while not stub(channel).ServerReady(service_pb2.ServerReadyRequest(), timeout=60).ready:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        answers = list(stub(channel).ModelStreamInfer(iter([tiny(id=str(n)) for n in range(100)]), timeout=30))
        assert [answer.infer_response.id for answer in answers] == [str(n) for n in range(100)]
    with grpc.insecure_channel(address) as plain:
        ending = code_of(lambda: stub(plain).ServerLive(service_pb2.ServerLiveRequest(), timeout=5))
        assert ending in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert service.stop() == 0


def test_a_port_that_is_taken_is_named_with_its_option(
    served: Served, make_bundle: Callable[..., Path], run_serve: RunServe
) -> None:
    """And so is the way to do without gRPC."""
    port = served("tiny").grpc_address.rpartition(":")[2]
    ended = run_serve(str(make_bundle("tiny")), "--port", "0", "--grpc-port", port)
    assert ended.returncode == 5
    assert f"Port {port} of 127.0.0.1 is in use." in ended.stderr
    assert "--grpc-port" in ended.stderr
    assert "--no-grpc" in ended.stderr


def test_grpc_can_be_left_out(start_service: StartService, make_bundle: Callable[..., Path]) -> None:
    """HTTP is served alone then."""
    service = start_service(make_bundle("tiny"), "--no-grpc")
    assert "grpc" not in service.log.read_text()
    maps = Path(f"/proc/{service.process.pid}/maps").read_text()
    assert "_upb" not in maps, "protobuf is loaded and nobody needs it"


def test_compressed_garbage_is_the_clients_mistake(served: Served, open_channel: Callable[..., grpc.Channel]) -> None:
    """Truncated, something behind it, or no gzip at all; an unknown way of compressing is not implemented."""
    address = served("tiny").grpc_address
    good = zlib.compress(tiny().SerializeToString())
    with Peer(address) as peer:
        for number, body in enumerate((good[:-3], good + b"x", b"garbage")):
            content = struct.pack(">BI", 1, len(body)) + body
            ending = peer.call(2 * number + 1, INFER, content, grpc_encoding="deflate")
            assert ending["grpc-status"] == "3"
        assert peer.call(11, INFER, b"\1\0\0\0\0")["grpc-status"] == "3"
        assert peer.call(13, INFER, b"\7\0\0\0\0")["grpc-status"] == "3"
        unknown = peer.call(15, INFER, b"\0\0\0\0\0", grpc_encoding="snappy")
        assert (unknown["grpc-status"], unknown["grpc-accept-encoding"]) == ("12", "identity,deflate,gzip")
        for number, timeout in enumerate(("", "1", "abc", "1h", "123456789S", "-1S")):
            assert peer.call(2 * number + 21, INFER, b"\0\0\0\0\0", grpc_timeout=timeout)["grpc-status"] == "3"
        assert peer.call(41, INFER, b"\0\0\0\0\0", grpc_timeout="0n")["grpc-status"] == "4"
        whole = struct.pack(">BI", 0, len(tiny().SerializeToString())) + tiny().SerializeToString()
        for number, body in enumerate((b"", whole[:-1], whole + whole, whole + b"\0")):
            assert peer.call(2 * number + 51, INFER, body)["grpc-status"] == "3"
