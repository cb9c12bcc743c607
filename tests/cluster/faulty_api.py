"""Stands before the API server, passes on what is asked, and does to some requests what it was told to."""

from __future__ import annotations

import json
import re
import select
import socket
import socketserver
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import trustme

SILENCE: Final = "silence"
"""The request is taken, and never answered."""
CUT: Final = "cut"
"""The answer breaks off in the middle, as that of a watch does when its connection is lost."""
_REASONS: Final = {"401": "Unauthorized", "409": "Conflict", "429": "TooManyRequests", "500": "InternalError"}
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Fault:
    """What happens to the first requests of each verb that fit.

    Attributes:
        kind: A status of `_REASONS`, SILENCE or CUT.
        verbs: Whose requests.
        path: What their target holds, as a regular expression.
        times: How many of each verb.
    """

    kind: str
    verbs: tuple[str, ...] = ("GET",)
    path: str = ""
    times: int = 1


class FaultyApi(socketserver.ThreadingTCPServer):
    """A proxy that speaks HTTPS to its clients: over plain HTTP they would keep their tokens to themselves.

    Attributes:
        met: How many requests of which verb a fault really happened to.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, url: str, authority: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.upstream = (str(urlsplit(url).hostname), int(urlsplit(url).port or 443))
        self.trust = ssl.create_default_context(cafile=str(authority))
        self.authority = trustme.CA()
        self._identity = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1").configure_cert(self._identity)
        self.met: Counter[str] = Counter()
        self._fault: Fault | None = None
        self._lock = threading.Lock()

    def get_request(self) -> tuple[ssl.SSLSocket, tuple[str, int]]:
        """A connection; its handshake is left to the thread that serves it."""
        connection, address = super().get_request()
        wrapped = self._identity.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def handle_error(self, *_: object) -> None:
        """Clients that go away are none of the test's business."""

    def begin(self, fault: Fault) -> None:
        """From now on, this happens."""
        with self._lock:
            self._fault = fault

    def verdict(self, verb: str, target: str) -> str:
        """What to do to a request; empty to pass it on."""
        with self._lock:
            fault = self._fault
            if fault is None or verb not in fault.verbs or not re.search(fault.path, target):
                return ""
            if self.met[verb] >= fault.times:
                return ""
            self.met[verb] += 1
            return fault.kind


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
        lines, _, rest = head.partition(_HEAD_END)
        verb, target, _ = lines.split(b"\r\n", 1)[0].decode().split(" ", 2)
        fault = self.server.verdict(verb, target)
        if fault == SILENCE:
            while self.request.recv(65536):
                pass
            return
        if fault and fault != CUT:
            self._refuse(fault, lines, rest)
            return
        if b"\r\nupgrade:" not in lines.lower():
            kept = [line for line in lines.split(b"\r\n") if not line.lower().startswith(b"connection:")]
            lines = b"\r\n".join([*kept, b"Connection: close"])
        with (
            suppress(OSError),
            socket.create_connection(self.server.upstream) as plain,
            self.server.trust.wrap_socket(plain, server_hostname=self.server.upstream[0]) as upstream,
        ):
            upstream.sendall(lines + _HEAD_END + rest)
            if fault == CUT:  # of requests that have no body
                answer = b""
                while _HEAD_END not in answer[:-1] and (data := upstream.recv(65536)):
                    answer += data
                self.request.sendall(answer[: answer.find(_HEAD_END) + len(_HEAD_END) + 1])
            else:
                _pass_on(self.request, upstream)
            _end(self.request, upstream)

    def _refuse(self, status: str, lines: bytes, rest: bytes) -> None:
        """Answer with an error, after all of the request has been read: a reset would lose the answer."""
        length = _LENGTH.search(lines)
        left = (int(length[1]) if length else 0) - len(rest)
        while left > 0 and (data := self.request.recv(65536)):
            left -= len(data)
        self.request.sendall(_error(status))


def _pass_on(one: ssl.SSLSocket, other: ssl.SSLSocket) -> None:
    """Copy both ways to the end of either, in one thread: TLS does not bear to be read and written at once."""
    while True:
        ready = [source for source in (one, other) if source.pending()] or select.select([one, other], [], [])[0]
        for source in ready:
            source.setblocking(False)
            try:
                data = source.recv(65536)
            except ssl.SSLWantReadError:  # a record without data
                continue
            finally:
                source.setblocking(True)
            if not data:
                return
            (other if source is one else one).sendall(data)


def _end(*sockets: socket.socket) -> None:
    """End both directions; an SSLSocket's own `shutdown` would go on in plain text."""
    for one in sockets:
        with suppress(OSError):
            socket.socket.shutdown(one, socket.SHUT_RDWR)


def _error(status: str) -> bytes:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": _REASONS[status],
        "message": f"made up by the test: {_REASONS[status]}",
        "code": int(status),
    }
    content = json.dumps(body).encode()
    more = "Retry-After: 1\r\n" if status == "429" else ""
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content


@contextmanager
def faulty_api(kubeconfig: Path, folder: Path) -> Iterator[tuple[Path, FaultyApi]]:
    """A kubeconfig file that leads through a proxy, which does nothing by itself until it is told to."""
    document = json.loads(kubeconfig.read_text())
    cluster = document["clusters"][0]["cluster"]
    with FaultyApi(cluster["server"], Path(cluster.pop("certificate-authority"))) as server:
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
