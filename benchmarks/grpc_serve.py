"""How fast nimify serves gRPC, against `grpc.aio` with the same model: requests a second, and CPU time of the server.

`python -m benchmarks.grpc_serve`. The client is `h2load` (nghttp2), which is written in C and costs little. Servers are
measured in turn, several rounds; the figures are medians. Only ratios travel to other machines, and of those the ratio
of CPU time is the one that other work on the machine disturbs least.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from tritonclient.grpc import service_pb2

from nimify import ModelConfig, Nimifier
from nimify.testing import models

PATH: Final = "/inference.GRPCInferenceService/ModelInfer"
LOADS: Final = ((1, 1), (8, 1), (64, 1), (1, 64))
"""Connections, and calls at once on each."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    pid: int
    port: int

    def cpu_s(self) -> float:
        """CPU seconds that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True)
class Figure:
    """One measurement."""

    per_s: float
    cpu_us: float


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="bench-grpc", description="gRPC: nimify against grpc.aio, as ratios.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=10_000, help="in each measurement (default: 10000)")
    options = parser.parse_args()
    h2load = shutil.which("h2load")
    if h2load is None:
        print("bench-grpc: there is no h2load; it is part of nghttp2 (Debian: nghttp2-client).", file=sys.stderr)
        return 5
    with tempfile.TemporaryDirectory() as folder:
        bundle, body = _prepare(Path(folder))
        with _nimify(bundle) as ours, _grpc_aio(Path(folder) / "digits.onnx") as theirs:
            figures: dict[tuple[str, int, int], list[Figure]] = {}
            for _ in range(options.rounds):
                for connections, streams in LOADS:
                    for server in (ours, theirs):
                        figure = _load(h2load, server, body, connections, streams, options.calls)
                        figures.setdefault((server.name, connections, streams), []).append(figure)
    _show(figures)
    return 0


def _prepare(folder: Path) -> tuple[Path, Path]:
    model = models.save(models.digits_mlp(), folder / "digits.onnx")
    bundle = Nimifier(ModelConfig.build({"name": "digits"})).create(model, folder / "bundle").folder
    tensor = service_pb2.ModelInferRequest.InferInputTensor(datatype="FP32", shape=[1, 64])
    tensor.name = models.digits_mlp().graph.input[0].name
    request = service_pb2.ModelInferRequest(
        model_name="digits", inputs=[tensor], raw_input_contents=[np.zeros((1, 64), "<f4").tobytes()]
    ).SerializeToString()
    body = folder / "request.bin"
    body.write_bytes(struct.pack(">BI", 0, len(request)) + request)
    return bundle, body


@contextmanager
def _nimify(bundle: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "nimify", "serve", str(bundle), "--port", "0", "--drain", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            port = 0
            for line in process.stderr:
                if found := re.search(r"\bgrpc=\S+:(\d+)", line):
                    port = int(found[1])
                if " ready " in line:
                    break
            yield Server("nimify", process.pid, port)
        finally:
            process.kill()


@contextmanager
def _grpc_aio(model: Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "benchmarks.peers.grpc_aio_server", str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Server("grpc.aio", process.pid, int(process.stdout.readline()))
        finally:
            process.kill()


def _load(h2load: str, server: Server, body: Path, connections: int, streams: int, calls: int) -> Figure:
    before_s = server.cpu_s()
    command = [h2load, "-n", str(calls), "-c", str(connections), "-m", str(streams), "-d", str(body)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://127.0.0.1:{server.port}{PATH}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done = re.search(r"(\d+) succeeded", output)
    rate = re.search(r"finished in .*?([\d.]+) req/s", output)
    assert done is not None
    assert int(done[1]) == calls, output
    assert rate is not None
    return Figure(float(rate[1]), (server.cpu_s() - before_s) / calls * 1e6)


def _show(figures: dict[tuple[str, int, int], list[Figure]]) -> None:
    print(
        f"{'connections x calls':<20}{'server':<10}{'calls/s here':>14}{'CPU us here':>13}{'throughput':>12}{'CPU':>8}"
    )
    for connections, streams in LOADS:
        medians = {
            name: Figure(
                statistics.median(figure.per_s for figure in figures[name, connections, streams]),
                statistics.median(figure.cpu_us for figure in figures[name, connections, streams]),
            )
            for name in ("nimify", "grpc.aio")
        }
        ours, theirs = medians["nimify"], medians["grpc.aio"]
        for name, figure in medians.items():
            ratios = (
                f"{ours.per_s / theirs.per_s:>11.1f}x{ours.cpu_us / theirs.cpu_us:>7.2f}x" if figure is ours else ""
            )
            label = f"{connections} x {streams}"
            print(f"{label:<20}{name:<10}{figure.per_s:>14.0f}{figure.cpu_us:>13.0f}{ratios}")


if __name__ == "__main__":
    sys.exit(main())
