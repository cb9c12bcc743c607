"""How long a large body holds up everybody else: health checks are timed while large requests are answered.

    python -m benchmarks.large_bodies [--seconds 5]

A health check costs a fraction of a millisecond. What it takes longer, while a body of some megabytes is read,
computed and answered, is how long the event loop was held up. Printed: the median, the 99th percentile and the
longest of the checks, for each kind of body, and how many of the large requests were answered meanwhile.
"""

from __future__ import annotations

import argparse
import http.client
import re
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import orjson
from tritonclient.grpc import service_pb2

from nimify import ModelConfig, Nimifier
from nimify.core.server import ServerProcess
from nimify.testing import models
from nimify.testing.graph_builder import GraphBuilder

ELEMENTS = 1 << 20


def bundle(folder: Path) -> Path:
    """`x` FP32[batch, n] to `y` = 2 x: a model that costs nothing beside its bodies."""
    graph = GraphBuilder("wide")
    x = graph.input("x", "FP32", ["batch", "n"])
    graph.output(graph.op("Add", x, x, out="y"), "FP32", ["batch", "n"])
    model = models.save(graph.model(), folder / "wide.onnx")
    return Nimifier(ModelConfig.build({"name": "wide"})).create(model, folder / "bundle").folder


def bodies() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Requests of a million numbers, by what they look like."""
    values = np.random.default_rng(1).normal(size=ELEMENTS).astype(np.float32)
    row = {"name": "x", "datatype": "FP32", "shape": [1, ELEMENTS]}
    text = orjson.dumps({"inputs": [{**row, "data": values}]}, option=orjson.OPT_SERIALIZE_NUMPY)
    head = orjson.dumps(
        {
            "inputs": [{**row, "parameters": {"binary_data_size": values.nbytes}}],
            "parameters": {"binary_data_output": True},
        }
    )
    binary = head + values.tobytes()
    return {
        "nothing": (b"", {}),
        "JSON": (text, {}),
        "JSON, answer packed": (text, {"Accept-Encoding": "gzip"}),
        "binary": (binary, {"Inference-Header-Content-Length": str(len(head))}),
    }


def load(port: int, body: bytes, headers: dict[str, str], ended: threading.Event, answered: list[float]) -> None:
    """Send one large request after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while body and not ended.is_set():
        started_s = time.perf_counter()
        connection.request("POST", "/v2/models/wide/infer", body, headers)
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        answered.append(time.perf_counter() - started_s)
    connection.close()


def grpc_load(address: str, ended: threading.Event, answered: list[float]) -> None:
    """The same over gRPC, with raw tensors."""
    values = np.random.default_rng(1).normal(size=ELEMENTS * 4).astype(np.float32)
    row = service_pb2.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, values.size])
    request = service_pb2.ModelInferRequest(model_name="wide", inputs=[row], raw_input_contents=[values.tobytes()])
    message = request.SerializeToString()
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(address, options=unlimited) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        while not ended.is_set():
            started_s = time.perf_counter()
            assert len(infer(message, timeout=60)) > values.nbytes
            answered.append(time.perf_counter() - started_s)


def checks_ms(port: int, seconds: float) -> list[float]:
    """How long health checks take."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    taken, end_s = [], time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        started_s = time.perf_counter()
        connection.request("GET", "/v1/health/live")
        connection.getresponse().read()
        taken.append((time.perf_counter() - started_s) * 1e3)
        time.sleep(0.001)
    connection.close()
    return taken


def grpc_address(server: ServerProcess) -> str:
    """Host and port of gRPC, from the service's log."""
    found = re.search(r'"grpc":"([^"]+)"', server.log)
    assert found
    return found[1]


def main() -> None:
    """Measure each kind of body and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        options = ("--port", "0", "--max-body-size", "64MiB")
        with ServerProcess.start(bundle(Path(folder)), options, ready_timeout_s=60) as server:
            port = int(server.url.rsplit(":", 1)[1])
            print(
                f"{'body':22} {'MiB':>6} {'p50 ms':>8} {'p99 ms':>8} {'longest ms':>11} {'requests':>9} {'each s':>7}"
            )
            kinds = {
                name: (len(body), partial(load, port, body, headers)) for name, (body, headers) in bodies().items()
            }
            kinds["gRPC, 16 MiB raw"] = ELEMENTS * 16, partial(grpc_load, grpc_address(server))
            for name, (length, ask) in kinds.items():
                ended, answered = threading.Event(), list[float]()
                thread = threading.Thread(target=ask, args=(ended, answered))
                thread.start()
                taken = checks_ms(port, seconds)
                ended.set()
                thread.join()
                p50, p99 = np.percentile(taken, [50, 99])
                each = f"{np.median(answered):7.3f}" if answered else f"{'-':>7}"
                size = length / (1 << 20)
                print(f"{name:22} {size:6.1f} {p50:8.2f} {p99:8.2f} {max(taken):11.2f} {len(answered):9} {each}")


if __name__ == "__main__":
    main()
