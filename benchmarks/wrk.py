"""HTTP load from wrk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.exchange import Request
from benchmarks.failure import MissingTool, RunFailed
from benchmarks.outcome import Outcome

_SCRIPT: Final = Path(__file__).with_name("post.lua")
_REQUEST_TIMEOUT_S: Final = 30


@dataclass(frozen=True, slots=True)
class Wrk:
    """The program, which sends one request over and over on each connection."""

    path: str

    @classmethod
    def find(cls) -> Wrk:
        """The one of this machine.

        Raises:
            MissingTool: It is not installed.
        """
        path = shutil.which("wrk")
        if path is None:
            raise MissingTool("wrk is missing, which sends the load; on Debian and Ubuntu: apt-get install wrk")
        return cls(path)

    def run(self, port: int, request: Request, *, connections: int, seconds: int, answer_length: int) -> Outcome:
        """Load a server; the length of answers does not matter, because their status tells how they went."""
        with tempfile.TemporaryDirectory(prefix="nimify-bench-") as folder:
            body, headers = Path(folder, "body"), Path(folder, "headers")
            body.write_bytes(request.body)
            headers.write_text("".join(f"{name}: {value}\n" for name, value in request.headers.items()))
            command = [self.path, "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={_REQUEST_TIMEOUT_S}s"]
            command += [f"--script={_SCRIPT}", f"http://127.0.0.1:{port}{request.path}"]
            environment = {**os.environ, "BODY_FILE": str(body), "HEADERS_FILE": str(headers)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return _outcome(done)


def _outcome(done: subprocess.CompletedProcess[str]) -> Outcome:
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            result = json.loads(line.removeprefix("RESULT "))
            return Outcome(
                requests=result["requests"],
                duration_s=result["duration_us"] / 1e6,
                p50_ms=result["p50_us"] / 1e3,
                p99_ms=result["p99_us"] / 1e3,
                errors=result["errors"],
            )
    raise RunFailed(f"wrk ended with status {done.returncode} and no result: {(done.stderr or done.stdout)[-300:]}")
