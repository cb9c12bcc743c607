"""The socket that the service listens on, shared by all of its workers."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

from nimify.errors import EnvironmentProblem

BACKLOG: Final = 2048
_FIRST_PASSED: Final = 3
"""The number of the first descriptor that is passed, by the convention of systemd's socket activation."""
READY: Final = "ready"
"""The name of a socket that listens to nobody: by it, a service tells who started it that it is ready."""


def passed(name: str) -> socket.socket | None:
    """A listening socket that whoever started this process opened for it; `None` when there is none of that name.

    This is the contract of systemd's socket activation: LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. The socket outlives
    the process, so connections wait in its queue while one process takes over from another.

    Args:
        name: What the socket is called; one that came without a name counts as `http`.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    names = [given or "http" for given in os.environ.get("LISTEN_FDNAMES", "").split(":")]
    if name not in names or names.index(name) >= int(os.environ.get("LISTEN_FDS", "0")):
        return None
    listener = socket.socket(fileno=_FIRST_PASSED + names.index(name))
    listener.setblocking(False)
    os.set_inheritable(listener.fileno(), False)
    return listener


def bind(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """A listening TCP socket.

    Every worker accepts from this one socket. With a socket for each (SO_REUSEPORT), the kernel would deal
    connections to a worker that is dying, and they would be lost with it.

    Args:
        host: The address to listen on.
        port: The port; 0 for any free one.
        option: What chooses another port, for messages.

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
            _refusal(host, port, error), remedy=f"Choose another one with {option} or --host."
        ) from error
    listener.setblocking(False)
    return listener


def _refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use."
    if error.errno == errno.EACCES:
        return f"Port {port} of {host} needs privileges that this process lacks."
    return f"Cannot listen on port {port} of {host} ({error.strerror})."


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """The URL that a client on this machine reaches the socket by."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104 - the same
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
