"""`tritonclient.http`, unchanged, against every kind of model: each answer equals ONNX Runtime's own, bit for bit."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

from nimify.testing import models

if TYPE_CHECKING:
    from tests.conftest import RunningService
    from tests.service.conftest import Ask

Array = np.ndarray[Any, Any]
Served = Callable[..., "RunningService"]
BF16 = np.dtype(ml_dtypes.bfloat16)


@dataclass
class Subject:
    """A served model with everything that a test of it needs."""

    name: str
    client: Any
    session: Any
    metadata: dict[str, Any]
    max_batch_size: int

    def inputs(self, rows: int, *, seed: int = 0) -> dict[str, Array]:
        """Random inputs of so many rows, in the range that the model takes."""
        random = np.random.default_rng(seed)
        return {
            row["name"]: _drawn(random, row["name"], row["datatype"], _shape(row["shape"], rows))
            for row in self.metadata["inputs"]
        }

    def direct(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What ONNX Runtime itself answers."""
        names = [row["name"] for row in self.metadata["outputs"]]
        if any(array.dtype == BF16 for array in inputs.values()):
            feeds = {
                name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(a.view("<u2"), 16) for name, a in inputs.items()
            }
            return dict(zip(names, map(_bf16, self.session.run_with_ort_values(names, feeds)), strict=True))
        outputs = self.session.run(names, {name: _as_text(array) for name, array in inputs.items()})
        return dict(zip(names, map(_as_bytes, outputs), strict=True))

    def infer(self, inputs: Mapping[str, Array], *, binary_in: bool, binary_out: bool, **options: Any) -> Any:
        """What the service answers."""
        tensors = []
        for name, array in inputs.items():
            tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array, binary_data=binary_in)
            tensors.append(tensor)
        if "outputs" not in options:
            options["outputs"] = [
                triton.InferRequestedOutput(row["name"], binary_data=binary_out) for row in self.metadata["outputs"]
            ]
        return self.client.infer(self.name, tensors, **options)


def _shape(shape: list[int], rows: int) -> list[int]:
    free = [5 if dim == -1 else dim for dim in shape]
    return [rows if shape[0] == -1 else shape[0], *free[1:]]


def _drawn(random: np.random.Generator, name: str, datatype: str, shape: list[int]) -> Array:
    if datatype == "BYTES":
        return random.choice(np.array([b"alpha", b"beta", "grün".encode(), b""], dtype=object), size=shape)
    if datatype.startswith("INT"):
        return random.integers(0, 2 if "mask" in name else 100, size=shape).astype(triton_to_np_dtype(datatype))
    return random.standard_normal(shape).astype(triton_to_np_dtype(datatype))


def _ort_bf16(array: Array) -> Any:
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view("<u2"), 16)


def _bf16(value: Any) -> Array:
    return np.frombuffer(ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes()), BF16).reshape(value.shape())


def _as_text(array: Array) -> Array:
    return np.vectorize(bytes.decode, otypes=[object])(array) if array.dtype.hasobject else array


def _as_bytes(array: Array) -> Array:
    return np.vectorize(str.encode, otypes=[object])(array) if array.dtype.hasobject else array


@pytest.fixture(scope="module")
def subjects(served: Served, make_bundle: Callable[..., Path]) -> Iterator[Callable[[str], Subject]]:
    """A model in service with a client, and the same file in a session of its own."""
    made: dict[str, Subject] = {}

    def subject(kind: str) -> Subject:
        if kind not in made:
            bundle = make_bundle(kind)
            spec = json.loads((bundle / "plan.json").read_bytes())["service"]
            client = triton.InferenceServerClient(f"127.0.0.1:{served(kind).port}", concurrency=16)
            session = ort.InferenceSession(str(bundle / spec["model_file"]), providers=["CPUExecutionProvider"])
            metadata = client.get_model_metadata(spec["name"])
            made[kind] = Subject(spec["name"], client, session, metadata, spec["max_batch_size"])
        return made[kind]

    yield subject
    for subject_ in made.values():
        subject_.client.close()


NOT_BATCHING = {"fixed-batch", "baked-batch", "rows-interact", "scalar-output"}


