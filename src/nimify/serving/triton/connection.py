"""HTTP/1.1 to Triton: one connection that is kept, with one request on it at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import httptools

from nimify.serving.triton.settings import LOOPBACK

_LENGTH_HEADER: Final = b"inference-header-content-length"


class ConnectionGone(Exception):
    """Triton closed the connection, or cannot be reached: it has ended, or is about to."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response of Triton.

    Attributes:
        head_length: Length of the JSON part of the body, as Triton gives it; `None` when all of it is.
    """

    status: int
    body: bytes
    head_length: int | None


Done = Callable[[Reply | None], None]
"""Takes the response, or `None` when the connection was lost before it was whole."""


class TritonConnection(asyncio.Protocol):
    """A connection that is open."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._done: Done | None = None
        self._head_length: int | None = None
        self._reset()

    @classmethod
    async def open(cls, port: int) -> TritonConnection:
        """Connect to a Triton on this machine.

        Raises:
            ConnectionGone: Nobody listens there.
        """
        try:
            _, connection = await asyncio.get_running_loop().create_connection(cls, LOOPBACK, port)
        except OSError as error:
            raise ConnectionGone from error
        return connection

    @property
    def usable(self) -> bool:
        """Whether the next request can be sent on it."""
        return self._transport is not None and self._done is None

    def send(self, parts: Sequence[bytes | memoryview], done: Done) -> None:
        """Send a request; `done` is called once."""
        if self._transport is None:
            done(None)
            return
        self._done = done
        self._transport.writelines(parts)

    async def get(self, path: str) -> Reply:
        """Ask for something.

        Raises:
            ConnectionGone: There was no answer.
        """
        future: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()

        def done(reply: Reply | None) -> None:
            if not future.done():  # whoever asked may have given up
                future.set_result(reply)

        self.send([b"GET %s HTTP/1.1\r\nhost: triton\r\n\r\n" % path.encode()], done)
        reply = await future
        if reply is None:
            raise ConnectionGone
        return reply

    def close(self) -> None:
        """End the connection."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        self._finish(None)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came; called by the parser."""
        if name.lower() == _LENGTH_HEADER:
            self._head_length = int(value)

    def on_body(self, body: bytes) -> None:
        """A piece of the body came; called by the parser."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The response is whole; called by the parser."""
        if not self._parser.should_keep_alive():
            self.close()
        status = self._parser.get_status_code()
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        reply = Reply(status, body, self._head_length)
        self._reset()
        self._finish(reply)

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._head_length = None

    def _finish(self, reply: Reply | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(reply)
