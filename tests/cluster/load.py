"""Clients of a service that count what they are answered: on kept HTTP connections, on new ones, and by gRPC."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

import grpc

_PAUSE_S: Final = 0.005
"""Between two requests of a client: a closed loop would leave a small machine no CPU for what is tested."""
_TIMEOUT_S: Final = 30.0
_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"


class Load:
    """Asks until it is left.

    Args:
        address: Host of the service.
        body: What is posted to the model over HTTP.
        message: A ModelInferRequest, for gRPC.
        clients: How many there are of each kind.
    """

    def __init__(self, address: str, body: bytes, message: bytes, clients: int = 2) -> None:
        self._address = address
        self._body = body
        self._message = message
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
            connection.request("POST", "/v2/models/digits/infer", self._body)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._fail(f"{kind}: {error!r}")
            return
        if answer.status == 200:
            self._count(kind)
        else:
            self._fail(f"{kind}: {answer.status} {content[:200]!r}")

    def _call(self) -> None:
        with grpc.insecure_channel(f"{self._address}:8001", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            infer = channel.unary_unary(_INFER)
            while not self._ended.wait(_PAUSE_S):
                try:
                    infer(self._message, timeout=_TIMEOUT_S)
                except grpc.RpcError as error:
                    self._fail(f"grpc: {error.code()} {error.details()}")
                else:
                    self._count("grpc")

    def _count(self, kind: str) -> None:
        with self._lock:
            self.answered[kind] += 1

    def _fail(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)
