"""A cluster that has its troubles: an API server that errs or dies, a deployer that is killed, two at once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.cluster.conftest import SMALL, Shell
from tests.cluster.faulty_api import faulty_api
from tools.cluster import cluster as lifecycle

if TYPE_CHECKING:
    from tests.cluster.conftest import Namespace
    from tests.cluster.load import Load

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
REFUSED: Final = 10


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What a command says up to a line that holds some words."""
    said = ""
    for line in process.stderr or ():
        said += line
        if words in line:
            return said
    raise AssertionError(said)


@pytest.fixture
def where(deployed: Namespace) -> tuple[str, ...]:
    """The options of a deployment."""
    return ("--target", "kubernetes", "--namespace", deployed.name, *SMALL)


def test_of_two_deployers_one_is_told(shell: Shell, where: tuple[str, ...], second: str) -> None:
    """The second one ends with its own status and says who deploys, and the first goes on."""
    one = shell.start("deploy", second, *where)
    said = read_until(one, "is applied")
    other = shell("deploy", second, *where, "--set", "replicaCount=3", status=REFUSED)
    text, rest = one.communicate(timeout=600)
    assert one.returncode == 0, said + rest
    assert "is being deployed by" in other.said
    assert text


def test_a_deployer_that_is_killed_locks_nobody_out(
    shell: Shell, where: tuple[str, ...], deployed: Namespace, second: str, load: Callable[[str], Load]
) -> None:
    """What was live answers on, and the next deployment goes through when the Lease has expired."""
    with load(deployed.address()) as clients:
        one = shell.start("deploy", second, *where, "--set", "logLevel=warning")
        read_until(one, "is applied")
        one.kill()
        one.communicate()
        refused = shell("deploy", second, *where, status=REFUSED)
        assert "forgotten after 30 seconds" in refused.said
        deployed.await_expired_lease()
        shell("deploy", second, *where)
    assert clients.failures == []
    assert shell("status", "digits", "--json").json()["phase"] == "running"


def test_an_api_server_that_dies_in_between_is_waited_for(
    shell: Shell, where: tuple[str, ...], deployed: Namespace, second: str, load: Callable[[str], Load]
) -> None:
    """The rollout is watched on when it is back, and proven; clients notice nothing."""
    with load(deployed.address()) as clients:
        one = shell.start("deploy", second, *where, "--set", "replicaCount=3")
        said = read_until(one, "is applied")
        lifecycle.restart_api_server(deployed.cluster.layout)
        _, rest = one.communicate(timeout=600)
    assert one.returncode == 0, said + rest
    assert clients.failures == []


@pytest.mark.parametrize("seed", range(3))
def test_an_api_server_that_errs_is_no_failed_rollout(
    seed: int, shell: Shell, where: tuple[str, ...], deployed: Namespace, first: str,
    tmp_path: Path, load: Callable[[str], Load],
) -> None:  # fmt: skip
    """With one answer of fifty an error, a command ends with the new revision live, or says that nothing changed."""
    kubeconfig = deployed.cluster.layout.kubeconfig("deployer")
    proxy = faulty_api(kubeconfig, tmp_path, statuses=(409, 429, 500), share=0.02, seed=seed)
    with load(deployed.address()) as clients, proxy as (path, server):
        through = Shell(shell.folder, {**shell.environment, "KUBECONFIG": str(path)})
        process = through.start("deploy", first, *where, "--set", f"replicaCount={2 + seed}")
        _, said = process.communicate(timeout=900)
    print(f"seed {seed}: {dict(server.faults)}, status {process.returncode}: {said}")  # noqa: T201
    assert process.returncode in {0, REFUSED}, said
    assert "Traceback" not in said
    assert "You may not" not in said
    assert clients.failures == []
    assert shell("status", "digits", "--json").json()["phase"] == "running"
