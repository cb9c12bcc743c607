"""Clients that put a service under load and keep what went wrong."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable


class Load:
    """Clients of the model `tiny` that send distinct requests and check every answer.

    Attributes:
        answered: Right answers so far.
        failures: What else came back, by status, or by the kind of error.
    """

    def __init__(self, port: int, *, threads: int = 6) -> None:
        self.answered = 0
        self.failures: Counter[str] = Counter()
        self._port = port
        self._enough = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no further request, and wait for the answers to those that were sent."""
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        turn = 0
        while not self._enough.is_set():
            turn += 1
            outcome = self._ask(connection, float(number * 100_000 + turn))
            with self._lock:
                if outcome == "right":
                    self.answered += 1
                else:
                    self.failures[outcome] += 1
            if outcome != "right":
                self._enough.wait(0.05)  # whoever is to answer again needs the processors for it
        connection.close()

    @staticmethod
    def _ask(connection: http.client.HTTPConnection, value: float) -> str:
        try:
            connection.request("POST", "/v1/infer", json.dumps({"inputs": {"x": [[value, 0, 0, 0]]}}))
            response = connection.getresponse()  # closes its side by itself after `Connection: close`
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return type(error).__name__
        if response.status != 200:
            return str(response.status)
        return "right" if json.loads(body)["outputs"]["y"][0][0] == value + 1 else "wrong"


def eventually(condition: Callable[[], object], *, what: str, timeout_s: float = 30.0) -> None:
    """Wait for a condition."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not come true"
        time.sleep(0.01)
