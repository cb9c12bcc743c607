"""Requests that wait: what comes of one whose own timeout passes in the queue; and what of a value that is refused."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.triton.protocol import grpc_wire, http_wire
from tests.triton.protocol.grpc_wire import Input, Parameter
from tests.triton.protocol.http_wire import Call
from tests.triton.protocol.outcome import Outcome, Outcomes
from tritonclient.grpc import service_pb2 as pb

_BUSY: Final = 4
"""Clients that keep the model busy."""
_DEADLINE_S: Final = 120.0


def by_http(address: str) -> Outcomes:
    """What comes over HTTP."""

    def ask(index: int, **parameters: int) -> Outcome:
        row = {"name": "index", "datatype": "INT64", "shape": [2, 1], "data": [index, index]}
        body = json.dumps({"inputs": [row], "parameters": parameters}).encode()
        return http_wire.run(address, {"": Call("POST", "/v2/models/work/infer", body)})[""]

    return _asked(ask)


def by_grpc(address: str) -> Outcomes:
    """What comes over gRPC."""

    def ask(index: int, **parameters: int) -> Outcome:
        request = pb.ModelInferRequest(
            model_name="work",
            inputs=[Input(name="index", datatype="INT64", shape=[2, 1])],
            raw_input_contents=[index.to_bytes(8, "little") * 2],
            parameters={name: Parameter(int64_param=value) for name, value in parameters.items()},
        )
        return grpc_wire.run(address, {"": ("ModelInfer", request)})[""]

    return _asked(ask)


def _asked(ask: Callable[..., Outcome]) -> Outcomes:
    refused = {"a value that the model refuses": ask(5000)}
    with _kept_busy(ask):
        late = _until_it_fails(lambda: ask(1, timeout=1))
    return {**refused, "timeout that passes in the queue": late}


@contextlib.contextmanager
def _kept_busy(ask: Callable[..., Any]) -> Iterator[None]:
    enough = threading.Event()

    def work() -> None:
        while not enough.is_set():
            ask(1)

    threads = [threading.Thread(target=work) for _ in range(_BUSY)]
    for thread in threads:
        thread.start()
    yield
    enough.set()
    for thread in threads:
        thread.join()


def _until_it_fails(ask: Callable[[], Outcome]) -> Outcome:
    """A request that found the queue empty is answered; the next one may wait."""
    deadline_s = time.monotonic() + _DEADLINE_S
    while (outcome := ask())["status"] in {"200", "OK"}:
        assert time.monotonic() < deadline_s, "no request waited"
    return outcome
