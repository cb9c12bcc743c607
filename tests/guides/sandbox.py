"""A place to type commands in: processes of its own and, where wanted, a network of its own.

The guides speak of ports 8000, 8001 and 9090, and readers leave things running. In a network namespace every port is
free, whatever runs beside the tests; with the end of a process namespace everything in it ends, supervisors included.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

_START_S: Final = 30.0
_TOOLS: Final = ("unshare", "nsenter", "ip", "bash", "curl")


def lacking() -> str | None:
    """Why there can be no such place here."""
    missing = [name for name in _TOOLS if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    tried = subprocess.run([*_unshare(network=True), "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"namespaces cannot be had here: {tried.stderr.strip()}"


def _unshare(*, network: bool) -> list[str]:
    options = ["--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
    return ["unshare", *(["--net"] if network else []), *([] if os.geteuid() == 0 else ["--map-root-user"]), *options]


class Sandbox:
    """The place; a context.

    Args:
        network: Whether it has a network of its own, with nothing but loopback.
    """

    def __init__(self, *, network: bool) -> None:
        self._network = network

    def __enter__(self) -> Sandbox:
        script = "ip link set lo up && exec sleep infinity" if self._network else "exec sleep infinity"
        self._holder = subprocess.Popen([*_unshare(network=self._network), "bash", "-c", script])
        self._inside = self._first_process()
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()  # and with it, by --kill-child, the first process inside, and by the kernel all others
        self._holder.wait()

    def enter(self) -> list[str]:
        """What stands before a command that is to run inside."""
        kinds = ["--pid", "--mount", *(["--net"] if self._network else [])]
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", f"--target={self._inside}", *user, *kinds, "--"]

    def _first_process(self) -> int:
        """The process that holds the namespaces, once it is what it shall be."""
        deadline = time.monotonic() + _START_S
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        while time.monotonic() < deadline:
            assert self._holder.poll() is None, "the sandbox ended at once"
            for child in children.read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() == "sleep":
                    return int(child)
            time.sleep(0.01)
        raise AssertionError("the sandbox did not start")
