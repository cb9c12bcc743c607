"""What clients and machines do to a service while it works, one piece of it a second."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Protocol

from nimify.serving.grpc import frames

_HEAD: Final = b"POST /v1/infer HTTP/1.1\r\nHost: a\r\n"
_NONSENSE: Final = [
    b"\0\1\2\3\r\n\r\n",
    _HEAD + b"Content-Length: -1\r\n\r\n",
    _HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    _HEAD + b"Content-Length: 1\r\n\r\n{",
    _HEAD + b'Content-Length: 23\r\n\r\n{"inputs":{"x":[[[1]]]}}',
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
]
_KILL_EVERY_S: Final = 15.0
"""Workers that die more often are replaced less and less often."""


@dataclass
class Victim:
    """A service that all is done to.

    Attributes:
        pid: Of the supervisor.
    """

    pid: int
    port: int
    grpc_port: int
    workers: int
    last_kill_s: float = 0.0

    def processes(self) -> list[int]:
        """The supervisor, and the workers that live."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def memory(self) -> int:
        """Bytes that its processes have in memory; what they share counts once."""
        return sum(_pss_bytes(pid) for pid in self.processes())

    def descriptors(self) -> int:
        """File descriptors that its processes have open."""
        return sum(1 for pid in self.processes() for _ in Path(f"/proc/{pid}/fd").iterdir())


def _pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


class Mischief(Protocol):
    """One kind of it."""

    name: str

    def do(self, victim: Victim, random: Random) -> bool:
        """Do it, if it is time for it; whether it was."""
        ...


class KillsWorkers:
    """Kills a worker."""

    name = "worker killed"

    def do(self, victim: Victim, random: Random) -> bool:
        """See `Mischief.do`."""
        workers = victim.processes()[1:]
        if len(workers) < victim.workers or time.monotonic() < victim.last_kill_s + _KILL_EVERY_S:
            return False
        victim.last_kill_s = time.monotonic()
        os.kill(random.choice(workers), signal.SIGKILL)
        return True


class IsSlow:
    """Opens connections, says half of something, and leaves a second later, or waits until it is cut off."""

    name = "slow clients"

    def __init__(self) -> None:
        self._left: list[socket.socket] = []

    def do(self, victim: Victim, random: Random) -> bool:
        """See `Mischief.do`."""
        for wire in self._left[:-200]:
            wire.close()
        del self._left[:-200]
        for _ in range(50):
            port, beginning = random.choice(
                (
                    (victim.port, b"POST /v1/infer HTTP/1.1\r\nX: "),
                    (victim.port, _HEAD + b"Content-Length: 100\r\n\r\n{"),
                    (victim.grpc_port, frames.PREFACE[:10]),
                    (victim.grpc_port, frames.PREFACE + frames.settings_frame({}) + b"\0\0\5"),
                )
            )
            self._left.append(_sent(port, beginning))
        return True


class Vanishes:
    """Sends half of a large body and resets the connection."""

    name = "bodies broken off"

    def do(self, victim: Victim, random: Random) -> bool:
        """See `Mischief.do`."""
        for _ in range(20):
            wire = _sent(victim.port, _HEAD + b"Content-Length: 3000000\r\n\r\n" + b"[" * random.randint(1, 2_000_000))
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()
        return True


class TalksNonsense:
    """Sends what is no request, to both ports."""

    name = "nonsense"

    def do(self, victim: Victim, random: Random) -> bool:
        """See `Mischief.do`."""
        for _ in range(50):
            wire = _sent(random.choice((victim.port, victim.grpc_port)), random.choice(_NONSENSE))
            wire.close()
        return True


MISCHIEF: Final[tuple[Mischief, ...]] = (KillsWorkers(), IsSlow(), Vanishes(), TalksNonsense())


def _sent(port: int, data: bytes) -> socket.socket:
    wire = socket.create_connection(("127.0.0.1", port), timeout=10)
    with suppress(OSError):  # cut off already, or with its worker
        wire.sendall(data)
    return wire
