"""A Docker engine of the tests' own with a bridge of its own, so that containers publish ports; both go with the tests.

Needs root, dockerd and iproute2; skips without them, with the reason, and fails when NIMIFY_REQUIRE names `docker`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import pytest

_OWN: Final = secrets.randbelow(200)
"""Tells it from that of another run on this machine."""
BRIDGE: Final = f"nimifytest{_OWN}"
SUBNET: Final = f"172.30.{_OWN}.1/24"
POOL: Final = f"base=172.29.{_OWN}.0/24,size=28"
"""Of networks that a project brings."""


def tool(name: str) -> str:
    """The path of a program of this machine."""
    return shutil.which(name) or name


@dataclass(frozen=True)
class Docker:
    """A Docker engine of the tests' own."""

    socket: str

    def __call__(self, *arguments: str, stdin: IO[bytes] | None = None) -> str:
        environment = {**os.environ, "DOCKER_HOST": self.socket}
        return subprocess.run(
            [tool("docker"), *arguments], env=environment, stdin=stdin, capture_output=True, text=True, check=True
        ).stdout.strip()


@contextmanager
def bridged_engine(folder: Path) -> Iterator[Docker]:
    """Such an engine, that keeps its files in a folder."""
    if (reason := _lacking()) is not None:
        if "docker" in os.environ.get("NIMIFY_REQUIRE", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)
    engine = Docker(f"unix://{folder}/docker.sock")
    subprocess.run([tool("ip"), "link", "add", BRIDGE, "type", "bridge"], check=True)
    process = None
    try:
        subprocess.run([tool("ip"), "addr", "add", SUBNET, "dev", BRIDGE], check=True)
        subprocess.run([tool("ip"), "link", "set", BRIDGE, "up"], check=True)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    tool("dockerd"), f"--data-root={folder}/data", f"--exec-root={folder}/exec",
                    f"--host={engine.socket}", f"--pidfile={folder}/pid", f"--bridge={BRIDGE}",
                    f"--default-address-pool={POOL}", "--iptables=false", "--ip-masq=false", "--ip-forward=false",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        _await(engine, process, folder / "log")
        yield engine
        for container in engine("ps", "--all", "--quiet").split():
            engine("rm", "--force", container)
    finally:
        try:
            if process is not None:
                process.terminate()
                process.wait(120)
        finally:
            subprocess.run([tool("ip"), "link", "delete", BRIDGE], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def _lacking() -> str | None:
    """Why there can be none here."""
    if os.geteuid() != 0:
        return "a Docker engine of one's own needs root"
    missing = [name for name in ("dockerd", "docker", "ip", "ldd") if shutil.which(name) is None]
    return f"{', '.join(missing)} is not installed" if missing else None


def _await(engine: Docker, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            engine("version")
            return
        except subprocess.CalledProcessError:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
