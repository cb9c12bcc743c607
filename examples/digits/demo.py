"""`make demo`: a model file becomes a service, answers real digits, and stops.

Every command is printed as you would type it and then run, so that what you see is what nimify does. The service runs
on a free port, is always stopped again, and its log stays in `.demo/serve.log`.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np

Array = np.ndarray[Any, Any]

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("examples/digits")
BUNDLE = Path(".demo/digits")
LOG = Path(".demo/serve.log")
REQUEST = Path(".demo/request.json")
LEAST_ACCURACY = 0.95
ROWS_PER_REQUEST = 24
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
ENVIRONMENT_PROBLEM = 5
"""What `nimify serve` ends with when, among other things, its port is taken; see docs/guide/exit-codes.md."""

# The service is on this machine: no proxy that the environment may name lies between.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class DemoFailed(Exception):
    """The demo did not show what it promises; the message says why."""


def main() -> int:
    """Create, serve, ask, measure, stop; the process status says whether all of it worked."""
    signal.signal(signal.SIGTERM, _end_in_order)
    try:
        create()
        with serve() as url:
            images, labels = held_out()
            answers = ask(url, images)
            show_digits(images, labels, answers)
            show_accuracy(answers, labels)
            show_metrics(url)
    except DemoFailed as failure:
        say(f"\nThe demo failed: {failure}")
        return 1
    show_next()
    return 0


def create() -> None:
    """Turn the model file into a bundle."""
    heading("1. A model file becomes a bundle")
    command = [
        *("nimify", "create", str(HERE / "digits.onnx"), "--name", "digits"),
        *("--before", "scale:factor=0.0625"),
        *("--after", "softmax"),
        *("--after", f"top_k:k=3,labels={HERE / 'labels.txt'}"),
        *("-o", str(BUNDLE)),
    ]
    show_command(command)
    status = subprocess.run(runnable(command), cwd=ROOT, check=False).returncode
    if status != 0:
        raise DemoFailed(f"`nimify create` ended with status {status}; what it says above tells what to do.")


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """The service, ready, by its URL; stopped at the end, whatever happens in between."""
    heading("2. The bundle is served")
    for attempts_left in (2, 1, 0):
        port = free_port()
        command = ["nimify", "serve", str(BUNDLE), "--port", str(port)]
        show_command(command)
        url = f"http://127.0.0.1:{port}"
        with (ROOT / LOG).open("wb") as log:
            server = subprocess.Popen(runnable(command), cwd=ROOT, stdout=log, stderr=log)
        try:
            if wait_until_ready(server, url):
                yield url
                stop(server)
                return
        finally:
            end(server)
        # Somebody else may have taken the port between our look and the server's.
        if server.returncode != ENVIRONMENT_PROBLEM or not attempts_left:
            raise DemoFailed(f"`nimify serve` ended with status {server.returncode}:\n{log_tail()}")
        say("That did not start; trying another port.\n")


def wait_until_ready(server: subprocess.Popen[bytes], url: str) -> bool:
    """Whether the service became ready; `False` when its process ended instead."""
    started = time.monotonic()
    while server.poll() is None:
        with contextlib.suppress(OSError):
            if get(f"{url}/v1/health/ready"):
                say(f"Ready after {time.monotonic() - started:.1f} s at {url} (documentation at {url}/docs).")
                return True
        if time.monotonic() - started > START_TIMEOUT_S:
            raise DemoFailed(f"the service was not ready after {START_TIMEOUT_S:.0f} s:\n{log_tail()}")
        time.sleep(0.05)
    return False


def ask(url: str, images: Array) -> list[list[tuple[str, float]]]:
    """For each image the three best labels with their probabilities, from `POST /v1/infer`."""
    heading("3. The service answers")
    show_request(f"{url}/v1/infer", images[:1])
    answers: list[list[tuple[str, float]]] = []
    for first in range(0, len(images), ROWS_PER_REQUEST):
        outputs = post(f"{url}/v1/infer", request(images[first : first + ROWS_PER_REQUEST]))["outputs"]
        answers += [
            list(zip(labels, scores, strict=True))
            for labels, scores in zip(outputs["labels"], outputs["scores"], strict=True)
        ]
    if len(answers) != len(images):
        raise DemoFailed(f"{len(images)} images were sent and {len(answers)} answers came back.")
    return answers


def request(images: Array) -> dict[str, Any]:
    """What `/v1/infer` takes: named inputs as nested lists. Pixels go as they are; `scale` is the service's affair."""
    return {"inputs": {"image": images.tolist()}}


def show_request(url: str, images: Array) -> None:
    """One request that can be repeated by hand, and its answer."""
    (ROOT / REQUEST).write_text(json.dumps(request(images)) + "\n")
    show_command(["curl", "-s", url, "-H", "content-type: application/json", "-d", f"@{REQUEST}"])
    say(json.dumps(post(url, request(images))))
    say(f"\nAnd so for {HERE / 'held_out.npz'}, digits that the model has never seen:\n")