@pytest.mark.parametrize("kind", models.ALL)
def test_health_and_metadata_are_as_the_model_is(kind: str, subjects: Callable[[str], Subject]) -> None:
    """The client's own checks pass, and names, datatypes and shapes are the file's."""
    subject = subjects(kind)
    client, name = subject.client, subject.name
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(name)
    assert client.is_model_ready(name, "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "nimify"
    assert subject.metadata == client.get_model_metadata(name, "1")
    assert (subject.metadata["name"], subject.metadata["versions"]) == (name, ["1"])
    graph = models.ALL[kind]().graph
    for rows, values in (("inputs", graph.input), ("outputs", graph.output)):
        assert [row["name"] for row in subject.metadata[rows]] == [value.name for value in values]
        for row, value in zip(subject.metadata[rows], values, strict=True):
            dims = value.type.tensor_type.shape.dim
            assert row["shape"] == [-1 if dim.dim_param else dim.dim_value for dim in dims]
    assert (subject.max_batch_size > 0) == (kind not in NOT_BATCHING)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("kind", models.ALL)
def test_binary_answers_are_the_engines_bit_for_bit(kind: str, rows: int, subjects: Callable[[str], Subject]) -> None:
    """At one row, and at four where rows may be merged."""
    subject = subjects(kind)
    if rows > 1 and not subject.max_batch_size:
        rows = 1
    inputs = subject.inputs(rows, seed=rows)
    expected = subject.direct(inputs)
    result = subject.infer(inputs, binary_in=True, binary_out=True)
    for name, array in expected.items():
        answer = result.as_numpy(name)
        assert answer.dtype == array.dtype
        assert answer.shape == array.shape
        assert answer.tolist() == array.tolist() if array.dtype.hasobject else answer.tobytes() == array.tobytes()


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("kind", models.ALL)
def test_json_answers_are_the_engines_exactly(kind: str, rows: int, subjects: Callable[[str], Subject]) -> None:
    """Floats are written so that reading them gives back the same ones."""
    subject = subjects(kind)
    if rows > 1 and not subject.max_batch_size:
        rows = 1
    inputs = subject.inputs(rows, seed=10 + rows)
    expected = subject.direct(inputs)
    result = subject.infer(inputs, binary_in=kind == "bf16", binary_out=False)
    for name, array in expected.items():
        row = result.get_output(name)
        assert row["shape"] == list(array.shape)
        given = row["data"]
        if array.dtype.hasobject:
            assert given == [text.decode() for text in array.ravel().tolist()]
        else:
            assert np.array(given).astype(array.dtype).tobytes() == array.tobytes()


def test_the_request_id_comes_back(subjects: Callable[[str], Subject]) -> None:
    """And there is none where none was sent."""
    subject = subjects("tiny")
    inputs = subject.inputs(1)
    named = subject.infer(inputs, binary_in=True, binary_out=True, request_id="r-1").get_response()
    assert named["id"] == "r-1"
    assert "id" not in subject.infer(inputs, binary_in=True, binary_out=True).get_response()


def test_outputs_can_be_chosen_and_mixed(subjects: Callable[[str], Subject]) -> None:
    """In the order asked for, each in its own form, and nothing else."""
    subject = subjects("several-outputs")
    inputs = subject.inputs(2)
    wanted = [
        triton.InferRequestedOutput("best", binary_data=False),
        triton.InferRequestedOutput("doubled", binary_data=True),
    ]
    result = subject.infer(inputs, binary_in=True, binary_out=True, outputs=wanted)
    assert [row["name"] for row in result.get_response()["outputs"]] == ["best", "doubled"]
    assert result.as_numpy("total") is None
    expected = subject.direct(inputs)
    assert result.as_numpy("best").tolist() == expected["best"].tolist()
    assert result.as_numpy("doubled").tobytes() == expected["doubled"].tobytes()


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_no_chosen_output_gives_all(binary: bool, subjects: Callable[[str], Subject]) -> None:
    """As raw bytes, unless the client asks for JSON."""
    subject = subjects("several-outputs")
    inputs = subject.inputs(1)
    outputs = None if binary else [triton.InferRequestedOutput(n, binary_data=False) for n in subject.direct(inputs)]
    result = subject.infer(inputs, binary_in=True, binary_out=binary, outputs=outputs)
    for name, array in subject.direct(inputs).items():
        assert result.as_numpy(name).tolist() == array.tolist()


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_classification_names_the_largest(binary: bool, subjects: Callable[[str], Subject]) -> None:
    """For each row: value and index, the largest first."""
    subject = subjects("digits")
    inputs = subject.inputs(3)
    wanted = [triton.InferRequestedOutput("logits", binary_data=binary, class_count=2)]
    answer = subject.infer(inputs, binary_in=True, binary_out=True, outputs=wanted).as_numpy("logits")
    logits = subject.direct(inputs)["logits"]
    expected = [[f"{row[i]:f}:{i}" for i in np.argsort(-row, kind="stable")[:2]] for row in logits]
    assert [[bytes(text).decode() if binary else text for text in row] for row in answer.tolist()] == expected


def test_parameters_priority_and_timeout_are_taken(subjects: Callable[[str], Subject]) -> None:
    """What a client may send along does not stand in the way."""
    subject = subjects("tiny")
    inputs = subject.inputs(1)
    result = subject.infer(
        inputs,
        binary_in=True,
        binary_out=True,
        model_version="1",
        priority=1,
        timeout=10_000_000,
        parameters={"tenant": "a", "trace": True, "level": 3},
        headers={"X-Other": "1"},
        query_params={"q": 1},
    )
    assert result.as_numpy("y").tobytes() == subject.direct(inputs)["y"].tobytes()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_answer_may_be_asked_for_and_is_not_forced(
    algorithm: str, subjects: Callable[[str], Subject]
) -> None:
    """Answers come as they are, which every client takes."""
    subject = subjects("tiny")
    inputs = subject.inputs(1)
    result = subject.infer(inputs, binary_in=True, binary_out=True, response_compression_algorithm=algorithm)
    assert result.as_numpy("y").tobytes() == subject.direct(inputs)["y"].tobytes()


def test_faults_reach_the_client_in_words(subjects: Callable[[str], Subject]) -> None:
    """With the status and the reason."""
    subject = subjects("tiny")
    with pytest.raises(InferenceServerException, match="The shape of 'x' must be") as caught:
        subject.infer({"x": np.zeros((1, 5), "<f4")}, binary_in=True, binary_out=True)
    assert caught.value.status() == "400"


@pytest.mark.parametrize("rows", [1, 3])
def test_a_raw_request_is_the_only_input(rows: int, served: Served, ask: Ask) -> None:
    """With a header length of 0 the body is the tensor: one row where rows may be merged, and nothing else fits."""
    raw = np.arange(4 * rows, dtype="<f4").tobytes()
    headers = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
    answer = ask(served("tiny"), "POST", "/v2/models/tiny/infer", raw, headers)
    if rows > 1:
        assert answer.status == 400
        return
    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.body[:length])["outputs"][0]["shape"] == [1, 4]
    assert np.frombuffer(answer.body[length:], "<f4").tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("word", [b"beta", b"", "grün".encode()])
