"""`tritonclient.grpc`, unchanged, against every kind of model: each answer equals ONNX Runtime's own, bit for bit."""

from __future__ import annotations

import asyncio
import ctypes
import json
import queue
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import ml_dtypes
import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.http as triton_http
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

from nimify.testing import models

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask

Array = np.ndarray[Any, Any]
Served = Callable[..., "RunningService"]
BF16 = np.dtype(ml_dtypes.bfloat16)
NOT_BATCHING = {"fixed-batch", "baked-batch", "rows-interact", "scalar-output"}
TYPED = {
    "BOOL": "bool_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


@dataclass
class Subject:
    """A served model with everything that a test of it needs."""

    name: str
    client: Any
    session: Any
    metadata: Any
    max_batch_size: int

    def inputs(self, rows: int, *, seed: int = 0) -> dict[str, Array]:
        """Random inputs of so many rows, in the range that the model takes."""
        random = np.random.default_rng(seed)
        return {row.name: _drawn(random, row, rows) for row in self.metadata.inputs}

    def direct(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What ONNX Runtime itself answers."""
        names = [row.name for row in self.metadata.outputs]
        if any(array.dtype == BF16 for array in inputs.values()):
            feeds = {
                name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(a.view("<u2"), 16) for name, a in inputs.items()
            }
            return dict(zip(names, map(_bf16, self.session.run_with_ort_values(names, feeds)), strict=True))
        outputs = self.session.run(names, {name: _as_text(array) for name, array in inputs.items()})
        return dict(zip(names, map(_as_bytes, outputs), strict=True))


def _drawn(random: np.random.Generator, row: Any, rows: int) -> Array:
    shape = [5 if dim == -1 else dim for dim in row.shape]
    if row.shape[0] == -1:
        shape[0] = rows
    if row.datatype == "BYTES":
        return random.choice(np.array([b"alpha", b"beta", "grün".encode(), b""], dtype=object), size=shape)
    if row.datatype.startswith("INT"):
        high = 2 if "mask" in row.name else 100
        return random.integers(0, high, size=shape).astype(triton_to_np_dtype(row.datatype))
    return random.standard_normal(shape).astype(triton_to_np_dtype(row.datatype))


def _bf16(value: Any) -> Array:
    return np.frombuffer(ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes()), BF16).reshape(value.shape())


def _as_text(array: Array) -> Array:
    return np.vectorize(bytes.decode, otypes=[object])(array) if array.dtype.hasobject else array


def _as_bytes(array: Array) -> Array:
    return np.vectorize(str.encode, otypes=[object])(array) if array.dtype.hasobject else array


def raw(inputs: Mapping[str, Array], module: Any = triton) -> list[Any]:
    """The inputs as tritonclient's own, which travel as raw bytes."""
    tensors = []
    for name, array in inputs.items():
        tensor = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def equal(answer: Array, expected: Array) -> bool:
    """Whether two arrays are the same, bit for bit."""
    assert answer.dtype == expected.dtype
    assert answer.shape == expected.shape
    if expected.dtype.hasobject:
        return bool(answer.tolist() == expected.tolist())
    return answer.tobytes() == expected.tobytes()


@pytest.fixture(scope="module")
def subjects(served: Served, make_bundle: Callable[..., Path]) -> Iterator[Callable[[str], Subject]]:
    """A model in service with a client, and the same file in a session of its own."""
    made: dict[str, Subject] = {}

    def subject(kind: str) -> Subject:
        if kind not in made:
            bundle = make_bundle(kind)
            spec = json.loads((bundle / "plan.json").read_bytes())["service"]
            client = triton.InferenceServerClient(served(kind).grpc_address)
            session = ort.InferenceSession(str(bundle / spec["model_file"]), providers=["CPUExecutionProvider"])
            metadata = client.get_model_metadata(spec["name"])
            made[kind] = Subject(spec["name"], client, session, metadata, spec["max_batch_size"])
        return made[kind]

    yield subject
    for subject_ in made.values():
        subject_.client.close()


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    """The client of gRPC itself, connected to the tiny model."""
    with grpc.insecure_channel(served("tiny").grpc_address) as opened:
        yield opened


@pytest.mark.parametrize("kind", models.ALL)
def test_health_and_metadata_are_as_the_model_is(kind: str, subjects: Callable[[str], Subject]) -> None:
    """The client's own checks pass, and names, datatypes and shapes are the file's."""
    subject = subjects(kind)
    client, name = subject.client, subject.name
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(name)
    assert client.is_model_ready(name, "1")
    assert client.get_server_metadata().name == "nimify"
    graph = models.ALL[kind]().graph
    for rows, values in ((subject.metadata.inputs, graph.input), (subject.metadata.outputs, graph.output)):
        assert [row.name for row in rows] == [value.name for value in values]
        for row, value in zip(rows, values, strict=True):
            dims = value.type.tensor_type.shape.dim
            assert list(row.shape) == [-1 if dim.dim_param else dim.dim_value for dim in dims]
    assert (subject.max_batch_size > 0) == (kind not in NOT_BATCHING)
    assert client.get_model_config(name).config.max_batch_size == subject.max_batch_size


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("kind", models.ALL)
def test_raw_answers_are_the_engines_bit_for_bit(kind: str, rows: int, subjects: Callable[[str], Subject]) -> None:
    """At one row, and at four where rows may be merged."""
    subject = subjects(kind)
    inputs = subject.inputs(rows if subject.max_batch_size else 1, seed=rows)
    result = subject.client.infer(subject.name, raw(inputs))
    for name, array in subject.direct(inputs).items():
        assert equal(result.as_numpy(name), array)


@pytest.mark.parametrize("kind", models.ALL)
def test_typed_contents_give_the_same_answers(kind: str, subjects: Callable[[str], Subject]) -> None:
    """Where the datatype has a field of its own; FP16 and BF16 are told that they have none."""
    subject = subjects(kind)
    inputs = subject.inputs(1, seed=7)
    request = service_pb2.ModelInferRequest(model_name=subject.name, id="typed")
    for row in subject.metadata.inputs:
        tensor = request.inputs.add(name=row.name, datatype=row.datatype, shape=inputs[row.name].shape)
        if row.datatype in TYPED:
            getattr(tensor.contents, TYPED[row.datatype]).extend(inputs[row.name].ravel().tolist())
    if not all(row.datatype in TYPED for row in subject.metadata.inputs):
        with pytest.raises(grpc.RpcError, match="raw_input_contents"):
            subject.client._client_stub.ModelInfer(request)
        return
    response = subject.client._client_stub.ModelInfer(request)
    assert (response.id, response.model_name, response.model_version) == ("typed", subject.name, "1")
    result = triton.InferResult(response)
    for name, array in subject.direct(inputs).items():
        assert equal(result.as_numpy(name), array)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_requests_may_be_compressed(algorithm: str, subjects: Callable[[str], Subject]) -> None:
    """Answers come as they are, which every client takes."""
    subject = subjects("digits")
    inputs = subject.inputs(4)
    result = subject.client.infer(subject.name, raw(inputs), compression_algorithm=algorithm)
    assert equal(result.as_numpy("logits"), subject.direct(inputs)["logits"])


def test_outputs_can_be_chosen(subjects: Callable[[str], Subject]) -> None:
    """In the order asked for, and nothing else."""
    subject = subjects("several-outputs")
    inputs = subject.inputs(2)
    wanted = [triton.InferRequestedOutput("best"), triton.InferRequestedOutput("doubled")]
    result = subject.client.infer(subject.name, raw(inputs), outputs=wanted)
    assert [row.name for row in result.get_response().outputs] == ["best", "doubled"]
    expected = subject.direct(inputs)
    assert all(equal(result.as_numpy(name), expected[name]) for name in ("best", "doubled"))


def test_classification_names_the_largest(subjects: Callable[[str], Subject]) -> None:
    """For each row: value and index, the largest first."""
    subject = subjects("digits")
    inputs = subject.inputs(3)
    wanted = [triton.InferRequestedOutput("logits", class_count=2)]
    answer = subject.client.infer(subject.name, raw(inputs), outputs=wanted).as_numpy("logits")
    logits = subject.direct(inputs)["logits"]
    expected = [[f"{row[i]:f}:{i}".encode() for i in np.argsort(-row, kind="stable")[:2]] for row in logits]
    assert answer.tolist() == expected


def test_parameters_priority_and_timeout_are_taken(subjects: Callable[[str], Subject]) -> None:
    """What a client may send along does not stand in the way."""
    subject = subjects("tiny")
    inputs = subject.inputs(1)
    result = subject.client.infer(
        subject.name,
        raw(inputs),
        model_version="1",
        request_id="r-1",
        priority=1,
        timeout=10_000_000,
        client_timeout=10.0,
        parameters={"tenant": "a", "trace": True, "level": 3},
        headers={"x-other": "1", "x-binary-bin": b"\0\1"},
    )
    assert result.get_response().id == "r-1"
    assert equal(result.as_numpy("y"), subject.direct(inputs)["y"])


@pytest.mark.parametrize(
    ("ask", "code", "words"),
    [
        (lambda c: c.get_model_metadata("other"), "NOT_FOUND", "no such model"),
        (lambda c: c.get_model_config("tiny", "9"), "NOT_FOUND", "no such model"),
        (lambda c: c.infer("tiny", raw({"x": np.zeros((1, 5), "<f4")})), "INVALID_ARGUMENT", "The shape of 'x'"),
        (lambda c: c.infer("tiny", raw({"z": np.zeros((1, 4), "<f4")})), "INVALID_ARGUMENT", "'x' is missing"),
        (lambda c: c.infer("tiny", raw({"x": np.zeros((1, 4), "<f8")})), "INVALID_ARGUMENT", "is FP32, not FP64"),
        (lambda c: c.load_model("tiny"), "UNIMPLEMENTED", "not loaded while the service runs"),
        (lambda c: c.unload_model("tiny"), "UNIMPLEMENTED", "not unloaded while the service runs"),
        (lambda c: c.register_system_shared_memory("a", "/a", 1), "UNIMPLEMENTED", "Shared memory is not offered"),
        (lambda c: c.get_trace_settings(), "UNIMPLEMENTED", "when the service starts"),
        (lambda c: c.get_log_settings(), "UNIMPLEMENTED", "when the service starts"),
    ],
)
def test_faults_reach_the_client_in_words(
    ask: Callable[[Any], Any], code: str, words: str, subjects: Callable[[str], Subject]
) -> None:
    """With the status code and the reason."""
    with pytest.raises(InferenceServerException, match=words) as caught:
        ask(subjects("tiny").client)
    assert caught.value.status() == f"StatusCode.{code}"


def test_statistics_and_index_tell_what_http_tells(
    subjects: Callable[[str], Subject], served: Served, ask: Ask
) -> None:
    """One story over both transports."""
    subject = subjects("tiny")
    subject.client.infer(subject.name, raw(subject.inputs(1)))
    over_grpc = subject.client.get_inference_statistics("tiny", as_json=True)["model_stats"][0]
    over_http = ask(served("tiny"), "GET", "/v2/models/tiny/stats").json["model_stats"][0]
    assert int(over_grpc["inference_count"]) == over_http["inference_count"] > 0
    assert int(over_grpc["inference_stats"]["success"]["count"]) == over_http["inference_stats"]["success"]["count"]
    (row,) = subject.client.get_model_repository_index().models
    assert (row.name, row.version, row.state) == ("tiny", "1", "READY")


def test_calls_are_counted_by_method_and_code(subjects: Callable[[str], Subject], served: Served, scrape: Any) -> None:
    """The metrics know them apart."""
    service, client = served("tiny"), subjects("tiny").client
    before = scrape(service)
    client.infer("tiny", raw(subjects("tiny").inputs(1)))
    with pytest.raises(InferenceServerException):
        client.infer("other", raw(subjects("tiny").inputs(1)))
    after = scrape(service)
    for code, name in (("OK", "nim_grpc_calls_total"), ("NOT_FOUND", "nim_grpc_calls_total")):
        assert (
            after.value(name, method="ModelInfer", code=code) == before.value(name, method="ModelInfer", code=code) + 1
        )
    assert after.value("nim_grpc_calls_in_flight") == 0


def test_a_stream_answers_in_order_and_survives_faults(subjects: Callable[[str], Subject]) -> None:
    """Each request with its own answer; a wrong one is answered with the reason, and the next one goes on."""
    subject = subjects("tiny")
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    subject.client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        for number in range(200):
            if number == 100:
                subject.client.async_stream_infer("tiny", raw({"x": np.zeros((1, 5), "<f4")}), request_id="wrong")
            subject.client.async_stream_infer("tiny", raw(subject.inputs(1, seed=number)), request_id=str(number))
        for number in range(200):
            if number == 100:
                _, error = answers.get(timeout=30)
                assert "The shape of 'x'" in str(error)
            result, error = answers.get(timeout=30)
            assert error is None
            assert result.get_response().id == str(number)
            expected = subject.direct(subject.inputs(1, seed=number))["y"]
            np.testing.assert_allclose(result.as_numpy("y"), expected, rtol=1e-5)
    finally:
        subject.client.stop_stream()


def test_classes_have_the_labels_of_top_k(
    start_service: Callable[..., RunningService], make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """Over HTTP and gRPC, as Triton's do that knows them from its configuration."""
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"digit {number}" for number in range(10)))
    bundle = make_bundle("digits", pipeline={"after": [{"top_k": {"k": 3, "labels": str(labels)}}]})
    service = start_service(bundle)
    told = []
    for module, address in ((triton_http, service.url.removeprefix("http://")), (triton, service.grpc_address)):
        with module.InferenceServerClient(address) as client:
            pixels = module.InferInput("pixels", [1, 64], "FP32")
            pixels.set_data_from_numpy(np.ones((1, 64), np.float32))
            wanted = module.InferRequestedOutput("logits", class_count=10)
            told.append(client.infer("digits", [pixels], outputs=[wanted]).as_numpy("logits").tolist())
    assert told[0] == told[1]
    parts = [element.split(b":") for element in told[0][0]]
    assert all(label == b"digit " + index for _, index, label in parts)
    assert sorted(int(index) for _, index, _ in parts) == list(range(10))


def test_another_model_is_not_ready(subjects: Callable[[str], Subject]) -> None:
    """An answer and not an error, as clients take it."""
    client = subjects("tiny").client
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("tiny", "9")
    assert not client.is_model_ready("other")


@pytest.mark.parametrize("asked", [True, False])
def test_the_last_answer_of_a_request_is_marked(asked: bool, subjects: Callable[[str], Subject]) -> None:
    """As clients of models with many answers wait for it, whether or not they ask for it."""
    subject = subjects("tiny")
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    subject.client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        subject.client.async_stream_infer("tiny", raw(subject.inputs(1)), enable_empty_final_response=asked)
        result, error = answers.get(timeout=30)
    finally:
        subject.client.stop_stream()
    assert error is None
    assert result.get_response().parameters["triton_final_response"].bool_param
    assert equal(result.as_numpy("y"), subject.direct(subject.inputs(1))["y"])


def test_the_asyncio_client_gets_its_answers(served: Served, subjects: Callable[[str], Subject]) -> None:
    """64 calls at once on one connection, and a stream."""
    subject, address = subjects("tiny"), served("tiny").grpc_address

    async def work() -> None:
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_ready()
            inputs = [subject.inputs(1, seed=seed) for seed in range(64)]
            results = await asyncio.gather(*(client.infer("tiny", raw(one, triton_aio)) for one in inputs))
            for one, result in zip(inputs, results, strict=True):
                np.testing.assert_allclose(result.as_numpy("y"), subject.direct(one)["y"], rtol=1e-5)

            async def requests() -> Any:
                for one in inputs:
                    yield {"model_name": "tiny", "inputs": raw(one, triton_aio)}

            position = 0
            async for result, error in client.stream_infer(requests()):
                assert error is None
                np.testing.assert_allclose(result.as_numpy("y"), subject.direct(inputs[position])["y"], rtol=1e-5)
                position += 1
            assert position == 64

    asyncio.run(work())


def test_sixteen_clients_get_their_own_answers(served: Served, subjects: Callable[[str], Subject]) -> None:
    """Requests of many connections are merged and parted again, and none gets another one's rows."""
    subject, address = subjects("digits"), served("digits").grpc_address

    def work(thread: int) -> int:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with triton.InferenceServerClient(address, channel_args=options) as client:
            for turn in range(25):
                inputs = subject.inputs(1 + turn % 3, seed=1000 * thread + turn)
                result = client.infer(subject.name, raw(inputs), request_id=f"{thread}-{turn}")
                assert result.get_response().id == f"{thread}-{turn}"
                np.testing.assert_allclose(
                    result.as_numpy("logits"), subject.direct(inputs)["logits"], rtol=1e-4, atol=1e-5
                )
        return 1

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(work, range(16))) == 16


