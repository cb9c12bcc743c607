"""gRPC load from h2load, which sends one message over and over on each connection, one call at a time.

It counts answers and their bytes, and cannot read the trailers in which gRPC says whether a call went well. A call that
fails has no message, so what is missing of the bytes that right answers have is counted as errors.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.exchange import Request
from benchmarks.failure import MissingTool, RunFailed
from benchmarks.outcome import Outcome

_WINDOW_BITS: Final = 24
_DATA: Final = re.compile(r"^traffic: .*\((\d+)\) data$", re.MULTILINE)
_FAILED: Final = re.compile(r"^requests: .*?(\d+) failed", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class H2load:
    """The program."""

    path: str

    @classmethod
    def find(cls) -> H2load:
        """The one of this machine.

        Raises:
            MissingTool: It is not installed.
        """
        path = shutil.which("h2load")
        if path is None:
            raise MissingTool("h2load is missing, which calls gRPC; on Debian: apt-get install nghttp2-client")
        return cls(path)

    def run(self, port: int, request: Request, *, connections: int, seconds: int, answer_length: int) -> Outcome:
        """Load a server."""
        with tempfile.TemporaryDirectory(prefix="nimify-bench-") as folder:
            body, log = Path(folder, "body"), Path(folder, "log")
            body.write_bytes(request.body)
            command = [self.path, "-t1", f"-c{connections}", "-m1", f"-D{seconds}", f"-d{body}", f"--log-file={log}"]
            command += [f"-w{_WINDOW_BITS}", f"-W{_WINDOW_BITS}"]
            for name, value in request.headers.items():
                command += ["-H", f"{name}: {value}"]
            command.append(f"http://127.0.0.1:{port}{request.path}")
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0 or not log.exists():
                raise RunFailed(f"h2load ended with status {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
            return outcome(done.stdout, log.read_text().splitlines(), seconds=seconds, answer_length=answer_length)


def outcome(summary: str, log: Sequence[str], *, seconds: int, answer_length: int) -> Outcome:
    """What h2load says of a run.

    Args:
        summary: What it printed.
        log: A line for each answer: when it was asked for, its HTTP status, and microseconds until its end.
        seconds: How long the run was.
        answer_length: Bytes in the body of a right answer.

    Raises:
        RunFailed: There is no summary in what it printed.
    """
    data, failed = _DATA.search(summary), _FAILED.search(summary)
    if data is None or failed is None:
        raise RunFailed(f"h2load printed no summary: {summary[-300:]}")
    answers = [line.split("\t") for line in log]
    latencies_ms = sorted(int(answer[2]) / 1e3 for answer in answers if answer[1] == "200")
    answered = min(len(latencies_ms), int(data[1]) // answer_length)
    return Outcome(
        requests=answered,
        duration_s=seconds,
        p50_ms=_percentile(latencies_ms, 0.50),
        p99_ms=_percentile(latencies_ms, 0.99),
        errors=len(answers) - answered + int(failed[1]),
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
