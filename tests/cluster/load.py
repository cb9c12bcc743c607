"""Clients of a service that check what they are answered: on kept HTTP connections, on new ones, and by gRPC."""

from __future__ import annotations

import http.client
import json
import math
import struct
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import grpc
from tritonclient.grpc import service_pb2

_PAUSE_S: Final = 0.005
"""Between two requests of a client: a closed loop would leave a small machine no CPU for what is tested."""
_TIMEOUT_S: Final = 30.0
_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"


WRONG: Final = "wrong answer"
"""How a failure begins that is an answer of status 200, or OK, with other values than were recorded."""


@dataclass(frozen=True)
class Question:
    """What is asked, and the answer that was recorded for it.

    Attributes:
        model: Name of the model, of one input and one output of FP32.
        body: What is posted over HTTP.
        message: The same for gRPC: a ModelInferRequest.
        answer: The values of the output.
    """

    model: str
    body: bytes
    message: bytes
    answer: tuple[float, ...]

    @classmethod
    def golden(cls, bundle: Path, model: str) -> Self:
        """The first golden request of a bundle."""
        body = (bundle / "golden" / "batch-1.request.json").read_bytes()
        recorded = json.loads((bundle / "golden" / "batch-1.response.json").read_bytes())
        (given,) = json.loads(body)["inputs"]
        message = service_pb2.ModelInferRequest(model_name=model)
        tensor = message.inputs.add(name=given["name"], datatype=given["datatype"], shape=given["shape"])
        tensor.contents.fp32_contents.extend(given["data"])
        return cls(model, body, message.SerializeToString(), tuple(recorded["outputs"][0]["data"]))

    def is_answered_by(self, values: Sequence[float]) -> bool:
        """Whether these are the recorded values; a row in a batch differs from one alone by rounding."""
        pairs = zip(values, self.answer, strict=False)
        same = all(math.isclose(value, wanted, rel_tol=1e-4, abs_tol=1e-5) for value, wanted in pairs)
        return len(values) == len(self.answer) and same


class Load:
    """Asks until it is left.

    Args:
        address: Host of the service.
        question: What is asked.
        clients: How many there are of each kind.

    Attributes:
        answered: How many right answers each kind of client got.
        failures: What went wrong, wrong answers included.
    """

    def __init__(self, address: str, question: Question, clients: int = 2) -> None:
        self._address = address
        self._question = question
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.answered: Counter[str] = Counter()
        self.failures: list[str] = []
        kinds: tuple[Callable[[], None], ...] = (self._keep, self._renew, self._call)
        self._threads = [threading.Thread(target=kind, daemon=True) for kind in kinds * clients]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(2 * _TIMEOUT_S)
            assert not thread.is_alive(), "a client got no answer"

    def _keep(self) -> None:
        connection = http.client.HTTPConnection(self._address, 8000, timeout=_TIMEOUT_S)
        while not self._ended.wait(_PAUSE_S):
            self._post(connection, "kept")
        connection.close()

    def _renew(self) -> None:
        while not self._ended.wait(_PAUSE_S):
            connection = http.client.HTTPConnection(self._address, 8000, timeout=_TIMEOUT_S)
            self._post(connection, "new")
            connection.close()

    def _post(self, connection: http.client.HTTPConnection, kind: str) -> None:
        try:
            connection.request("POST", f"/v2/models/{self._question.model}/infer", self._question.body)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._fail(f"{kind}: {error!r}")
            return
        if answer.status == 200:
            self._check(kind, _values_of_json(content))
        else:
            self._fail(f"{kind}: {answer.status} {content[:200]!r}")

    def _call(self) -> None:
        with grpc.insecure_channel(f"{self._address}:8001", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            infer = channel.unary_unary(_INFER)
            while not self._ended.wait(_PAUSE_S):
                try:
                    answer = infer(self._question.message, timeout=_TIMEOUT_S)
                except grpc.RpcError as error:
                    self._fail(f"grpc: {error.code()} {error.details()}")
                else:
                    self._check("grpc", _values(service_pb2.ModelInferResponse.FromString(answer)))

    def _check(self, kind: str, values: Sequence[float]) -> None:
        if not self._question.is_answered_by(values):
            self._fail(f"{WRONG}: {kind}: {values}")
            return
        with self._lock:
            self.answered[kind] += 1

    def _fail(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)


def _values_of_json(content: bytes) -> Sequence[float]:
    """The values of the first output; none, which is a wrong answer, when it has another form."""
    try:
        return tuple(map(float, json.loads(content)["outputs"][0]["data"]))
    except (ValueError, LookupError, TypeError):
        return ()


def _values(answer: service_pb2.ModelInferResponse) -> Sequence[float]:
    """The values of the first output, however they were sent."""
    if answer.raw_output_contents:
        raw = answer.raw_output_contents[0]
        return struct.unpack(f"<{len(raw) // 4}f", raw)
    return list(answer.outputs[0].contents.fp32_contents)
