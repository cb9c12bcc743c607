"""A long load with faults in between, after which the service is what it was before: `make soak`.

    python -m tests.soak.faults [--minutes 30] [--clients 16] [--workers 2] [--seed 1] [--drift 0.1]

Clients of HTTP and gRPC ask without a pause and compare every answer with ONNX Runtime's own. Meanwhile workers are
killed, clients are slow, vanish in the middle of a body, or send nonsense. Printed is what was lost, and how memory,
descriptors and the 99th percentile of the latency went: from the second quarter of the time to the last.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from tests.load.background import BackgroundLoad
from tests.load.load import mixed_clients
from tests.load.questions import Oracle, keyed_model
from tests.load.rollouts import Rollouts
from tests.soak.bundles import keyed_bundle
from tests.soak.mischief import MISCHIEF, KillsWorkers, Victim

_SAMPLE_S = 1.0
_MOST_GROWTH = 32 << 20
_MOST_DESCRIPTORS = 10
_LOST_PER_KILL = 2
"""Requests that a client may lose with a worker: the one in flight, and one on a connection that is found dead."""


@dataclass
class Course:
    """How a service went, sample by sample.

    Attributes:
        memory: Bytes of all of its processes.
        descriptors: Those of all of its processes.
        answered: Questions that were answered so far.
    """

    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)

    def sample(self, victim: Victim, answered: int) -> None:
        """Take a look, unless a worker is missing just now."""
        with suppress(FileNotFoundError, ProcessLookupError):  # one dies just now
            if len(victim.processes()) == victim.workers + 1:
                memory, descriptors = victim.memory(), victim.descriptors()
                self.memory.append(memory)
                self.descriptors.append(descriptors)
                self.answered.append(answered)

    def quarters(self, values: list[int]) -> tuple[float, float]:
        """The median of the second quarter and of the last one."""
        size = max(1, len(values) // 4)
        return statistics.median(values[size : 2 * size] or values), statistics.median(values[-size:])

    def p99_ms(self, latencies_s: list[float]) -> tuple[float, float]:
        """The same for the 99th percentile of the latency."""
        size = max(1, len(self.answered) // 4)
        second = latencies_s[self.answered[size] : self.answered[2 * size]]
        last = latencies_s[self.answered[-size] :]
        return float(np.percentile(second, 99) * 1e3), float(np.percentile(last, 99) * 1e3)


def main() -> int:
    """Soak and report; 1 when the service is not what it was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--drift",
        type=float,
        default=0.1,
        help="how much the 99th percentile may grow, as a part; a busy machine wants more",
    )
    options = parser.parse_args()
    random, course, done = Random(options.seed), Course(), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        serve = ("--workers", str(options.workers), "--header-timeout", "3s", "--body-timeout", "3s")
        with Rollouts(keyed_bundle(folder), folder, *serve) as service:
            victim = Victim(service.pid, service.port, service.grpc_port, options.workers)
            with BackgroundLoad(
                Oracle(keyed_model()),
                lambda: mixed_clients(service.port, service.grpc_address, count=options.clients),
            ) as load:
                end_s = time.monotonic() + options.minutes * 60
                while time.monotonic() < end_s:
                    mischief = random.choice(MISCHIEF)
                    if mischief.do(victim, random):
                        done[mischief.name] += 1
                    time.sleep(_SAMPLE_S)
                    course.sample(victim, load.tally.answered)
    return _report(load, course, done, options)


def _report(load: BackgroundLoad, course: Course, done: Counter[str], options: argparse.Namespace) -> int:
    tally, faults = load.tally, []
    for line in (*tally.failed[:5], *tally.wrong[:5]):
        print(line)
    print(f"faults: {', '.join(f'{count} x {name}' for name, count in sorted(done.items()))}")
    print(f"requests: {tally.answered} answered, {len(tally.failed)} lost, {len(tally.wrong)} wrong")
    if tally.wrong or len(tally.failed) > _LOST_PER_KILL * options.clients * done[KillsWorkers.name]:
        faults.append("more was lost than the killed workers account for")
    before, after = course.quarters(course.memory)
    print(f"memory: {before / 2**20:.1f} MiB to {after / 2**20:.1f} MiB")
    if after - before > _MOST_GROWTH:
        faults.append("memory grew")
    before, after = course.quarters(course.descriptors)
    print(f"descriptors: {before:.0f} to {after:.0f}")
    if after - before > _MOST_DESCRIPTORS:
        faults.append("descriptors grew")
    before, after = course.p99_ms(tally.latencies_s)
    print(f"99th percentile: {before:.1f} ms to {after:.1f} ms")
    if after > before * (1 + options.drift):
        faults.append("latency grew")
    print("; ".join(faults) or "as before")
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