def show_digits(images: Array, labels: Array, answers: Sequence[Sequence[tuple[str, float]]]) -> None:
    """Two digits that the model got right and, to be honest, one that it did not."""
    right = [row for row, answer in enumerate(answers) if answer[0][0] == str(labels[row])]
    wrong = [row for row in range(len(answers)) if row not in set(right)]
    shown = [*right[:2], *wrong[:1]]
    gap = "    "
    width = 8 * 2 + 4
    for line in zip(*(picture(images[row]) for row in shown), strict=True):
        say((gap + gap.join(text.ljust(width) for text in line)).rstrip())
    facts = [
        [
            f"truth {labels[row]}{'' if row in right[:2] else ', missed'}",
            *(f"{label}  {score:7.2%}" for label, score in answers[row]),
        ]
        for row in shown
    ]
    say()
    for line in zip(*facts, strict=True):
        say((gap + gap.join(text.ljust(width) for text in line)).rstrip())


def picture(image: Array) -> list[str]:
    """Eight lines that look like the digit."""
    shades = " .:-=+*#%@"
    brightness = image.reshape(8, 8).astype(int) * (len(shades) - 1) // 16
    return ["".join(shades[value] * 2 for value in row) for row in brightness]


def show_accuracy(answers: Sequence[Sequence[tuple[str, float]]], labels: Array) -> None:
    """How many of all held-out digits the service got right."""
    right = sum(answer[0][0] == str(label) for answer, label in zip(answers, labels, strict=True))
    accuracy = right / len(labels)
    say(f"\nAccuracy on {len(labels)} held-out digits, measured through the service: {accuracy:.1%} ({right} right).")
    if accuracy < LEAST_ACCURACY:
        raise DemoFailed(f"the accuracy is below {LEAST_ACCURACY:.0%}.")


def show_metrics(url: str) -> None:
    """The first lines of the service's metrics."""
    heading("4. It counts what it does")
    show_command(["curl", "-s", f"{url}/v1/metrics"])
    lines = get(f"{url}/v1/metrics").decode().splitlines()
    say("\n".join(lines[:12]))
    say(f"... and {max(len(lines) - 12, 0)} more lines.")


def show_next() -> None:
    """What to run next."""
    heading("Now yours")
    say("The bundle stays. Read it, serve it again, check it; or change its nimify.yaml and make it again.\n")
    for command in (
        f"ls {BUNDLE}",
        f".venv/bin/nimify serve {BUNDLE}",
        f".venv/bin/nimify validate {BUNDLE}",
        f".venv/bin/nimify create {BUNDLE}",
        ".venv/bin/nimify create your-model.onnx",
    ):
        say(f"  {command}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the service to end, as Kubernetes would, and check that it ends well."""
    heading("5. It stops when it is asked to")
    show_command(["kill", "-TERM", str(server.pid)])
    started = time.monotonic()
    server.terminate()
    try:
        status = server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"the service did not stop within {STOP_TIMEOUT_S:.0f} s:\n{log_tail()}") from None
    say(f"Ended with status {status} after {time.monotonic() - started:.1f} s.")
    if status != 0:
        raise DemoFailed(f"a service that is asked to stop should end with status 0:\n{log_tail()}")


def end(server: subprocess.Popen[bytes]) -> None:
    """Make sure that the process is gone."""
    if server.poll() is None:
        server.kill()
    server.wait()


def held_out() -> tuple[Array, Array]:
    """Digits that the model has never seen, and what they are."""
    with np.load(ROOT / HERE / "held_out.npz") as rows:
        return rows["image"], rows["label"]


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(url: str) -> bytes:
    """The body of a successful answer; an `OSError` otherwise."""
    with _OPENER.open(url, timeout=10) as response:
        body: bytes = response.read()
        return body


def post(url: str, document: dict[str, Any]) -> dict[str, Any]:
    """The JSON answer to a JSON request."""
    request = urllib.request.Request(  # noqa: S310 - the address is our own service's
        url, json.dumps(document).encode(), {"content-type": "application/json"}
    )
    try:
        with _OPENER.open(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise DemoFailed(f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}") from None
    except (OSError, ValueError) as error:
        raise DemoFailed(f"{url} did not answer ({error}):\n{log_tail()}") from None


def runnable(command: list[str]) -> list[str]:
    """The command with the `nimify` that belongs to this Python."""
    nimify = Path(sys.executable).with_name("nimify")
    if not nimify.exists():
        raise DemoFailed(f"there is no nimify command beside {Path(sys.executable).name}; run this with: make demo")
    return [str(nimify), *command[1:]]


def log_tail() -> str:
    """The last lines of the service's log."""
    lines = (ROOT / LOG).read_text(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-15:]) or "  (its log is empty)"


def heading(text: str) -> None:
    """A step of the demo."""
    say(f"\n== {text} ==\n")


def show_command(command: Sequence[str]) -> None:
    """A command, as one would type it."""
    say("$ " + shlex.join(command) + "\n")


def say(text: str = "") -> None:
    """Print at once, so that our lines and those of the commands stay in order."""
    print(text, flush=True)


def _end_in_order(signum: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM unwinds the stack like Ctrl-C does, so that the service is stopped too."""
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
