"""Stands before the API server, passes on what is asked, and answers some requests itself, with an error."""

from __future__ import annotations

import json
import random
import socket
import socketserver
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import trustme

_REASONS: Final = {409: "Conflict", 429: "TooManyRequests", 500: "InternalError"}
_HEAD_END: Final = b"\r\n\r\n"


class FaultyApi(socketserver.ThreadingTCPServer):
    """A proxy that speaks HTTPS to its clients: over plain HTTP they would keep their tokens to themselves.

    Attributes:
        faults: How often which status was made up.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, url: str, authority: Path, statuses: tuple[int, ...], share: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.upstream = (str(urlsplit(url).hostname), int(urlsplit(url).port or 443))
        self.trust = ssl.create_default_context(cafile=str(authority))
        self.authority = trustme.CA()
        self._identity = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1").configure_cert(self._identity)
        self.faults: Counter[int] = Counter()
        self._statuses = statuses
        self._share = share
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def get_request(self) -> tuple[ssl.SSLSocket, tuple[str, int]]:
        """A connection; its handshake is left to the thread that serves it."""
        connection, address = super().get_request()
        wrapped = self._identity.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def verdict(self, method: str) -> int:
        """The status to make up for a request; 0 to pass it on. Only what writes can conflict."""
        with self._lock:
            if self._random.random() >= self._share:
                return 0
            fitting = [status for status in self._statuses if status != 409 or method in {"PUT", "PATCH"}]
            status = self._random.choice(fitting) if fitting else 0
            self.faults[status] += 1
            return status


class _Connection(socketserver.BaseRequestHandler):
    """One request: what follows it goes through as it is, so that streams and upgrades work."""

    server: FaultyApi

    def handle(self) -> None:
        head = b""
        while _HEAD_END not in head:
            data = self.request.recv(65536)
            if not data:
                return
            head += data
        if status := self.server.verdict(head.split(b" ", 1)[0].decode()):
            self.request.sendall(_fault(status))
            return
        lines, _, rest = head.partition(_HEAD_END)
        if b"\r\nupgrade:" not in lines.lower():
            kept = [line for line in lines.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            lines = b"\r\n".join([*kept, b"Connection: close"])
        with (
            suppress(OSError),
            socket.create_connection(self.server.upstream) as plain,
            self.server.trust.wrap_socket(plain, server_hostname=self.server.upstream[0]) as upstream,
        ):
            upstream.sendall(lines + _HEAD_END + rest)
            onward = threading.Thread(target=_copy, args=(self.request, upstream), daemon=True)
            onward.start()
            _copy(upstream, self.request)
            onward.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy to the end of either, and end both; an SSLSocket's own `shutdown` would go on in plain text."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            socket.socket.shutdown(end, socket.SHUT_RDWR)


def _fault(status: int) -> bytes:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": _REASONS[status],
        "message": f"made up by the test: {_REASONS[status]}",
        "code": status,
    }
    content = json.dumps(body).encode()
    more = "Retry-After: 1\r\n" if status == 429 else ""
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content


@contextmanager
def faulty_api(
    kubeconfig: Path, folder: Path, *, statuses: tuple[int, ...], share: float, seed: int
) -> Iterator[tuple[Path, FaultyApi]]:
    """A kubeconfig file that leads through a proxy which makes up a share of the answers."""
    document = json.loads(kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    with FaultyApi(cluster["server"], Path(cluster.pop("certificate-authority")), statuses, share, seed) as server:
        authority = folder / "faulty.crt"
        server.authority.cert_pem.write_to_path(authority)
        cluster |= {"server": f"https://127.0.0.1:{server.server_address[1]}", "certificate-authority": str(authority)}
        path = folder / "faulty.kubeconfig"
        path.write_text(json.dumps(document))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield path, server
        server.shutdown()
        thread.join()
