"""Deploy, look, switch under load, roll back, stop: the commands as a user types them, and no request lost."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "digits" / "digits.onnx"
_CLIENTS: Final = 4


class Shell:
    """Runs `nimify` in a folder, with records of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {**os.environ, "NIMIFY_STATE": str(folder / "state"), "NO_COLOR": "1", "COLUMNS": "100"}

    def __call__(self, *arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "nimify", *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path)
    yield opened
    opened("stop", "digits", "--target", "process", "--purge")


class Load:
    """Clients that ask without a pause, on connections that they keep and on new ones.

    Args:
        url: Where HTTP is answered.
        body: What is posted to the model.
        grpc_address: Where gRPC is answered; without it, nobody asks by gRPC.
    """

    def __init__(self, url: str, body: bytes, grpc_address: str = "") -> None:
        self._address = urlsplit(url).netloc
        self._body = body
        self._grpc_address = grpc_address
        self._stop = threading.Event()
        self.answered = [0] * _CLIENTS
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(number,), daemon=True) for number in range(_CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)

    def _ask(self, number: int) -> None:
        keeps = number % 2 == 0
        connection = http.client.HTTPConnection(self._address, timeout=30)
        while not self._stop.is_set():
            try:
                connection.request("POST", "/v2/models/digits/infer", self._body)
                response = connection.getresponse()
                content = response.read()
                if response.status == 200:
                    self.answered[number] += 1
                else:
                    self.failures.append(f"{response.status}: {content[:200]!r}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{'kept' if keeps else 'new'} connection: {error!r}")
                connection.close()
            if not keeps:
                connection.close()
        connection.close()

    def _call(self, number: int) -> None:
        """Ask by gRPC whether the server lives."""
        import grpc

        keeps, channel = number % 2 == 0, None
        while not self._stop.is_set():
            if channel is None:
                # Channels share connections unless told: then none would be new.
                channel = grpc.insecure_channel(self._grpc_address, options=[("grpc.use_local_subchannel_pool", 1)])
            try:
                channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=30)
                self.answered[number] += 1
            except grpc.RpcError as error:
                self.failures.append(f"gRPC on a {'kept' if keeps else 'new'} connection: {error!r}")
            if not keeps:
                channel.close()
                channel = None
        if channel is not None:
            channel.close()


def create(shell: Shell, max_batch_size: int) -> None:
    shell("create", str(EXAMPLE), "--name", "digits", "--max-batch-size", str(max_batch_size), "--force")


def test_a_service_from_its_model_to_its_end(shell: Shell) -> None:
    """create, deploy, status, monitor, a new revision, rollback, stop: each says and does what it should."""
    create(shell, 8)
    deployed = shell.json("deploy", "digits", "--target", "process", "--set", "port=0")
    assert (deployed["outcome"], deployed["phase"]) == ("deployed", "running")
    assert shell.json("deploy", "digits", "--target", "process", "--set", "port=0")["outcome"] == "unchanged"
    assert "running" in shell("status", "digits")
    picture = shell.json("monitor", "digits", "--once", "--interval", "200ms")
    assert [replica["ready"] for replica in picture["replicas"]] == [True]
    create(shell, 16)
    assert "changed plan.json" in shell("deploy", "digits", "--target", "process", "--set", "port=0", "--dry-run")
    second = shell.json("deploy", "digits", "--target", "process", "--set", "port=0")
    assert (second["url"], second["revisions"][0]["number"]) == (deployed["url"], 2)
    back = shell.json("rollback", "digits")
    assert [revision["live"] for revision in back["revisions"]] == [False, True]
    assert '"event":"ready"' in shell("logs", "digits", "-n", "50")
    assert shell.json("stop", "digits")["outcome"] == "stopped"
    assert "stopped" in shell("status", "digits", status=1)
    assert shell.json("stop", "digits")["outcome"] == "unchanged"


def test_no_request_is_lost_while_revisions_change(shell: Shell) -> None:
    """Under load over HTTP and gRPC, a new revision, a rollback and a failing one cost no request."""
    create(shell, 8)
    url = shell.json("deploy", "digits", "--target", "process", "--set", "port=0")["url"]
    body = (shell.folder / "digits" / "golden" / "batch-1.request.json").read_bytes()

    found = re.search(r'"grpc":"([^"]+)"', shell("logs", "digits", "-n", "50"))
    assert found

    with Load(url, body, found[1]) as load:
        create(shell, 16)
        shell("deploy", "digits", "--target", "process", "--set", "port=0")
        shell("rollback", "digits")
        golden = shell.folder / "digits" / "golden" / "batch-1.response.json"
        answer = json.loads(golden.read_bytes())
        answer["outputs"][0]["data"] = [value + 1.0 for value in answer["outputs"][0]["data"]]
        golden.write_text(json.dumps(answer))
        shell("deploy", "digits", "--target", "process", "--set", "port=0", status=10)

    assert load.failures == []
    assert min(load.answered) > 0


def test_the_load_sees_a_service_that_loses_requests(shell: Shell, start_service: Callable[..., Any]) -> None:
    """The same load on a service that is killed does report failures: it could have seen a lost request."""
    create(shell, 8)
    service = start_service(shell.folder / "digits")
    body = (shell.folder / "digits" / "golden" / "batch-1.request.json").read_bytes()

    with Load(service.url, body) as load:
        while min(load.answered) == 0:
            assert service.process.poll() is None
        service.process.kill()
        service.process.wait()
        while not load.failures:
            assert load.answered

    assert load.failures