def test_a_raw_request_of_text_is_one_element(word: bytes, served: Served, ask: Ask) -> None:
    """Without a length before it."""
    headers = {"Inference-Header-Content-Length": "0"}
    answer = ask(served("strings"), "POST", "/v2/models/strings/infer", word, headers)
    length = int(answer.headers["inference-header-content-length"])
    code, echo = json.loads(answer.body[:length])["outputs"]
    assert (code["shape"], echo["shape"]) == ([1, 1], [1, 1])
    assert answer.body[length + 8 :] == len(word).to_bytes(4, "little") + word


@pytest.mark.parametrize("kind", ["tiny", "digits", "text"])
def test_sixteen_threads_get_their_own_answers(kind: str, served: Served, subjects: Callable[[str], Subject]) -> None:
    """Requests are merged and parted again, and none gets another one's rows."""
    subject = subjects(kind)
    port = served(kind).port

    def work(thread: int) -> int:
        with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
            own = Subject(subject.name, client, subject.session, subject.metadata, subject.max_batch_size)
            for turn in range(25):
                inputs = own.inputs(1 + turn % 3, seed=1000 * thread + turn)
                result = own.infer(inputs, binary_in=turn % 2 == 0, binary_out=True, request_id=f"{thread}-{turn}")
                assert result.get_response()["id"] == f"{thread}-{turn}"
                for name, array in own.direct(inputs).items():
                    # Alone or merged, an engine may sum in another order; another one's answer is far off.
                    np.testing.assert_allclose(result.as_numpy(name), array, rtol=1e-4, atol=1e-5)
        return 1

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(work, range(16))) == 16
