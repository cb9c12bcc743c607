"""Messages of megabytes over gRPC, which are read beside the event loop: the same answers, each to its own request."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from nimify.testing.graph_builder import GraphBuilder

if TYPE_CHECKING:
    from tests.conftest import RunningService

SERVICE = "/inference.GRPCInferenceService/"
COUNT = 3 << 18
"""Elements of a request of three megabytes."""
Array = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture(scope="module")
def service(
    start_service: Callable[..., RunningService], make_bundle_of: Callable[..., Path]
) -> Iterator[RunningService]:
    """`x` FP32[batch, n] to `y` = 2 x."""
    graph = GraphBuilder("doubling")
    x = graph.input("x", "FP32", ["batch", "n"])
    graph.output(graph.op("Add", x, x, out="y"), "FP32", ["batch", "n"])
    started = start_service(make_bundle_of("doubling", graph.model()), "--max-body-size", "16MiB")
    yield started
    assert started.stop() == 0
    assert "Traceback" not in started.log.read_text()


@pytest.fixture(scope="module")
def channel(service: RunningService) -> Iterator[grpc.Channel]:
    """To that service, for messages of any length."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(service.grpc_address, options=options) as opened:
        yield opened


def drawn(seed: int, count: int = COUNT) -> Array:
    return np.random.default_rng(seed).integers(-1000, 1000, size=(1, count)).astype(np.float32)


def request(values: Array, *, typed: bool = False, **fields: Any) -> service_pb2.ModelInferRequest:
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=values.shape)
    asked = service_pb2.ModelInferRequest(model_name="doubling", inputs=[tensor], **fields)
    if typed:
        asked.inputs[0].contents.fp32_contents.extend(values.ravel().tolist())
    else:
        asked.raw_input_contents.append(values.tobytes())
    return asked


def is_double(answer: service_pb2.ModelInferResponse, values: Array) -> bool:
    (raw,) = answer.raw_output_contents
    return bool((np.frombuffer(raw, "<f4") == 2 * values.ravel()).all())


def infer(channel: grpc.Channel, asked: service_pb2.ModelInferRequest, **options: Any) -> Any:
    call = channel.unary_unary(
        f"{SERVICE}ModelInfer",
        request_serializer=service_pb2.ModelInferRequest.SerializeToString,
        response_deserializer=service_pb2.ModelInferResponse.FromString,
    )
    return call(asked, timeout=60, **options)


def test_large_and_small_requests_at_once_get_each_their_own_answer(channel: grpc.Channel) -> None:
    """Raw, typed and compressed, from six clients."""

    def ask(seed: int) -> bool:
        values = drawn(seed, COUNT if seed % 3 else 5)
        compression = grpc.Compression.Gzip if seed % 8 == 1 else None
        answer = infer(channel, request(values, typed=seed % 5 == 1, id=str(seed)), compression=compression)
        return answer.id == str(seed) and is_double(answer, values)

    with ThreadPoolExecutor(6) as clients:
        assert all(clients.map(ask, range(12)))


def test_a_stream_answers_large_and_small_requests_in_their_order(channel: grpc.Channel) -> None:
    """Although the large ones take a detour; a wrong one among them is told so, and the stream goes on."""
    stream = channel.stream_stream(
        f"{SERVICE}ModelStreamInfer",
        request_serializer=service_pb2.ModelInferRequest.SerializeToString,
        response_deserializer=service_pb2.ModelStreamInferResponse.FromString,
    )
    questions = [drawn(seed, COUNT if seed % 2 else 4) for seed in range(6)]
    asked = [request(values, id=str(seed)) for seed, values in enumerate(questions)]
    asked[3].inputs[0].shape[:] = [1, 7]
    for seed, answer in enumerate(stream(iter(asked), timeout=60)):
        if seed == 3:
            assert "takes 28" in answer.error_message
        else:
            assert not answer.error_message
            assert answer.infer_response.id == str(seed)
            assert is_double(answer.infer_response, questions[seed])
    assert seed == 5


@pytest.mark.parametrize("wrong", ["shape", "datatype", "model", "two tensors", "many inputs"])
def test_a_wrong_large_message_is_the_clients_mistake(wrong: str, channel: grpc.Channel) -> None:
    """As a small one is; and the next is answered."""
    asked = request(drawn(1))
    if wrong == "shape":
        asked.inputs[0].shape[:] = [1, COUNT + 1]
    elif wrong == "datatype":
        asked.inputs[0].datatype = "INT64"
    elif wrong == "model":
        asked.model_name = "other"
    elif wrong == "two tensors":
        asked.raw_input_contents.append(b"")
    else:
        asked.inputs.extend([service_pb2.ModelInferRequest.InferInputTensor()] * 5000)
    with pytest.raises(grpc.RpcError) as caught:
        infer(channel, asked)
    expected = grpc.StatusCode.NOT_FOUND if wrong == "model" else grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.code() == expected
    assert is_double(infer(channel, request(drawn(2))), drawn(2))


def test_a_call_that_is_given_up_while_it_is_read_leaves_nothing_behind(channel: grpc.Channel) -> None:
    """Its client goes as soon as it has sent the message; others are answered."""
    call = channel.unary_unary(
        f"{SERVICE}ModelInfer", request_serializer=service_pb2.ModelInferRequest.SerializeToString
    )
    for seed in range(10):
        future = call.future(request(drawn(seed)), timeout=60)
        future.cancel()
    assert is_double(infer(channel, request(drawn(3))), drawn(3))


def test_what_there_is_no_memory_for_may_be_sent_again(service: RunningService, channel: grpc.Channel) -> None:
    """UNAVAILABLE, and no fault of the client's or ours; afterwards it is answered."""
    pid, codes = service.process.pid, set()
    assert is_double(infer(channel, request(drawn(1))), drawn(1))
    for room in (0, 1 << 20, 4 << 20, 8 << 20):
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (size + room, resource.RLIM_INFINITY))
        try:
            infer(channel, request(drawn(1)))
        except grpc.RpcError as error:
            codes.add(error.code())
    resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert codes == {grpc.StatusCode.UNAVAILABLE}
    assert is_double(infer(channel, request(drawn(1))), drawn(1))
