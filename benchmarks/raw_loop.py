"""ONNX Runtime in a loop, with no service around it: the ceiling that a server is compared with.

Run as a process of its own, so that nothing else shares its interpreter:

    python -m benchmarks.raw_loop tiny --seconds 2

prints a JSON object with the rows per second of single rows and of full batches.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
from benchmarks.models import MODELS, Array
from benchmarks.peers.session import open_session

_LEAST_RUNS = 3


def rows_per_s(session: Any, inputs: dict[str, Array], *, seconds: float) -> float:
    """Rows per second of one batch, run again and again after a first run that does not count."""
    rows = len(next(iter(inputs.values())))
    session.run(None, inputs)
    runs = 0
    started_s = time.perf_counter()
    while (elapsed_s := time.perf_counter() - started_s) < seconds or runs < _LEAST_RUNS:
        session.run(None, inputs)
        runs += 1
    return runs * rows / elapsed_s


def main() -> int:
    """Measure one model and print the figures."""
    parser = argparse.ArgumentParser(description="ONNX Runtime in a loop: the ceiling of every server.")
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each batch size (default: 2)")
    options = parser.parse_args()
    model = MODELS[options.model]
    session = open_session(model.ensure(), model.threads)
    random = np.random.default_rng(0)
    single, merged = (
        rows_per_s(session, model.draw(rows, random), seconds=options.seconds) for rows in (1, model.batch)
    )
    print(json.dumps({"single_rows_per_s": single, "merged_rows_per_s": merged}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
