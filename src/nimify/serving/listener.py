"""The socket that the service listens on, shared by all of its workers."""

from __future__ import annotations

import errno
import socket
from typing import Final

from nimify.errors import EnvironmentProblem

BACKLOG: Final = 2048


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Every worker accepts from this one socket. With a socket for each (SO_REUSEPORT), the kernel would deal
    connections to a worker that is dying, and they would be lost with it.

    Raises:
        EnvironmentProblem: The address cannot be used; says why and what to do.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise EnvironmentProblem(
            f"The host '{host}' cannot be resolved.", remedy="Name an address with --host."
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise EnvironmentProblem(
            _refusal(host, port, error), remedy="Choose another one with --port or --host."
        ) from error
    listener.setblocking(False)
    return listener


def _refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use."
    if error.errno == errno.EACCES:
        return f"Port {port} of {host} needs privileges that this process lacks."
    return f"Cannot listen on port {port} of {host} ({error.strerror})."


def url_of(listener: socket.socket) -> str:
    """The URL that a client on this machine reaches the socket by."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104 - the same
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
