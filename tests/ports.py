"""Ports for programs that must be told theirs, because they cannot say which one they took."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from typing import Final

_BELOW_EPHEMERAL: Final = range(20_000, 32_000)


def free_port() -> int:
    """A TCP port that nobody listens on.

    It is none of those that Linux gives to whoever asks for any one (from 32768), so nobody gets it by chance before
    the program that it is for has come so far.
    """
    while True:
        port = secrets.choice(_BELOW_EPHEMERAL)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
