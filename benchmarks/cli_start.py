"""How long `nimify --help` takes, as a multiple of `python -c "import click"`; the claim is: under 3.

    python benchmarks/cli_start.py [ROUNDS]

Both are measured in turns, so that a busy moment of the machine hits both.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

BASELINE = [sys.executable, "-c", "import click"]
COMMANDS = {
    "nimify --help": [sys.executable, "-m", "nimify", "--help"],
    "nimify --version": [sys.executable, "-m", "nimify", "--version"],
    "nimify create --help": [sys.executable, "-m", "nimify", "create", "--help"],
    "import nimify": [sys.executable, "-c", "import nimify"],
}


def seconds(command: list[str]) -> float:
    """One run."""
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main(rounds: int) -> None:
    """Measure and print medians and ratios."""
    times: dict[str, list[float]] = {"import click": [], **{name: [] for name in COMMANDS}}
    for _ in range(rounds):
        times["import click"].append(seconds(BASELINE))
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    base = statistics.median(times["import click"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:<22} {median * 1000:7.1f} ms   {median / base:5.2f} x import click")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
