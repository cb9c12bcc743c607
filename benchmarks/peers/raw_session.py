"""ONNX Runtime with one model in a process that has nothing else: what the model costs without a service.

    python -m benchmarks.peers.raw_session MODEL.onnx --threads 2

runs it once on one row of zeros, and prints the bytes of resident memory that it has then.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from benchmarks.peers.session import open_session

DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
TOKENS = 64
"""The length that a request has on a second axis that the model leaves open."""


def main() -> None:
    """Load, run, and print."""
    parser = argparse.ArgumentParser(description="One ONNX model in ONNX Runtime, and its memory.")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    session = open_session(arguments.model, arguments.threads)
    feeds = {}
    for node in session.get_inputs():
        inner = [size if isinstance(size, int) else TOKENS for size in node.shape[1:]]
        feeds[node.name] = np.zeros([1, *inner], DTYPES[node.type])
    session.run(None, feeds)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(pages * os.sysconf("SC_PAGE_SIZE"))


if __name__ == "__main__":
    main()
