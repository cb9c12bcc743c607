"""How many requests are lost when releases take over from each other under load: `make soak-rollouts`.

    python -m tests.soak.rollouts [--requests 100000] [--clients 32] [--workers 2] [--drain 1] [--restarts]

Every process serves the same two sockets. The next one is started, and when it is ready the one before it gets SIGTERM;
with `--restarts` there is one process, and SIGHUP has its workers replaced again and again. Clients of HTTP (JSON in
both APIs, and binary) and of gRPC go on all the while, and every answer is compared with ONNX Runtime's own.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import tempfile
import time
from pathlib import Path

from tests.load.background import BackgroundLoad
from tests.load.load import mixed_clients
from tests.load.questions import Oracle, keyed_model
from tests.load.rollouts import Rollouts
from tests.soak.bundles import keyed_bundle


def main() -> int:
    """Roll until all is asked, and report; 1 when a request was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--drain", type=float, default=1.0)
    parser.add_argument("--restarts", action="store_true", help="of the workers by SIGHUP, instead of releases")
    options = parser.parse_args()
    kind = "restart" if options.restarts else "rollout"
    if options.restarts:  # a service that nohup started would take no notice of its signal
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    started_s, codes = time.monotonic(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        serve = ("--drain", str(options.drain), "--workers", str(options.workers))
        with (
            Rollouts(keyed_bundle(folder), folder, *serve) as rollouts,
            BackgroundLoad(
                Oracle(keyed_model()),
                lambda: mixed_clients(rollouts.port, rollouts.grpc_address, count=options.clients),
                most=options.requests,
            ) as load,
        ):
            for turn in itertools.count(1):
                if load.over:
                    break
                if options.restarts:
                    rollouts.restart()
                    codes.append(0)
                else:
                    codes.append(rollouts.roll())
                print(
                    f"{time.monotonic() - started_s:7.1f} s  {kind} {turn}: {load.tally.answered} answered", flush=True
                )
    tally = load.tally
    for line in (*tally.failed[:10], *tally.wrong[:10]):
        print(line)
    print(
        f"{len(tally.failed)} failed and {len(tally.wrong)} wrong of {options.requests} requests over {len(codes)} "
        f"{kind}s in {time.monotonic() - started_s:.0f} s; {sum(code != 0 for code in codes)} of them ended badly"
    )
    return int(bool(tally.failed or tally.wrong or any(codes)))


if __name__ == "__main__":
    raise SystemExit(main())
