"""Connections from a listening socket to protocols, over TLS where the service has a certificate.

The event loop's own TLS server takes one context for ever, and shows a connection to its protocol only when the
handshake is over, so nothing could bound how many strangers are in the middle of one. Here each connection takes the
context of the day, handshakes have a deadline and a number that they cannot exceed, and a few are begun in each turn of
the event loop, so that a flood of them cannot hold up those who are through.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Final

from nimify.serving.listener import BACKLOG
from nimify.serving.logs import Log
from nimify.serving.tls import ServerTls

MAX_HANDSHAKES: Final = 1024
"""Handshakes in progress. One more ends the oldest: real ones take a moment, and those that idle are the oldest."""
_BEGUN_PER_TURN: Final = 4
"""A handshake costs up to a millisecond of the event loop's time; who is not accepted yet waits in the backlog."""
_PAUSE_S: Final = 0.25
"""How long nothing is accepted when the system has no descriptor or memory left: trying on would only spin."""

ProtocolFactory = Callable[[], asyncio.Protocol]


class Acceptor:
    """Accepts connections on one socket.

    Args:
        factory: Makes the protocol of a connection.
        tls: What to speak TLS with; `None` for plain text.
        protocols: What may be spoken inside TLS (ALPN), the preferred one first.
        handshake_timeout_s: How long a handshake may take.
    """

    def __init__(
        self,
        factory: ProtocolFactory,
        *,
        tls: ServerTls | None,
        protocols: Sequence[str],
        handshake_timeout_s: float,
        log: Log,
    ) -> None:
        self._factory = factory
        self._tls = tls
        self._protocols = tuple(protocols)
        self._timeout_s = handshake_timeout_s
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._listener: socket.socket | None = None
        self._handshakes: dict[asyncio.Task[None], None] = {}

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a bound socket, which is ours from now on."""
        if self._tls is None:
            self._server = await self._loop.create_server(self._factory, sock=listener, backlog=BACKLOG)
            return
        self._listener = listener
        self._loop.add_reader(listener, self._accept, listener, self._tls)

    def close(self) -> None:
        """Accept no more, and end the handshakes in progress."""
        if self._server is not None:
            self._server.close()
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for handshake in self._handshakes:
            handshake.cancel()

    def _accept(self, listener: socket.socket, tls: ServerTls) -> None:
        for _ in range(_BEGUN_PER_TURN):
            try:
                connection, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # nobody is left, another worker was quicker, or the client has gone
            except OSError as error:
                self._pause(listener, tls, error)
                return
            connection.setblocking(False)
            if len(self._handshakes) >= MAX_HANDSHAKES:
                next(iter(self._handshakes)).cancel()
            handshake = self._loop.create_task(self._shake_hands(connection, tls))
            self._handshakes[handshake] = None
            handshake.add_done_callback(self._forget)

    def _forget(self, handshake: asyncio.Task[None]) -> None:
        self._handshakes.pop(handshake, None)

    async def _shake_hands(self, connection: socket.socket, tls: ServerTls) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._factory,
                connection,
                ssl=tls.context(self._protocols),
                ssl_handshake_timeout=self._timeout_s,
            )
        except (OSError, asyncio.CancelledError):
            # No TLS, no certificate that we know, too slow, or gone: nobody is there to be told.
            connection.close()

    def _pause(self, listener: socket.socket, tls: ServerTls, error: OSError) -> None:
        self._log.warning("cannot accept connections for a moment", reason=error.strerror)
        self._loop.remove_reader(listener)
        self._loop.call_later(_PAUSE_S, self._resume, listener, tls)

    def _resume(self, listener: socket.socket, tls: ServerTls) -> None:
        if self._listener is listener:
            self._loop.add_reader(listener, self._accept, listener, tls)
