"""What an image asks itself: `python -m nimify.serving.probe`, without any other program in the container.

    python -m nimify.serving.probe          is the service ready? Ends with 0 or 1: the image's HEALTHCHECK
    python -m nimify.serving.probe relay    join standard input and output to the service's HTTP port
    python -m nimify.serving.probe memory   the most memory that the container's processes had resident, in bytes

The relay lets `nimify build` talk to a container that has no network at all.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from nimify.errors import ConfigError
from nimify.serving.paths import READY_PATH
from nimify.serving.platform import Platform, platform_of, port_variables, started_with_serve
from nimify.serving.ports import HTTP_PORT

_HOST: Final = "127.0.0.1"
_TIMEOUT_S: Final = 4.0
_CHUNK: Final = 1 << 16
_FIRST_PROCESS: Final = Path("/proc/1/cmdline")
"""In a container, the service with its arguments."""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Ask once, or relay until one side is done; the status of the process."""
    if list(arguments) == ["memory"]:
        sys.stdout.write(f"{peak_memory()}\n")
        return 0
    port = _port(environment)
    if list(arguments) == ["relay"]:
        return _relay(port, sys.stdin.buffer, sys.stdout.buffer)
    mode = environment.get("NIM_SSL_MODE", "").strip().upper()
    return 0 if is_ready(port, mode) else 1


def is_ready(port: int, tls_mode: str = "") -> bool:
    """Whether the service on this machine says that it is ready.

    Args:
        port: Its HTTP port.
        tls_mode: The value of NIM_SSL_MODE. Who asks itself need not check a certificate; where a client would have to
            show one, an open port is all that can be seen.
    """
    try:
        if tls_mode == "MTLS":
            socket.create_connection((_HOST, port), _TIMEOUT_S).close()
            return True
        connection = _connection(port, secure=tls_mode == "TLS")
        try:
            connection.request("GET", READY_PATH)
            # Where health is behind API keys, an answer is all that can be seen without one.
            return connection.getresponse().status in {http.client.OK, http.client.UNAUTHORIZED}
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False


def peak_memory() -> int:
    """The peaks of every other process here, added up, in bytes."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        if status.parent.name == str(os.getpid()):
            continue
        with suppress(OSError, ValueError):  # it ended meanwhile, or is not ours to see
            text = status.read_text(encoding="ascii", errors="replace")
            total += sum(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("VmHWM:"))
    return total


def _connection(port: int, *, secure: bool) -> http.client.HTTPConnection:
    if not secure:
        return http.client.HTTPConnection(_HOST, port, timeout=_TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(_HOST, port, timeout=_TIMEOUT_S, context=context)


def _port(environment: Mapping[str, str]) -> int:
    platform = _platform(environment)
    for variable in port_variables(platform):
        text = environment.get(variable, "").strip()
        if text.isascii() and text.isdigit():
            return int(text)
    return HTTP_PORT if platform is None else platform.port


def _platform(environment: Mapping[str, str]) -> Platform | None:
    """The platform, as the service beside us sees it."""
    with suppress(OSError):
        if _FIRST_PROCESS.read_bytes().endswith(b"\0nimify.serving\0serve\0"):
            environment = started_with_serve(environment)
    try:
        return platform_of(environment)
    except ConfigError:
        return None  # which the service has refused to start with


def _relay(port: int, source: BinaryIO, target: BinaryIO) -> int:
    try:
        connection = socket.create_connection((_HOST, port), _TIMEOUT_S)
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        return 1
    connection.settimeout(None)
    threading.Thread(target=_send, args=(source, connection), daemon=True).start()
    try:
        while chunk := connection.recv(_CHUNK):
            target.write(chunk)
            target.flush()
    except OSError:
        return 1
    finally:
        connection.close()
    return 0


def _send(source: BinaryIO, connection: socket.socket) -> None:
    """Pass on what comes, and its end: the service answers what it was asked, and closes the connection."""
    with suppress(OSError):
        while chunk := source.read1(_CHUNK):  # type: ignore[attr-defined]  # the buffer under standard input has it
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    # Without joining the thread: it may wait for input that never comes.
    code = main(sys.argv[1:], os.environ)
    sys.stdout.flush()
    os._exit(code)
