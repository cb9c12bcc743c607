"""A service with manners of its own: it answers as a test tells it to, on a real socket."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@dataclass
class Manners:
    """How the service behaves.

    Attributes:
        answer: The bytes it answers with; nothing, when empty.
        stall_at: Number of the request before which it stalls once, for `stall_s`, as if it had been stopped.
        close: Whether it closes the connection after an answer.
    """

    answer: bytes = OK
    stall_at: int = 0
    stall_s: float = 0.0
    close: bool = False
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def before_answer(self) -> None:
        """Count a request, and stall when it is time; the lock makes everybody wait."""
        with self.lock:
            self.requests += 1
            if self.requests == self.stall_at:
                time.sleep(self.stall_s)


@dataclass
class MannersService:
    """The service and its address."""

    manners: Manners
    url: str


class _Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        manners: Manners = self.server.manners  # type: ignore[attr-defined]
        while self.rfile.readline():
            length = 0
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            self.rfile.read(length)
            manners.before_answer()
            self.wfile.write(manners.answer)
            if manners.close:
                return


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave in the middle are part of the tests."""


@pytest.fixture
def service() -> Iterator[MannersService]:
    """The service; it is ended with the test."""
    manners = Manners()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.manners = manners  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield MannersService(manners, f"http://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
        thread.join()
