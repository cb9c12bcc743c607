"""A client of gRPC that says exactly which frames go over the wire."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import Self

import hpack
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TIMEOUT_S = 60.0


def message(content: bytes, *, flag: int = 0) -> bytes:
    """A message with its prefix."""
    return struct.pack(">BI", flag, len(content)) + content


class Peer:
    """A client that sends frames as they are, and reads those that come back."""

    def __init__(self, address: str, *, preface: bytes | None = None, settings: dict[int, int] | None = None) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
        self._received = b""
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        if preface is None:
            self.send(PREFACE, SettingsFrame(0, settings=settings or {}))
        else:
            self.send(preface)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; again if it is ended already."""
        self._socket.close()

    def send(self, *parts: Frame | bytes) -> bool:
        """Send frames or bytes; false when the service has cut the connection meanwhile."""
        try:
            self._socket.sendall(b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts))
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def headers(self, stream: int, path: str, *more: tuple[str, str], **fields: str) -> HeadersFrame:
        """The frame that begins a call."""
        given = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "a",
            "te": "trailers",
            "content-type": "application/grpc",
            **{name.replace("_", "-"): value for name, value in fields.items()},
        }
        frame = HeadersFrame(stream, self.encoder.encode([*given.items(), *more]))
        frame.flags.add("END_HEADERS")
        return frame

    def call(self, stream: int, path: str, body: bytes, *more: tuple[str, str], **fields: str) -> dict[str, str]:
        """A whole call; the headers and trailers of its answer, or the code of its reset."""
        self.send(self.headers(stream, path, *more, **fields), data(stream, body, end=True))
        return self.ending(stream)

    def frame(self) -> Frame | None:
        """The next frame; `None` when the service ends the connection instead."""
        while len(self._received) < 9 or len(self._received) < 9 + int.from_bytes(self._received[:3]):
            try:
                received = self._socket.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not received:
                return None
            self._received += received
        frame, length = Frame.parse_frame_header(memoryview(self._received[:9]))
        frame.parse_body(memoryview(self._received[9 : 9 + length]))
        self._received = self._received[9 + length :]
        return frame

    def frames(self) -> Iterator[Frame]:
        """Every frame until the connection ends."""
        while (frame := self.frame()) is not None:
            yield frame

    def ending(self, stream: int) -> dict[str, str]:
        """Headers and trailers of a stream, or `{"reset": code}`."""
        fields: dict[str, str] = {}
        for frame in self.frames():
            if isinstance(frame, HeadersFrame):
                decoded = dict(self.decoder.decode(frame.data))
                if frame.stream_id == stream:
                    fields |= {str(name): str(value) for name, value in decoded.items()}
            if frame.stream_id == stream and "END_STREAM" in frame.flags:
                return fields
            if isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
                return {"reset": str(frame.error_code)}
            if isinstance(frame, GoAwayFrame) and frame.error_code:
                return {"goaway": str(frame.error_code)}
        return {"goaway": "end"}

    def ended_with(self) -> int | None:
        """The code with which the service ends the connection; `None` when it says nothing."""
        code = None
        for frame in self.frames():
            if isinstance(frame, GoAwayFrame):
                code = frame.error_code
        return code


def data(stream: int, content: bytes, *, end: bool = False) -> DataFrame:
    """A frame of DATA."""
    frame = DataFrame(stream, content)
    if end:
        frame.flags.add("END_STREAM")
    return frame