def test_a_long_message_comes_and_goes_whole(
    start_service: Callable[..., RunningService], make_bundle_of: Callable[..., Path]
) -> None:
    """Some 16 MB each way, in many frames and windows."""
    bundle = make_bundle_of("wide", models.identity("FP32", ("batch", "n")), batching={"max_batch_size": 0})
    service = start_service(bundle)
    array = np.random.default_rng(0).standard_normal((1, 4_000_000)).astype("<f4")
    with triton.InferenceServerClient(service.grpc_address) as client:
        metadata = client.get_model_metadata("wide")
        result = client.infer("wide", raw({metadata.inputs[0].name: array}))
        assert equal(result.as_numpy(metadata.outputs[0].name), array)
    assert service.stop() == 0


def test_health_is_checked_and_watched(channel: grpc.Channel) -> None:
    """For the server as a whole and for each service; who asks about another one is told so."""
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "inference.GRPCInferenceService", "grpc.health.v1.Health"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="other"), timeout=10)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


def test_reflection_tells_the_names_on_the_wire(channel: grpc.Channel) -> None:
    """Services, methods and messages are found by the names that clients use, and by no other."""
    database = ProtoReflectionDescriptorDatabase(channel)
    assert set(database.get_services()) == {
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    for name, method in service.methods_by_name.items():
        other = theirs.methods_by_name[name]
        assert method.input_type.full_name == other.input_type.full_name
        assert method.output_type.full_name == other.output_type.full_name
        assert (method.client_streaming, method.server_streaming) == (other.client_streaming, other.server_streaming)
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName("nimify.inference.ModelInferRequest")
