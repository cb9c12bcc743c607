"""What must be so after every case: an answer or an end, no fault of the service's, and the next client is answered."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import hpack
from tests.service.fuzz.campaign import Case
from tests.service.fuzz.grpc_cases import GOOD
from tests.service.http2_peer import PREFACE, Peer, message

from nimify.serving.grpc import frames
from nimify.serving.grpc.frames import ErrorCode

if TYPE_CHECKING:
    from tests.conftest import RunningService

HANG_S: Final = 20.0
"""Longer than any deadline of the service that is attacked."""
_BRIEFLY_S: Final = 0.02
_DOCUMENTED: Final = {b"503", b"504"}
"""Server errors that mean what the documentation says: busy, and too late."""
_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
_NEVER: Final = {"2", "13"}
"""UNKNOWN and INTERNAL."""
_PROBE: Final = b"are you?"


@dataclass
class Health:
    """What a service is like beside its answers: its log, and whether an honest client is answered."""

    service: RunningService
    _log_read: int = field(default=0, init=False)

    def check(self) -> None:
        """See to it that nothing has gone wrong unseen."""
        assert self.service.process.poll() is None, "the service has ended"
        with self.service.log.open("rb") as log:
            log.seek(self._log_read)
            news = log.read()
        self._log_read += len(news)
        assert b"Traceback" not in news, news.decode()


class HttpJudge:
    """Sends a case to the HTTP port and reads until the service ends the connection."""

    def __init__(self, service: RunningService) -> None:
        self._health = Health(service)
        self._port = service.port
        self._last: deque[Case] = deque(maxlen=50)

    def __call__(self, case: Case) -> None:
        """Send a case and judge what comes back."""
        self._last.append(case)
        with socket.create_connection(("127.0.0.1", self._port), timeout=HANG_S) as wire:
            _send(wire, case)
            with suppress(OSError):
                wire.shutdown(socket.SHUT_WR)
            _judge_responses(_all_of(wire))
        self._ask_honestly()
        self._health.check()

    def wait_out(self) -> None:
        """Send the last cases again and then nothing, side by side: each connection has an end all the same."""
        wires = [socket.create_connection(("127.0.0.1", self._port), timeout=HANG_S) for _ in self._last]
        try:
            for wire, case in zip(wires, self._last, strict=True):
                _send(wire, case)
            for wire in wires:
                _judge_responses(_all_of(wire))
        finally:
            for wire in wires:
                wire.close()

    def _ask_honestly(self) -> None:
        honest = http.client.HTTPConnection("127.0.0.1", self._port, timeout=HANG_S)
        honest.request("POST", "/v1/infer", json.dumps({"inputs": {"x": [[1, 2, 3]], "words": [["a", "b"]]}}))
        response = honest.getresponse()
        answer = response.read()
        honest.close()
        assert response.status == 200, answer
        assert json.loads(answer)["outputs"]["y"] == [[2, 4, 6]], answer


def _send(wire: socket.socket, case: Case) -> None:
    with suppress(OSError):  # the service may have ended the connection already
        for piece in case.pieces:
            wire.sendall(piece)


def _all_of(wire: socket.socket) -> bytes:
    received = bytearray()
    try:
        while data := wire.recv(1 << 16):
            received += data
    except TimeoutError:
        raise AssertionError(f"no end of the connection in {HANG_S} s; so far {bytes(received[:500])!r}") from None
    except OSError:
        pass
    return bytes(received)


def _judge_responses(received: bytes) -> None:
    position = 0
    while position < len(received):
        head, separator, _ = received[position:].partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.1 ([1-5]\d\d) ", head)
        assert status, f"no response: {received[position : position + 200]!r}"
        assert separator, f"half a response: {head!r}"
        assert status[1] < b"500" or status[1] in _DOCUMENTED, received[position : position + 500]
        position += len(head) + 4
        length = re.search(rb"\r\ncontent-length: (\d+)", head)
        if length and not received[position:].startswith(b"HTTP/1.1 "):  # otherwise an answer to HEAD
            position = min(position + int(length[1]), len(received))


class GrpcJudge:
    """Sends a case to the gRPC port; then a ping must be answered, unless the case left the service waiting."""

    def __init__(self, service: RunningService) -> None:
        self._health = Health(service)
        self._address = service.grpc_address

    def __call__(self, case: Case) -> None:
        """Send a case and judge what comes back."""
        host, _, port = self._address.rpartition(":")
        waits = _leaves_waiting(b"".join(case.pieces))
        with socket.create_connection((host, int(port)), timeout=HANG_S) as wire:
            wire.settimeout(_BRIEFLY_S if waits else HANG_S)
            _send(wire, Case(case.surface, (*case.pieces, frames.frame(frames.PING, 0, 0, _PROBE))))
            _judge_frames(wire, waits=waits)
        with Peer(self._address) as honest:
            answer = honest.call(1, _INFER, message(GOOD.SerializeToString()))
        assert answer.get("grpc-status") == "0", answer
        self._health.check()

    def wait_out(self) -> None:
        """Nothing: a connection of gRPC may be as long as its client likes."""


def _leaves_waiting(sent: bytes) -> bool:
    """Whether the bytes end amid a frame or a block of headers, so that a ping behind them is not seen as one."""
    if not sent.startswith(PREFACE):
        return PREFACE.startswith(sent)
    position, in_headers = len(PREFACE), False
    while len(sent) - position >= frames.HEAD_BYTES:
        length, kind, flags, _ = frames.read_head(sent, position)
        position += frames.HEAD_BYTES + length
        if kind in {frames.HEADERS, frames.CONTINUATION}:
            in_headers = not flags & frames.END_HEADERS
    return position != len(sent) or in_headers


def _judge_frames(wire: socket.socket, *, waits: bool) -> None:
    """Read until the ping is answered or the connection ends, and judge each frame."""
    decoder = hpack.Decoder()
    try:
        while (frame := _frame_of(wire)) is not None:
            kind, flags, payload = frame
            if kind == frames.PING and flags & frames.ACK and payload == _PROBE:
                return
            if kind == frames.HEADERS:  # the service never splits or pads them
                fields = {str(name): str(value) for name, value in decoder.decode(payload)}
                assert fields.get("grpc-status") not in _NEVER, fields
                assert not fields.get(":status", "").startswith("5"), fields
            elif kind in {frames.RST_STREAM, frames.GOAWAY}:
                code = frames.read_word(payload if kind == frames.RST_STREAM else payload[4:])
                assert code != ErrorCode.INTERNAL_ERROR, payload
    except TimeoutError:
        assert waits, f"neither an answer to a ping nor an end of the connection in {HANG_S} s"
    except ConnectionError:
        pass  # cut, as somebody who goes on sending may be


def _frame_of(wire: socket.socket) -> tuple[int, int, bytes] | None:
    head = _exactly(wire, frames.HEAD_BYTES)
    if head is None:
        return None
    length, kind, flags, _ = frames.read_head(head, 0)
    payload = _exactly(wire, length)
    assert payload is not None, "half a frame"
    return kind, flags, payload


def _exactly(wire: socket.socket, size: int) -> bytes | None:
    """So many bytes; `None` when the connection ends before the first of them."""
    received = b""
    while len(received) < size:
        data = wire.recv(size - len(received))
        if not data:
            assert not received, "half a frame"
            return None
        received += data
    return received
