"""An API server that errs, refuses or falls silent: each command ends as it should, and clients notice nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from tests.cluster.conftest import SMALL, Shell
from tests.cluster.faulty_api import CUT, SILENCE, Fault, faulty_api
from tests.cluster.waiting import read_until

if TYPE_CHECKING:
    from tests.cluster.conftest import Namespace
    from tests.cluster.load import Load

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
DEPLOYED, REFUSED, ROLLED_BACK = 0, 10, 11
_ROLLOUT: Final = "/deployments|/replicasets|/pods"
_WRITES: Final = ("POST", "PUT", "PATCH")


class Case(NamedTuple):
    """A fault, and what `nimify deploy` makes of it.

    Attributes:
        fault: What happens.
        status: How the command ends.
        said: Part of what it says.
        applied: Whether the fault begins only when the new revision is applied.
    """

    fault: Fault
    status: int
    said: str = ""
    applied: bool = False


CASES: Final = {
    "429 to the first two of every verb": Case(Fault("429", ("GET", *_WRITES), times=2), DEPLOYED),
    "500 before anything is done": Case(Fault("500", path="/version"), REFUSED, "cannot be reached"),
    "silence before anything is done": Case(Fault(SILENCE, path="/version"), REFUSED, "cannot be reached"),
    "a token that has expired": Case(Fault("401", times=1000), REFUSED, "must be logged in"),
    "409 for the Lease": Case(Fault("409", ("PUT",), "/leases/"), REFUSED, "was quicker"),
    "409 while the chart is applied": Case(Fault("409", ("PATCH",), "/deployments/"), DEPLOYED),
    "500 while the chart is applied": Case(Fault("500", ("PATCH",), "/deployments/"), ROLLED_BACK, "made up"),
    "500 during the rollout": Case(Fault("500", path=_ROLLOUT, times=3), DEPLOYED, "does not answer", applied=True),
    "answers cut during the rollout": Case(Fault(CUT, path=_ROLLOUT, times=3), DEPLOYED, applied=True),
    "silence during the rollout": Case(Fault(SILENCE, path=_ROLLOUT), DEPLOYED, "did not end within", applied=True),
    "500 while the pods are proven": Case(Fault("500", ("GET", "POST"), "/portforward"), DEPLOYED, applied=True),
}


@pytest.fixture(scope="module")
def live(shell: Shell, namespace: Namespace, first: str) -> Namespace:
    """The namespace with a revision in it; which one is all the same to these tests."""
    shell("deploy", first, "--target", "kubernetes", "--namespace", namespace.name, *SMALL)
    return namespace


@pytest.mark.parametrize("name", CASES)
def test_an_api_server_that_errs_ends_no_deployment_halfway(
    name: str, shell: Shell, live: Namespace, first: str, tmp_path: Path, load: Callable[[str], Load]
) -> None:
    """The new revision is live, or that of before is; never two of them, and no request is lost."""
    case = CASES[name]
    before, pods = shell("status", "digits", "--json").json(), live.pods()
    with (
        load(live.address()) as clients,
        faulty_api(live.cluster.layout.kubeconfig("deployer"), tmp_path) as (path, server),
    ):
        through = Shell(shell.folder, {**shell.environment, "KUBECONFIG": str(path)})
        where = ("--target", "kubernetes", "--namespace", live.name, *SMALL)
        if not case.applied:
            server.begin(case.fault)
        process = through.start("deploy", first, *where, "--set", f"podAnnotations.case=c{list(CASES).index(name)}")
        said = ""
        if case.applied:
            said = read_until(process, "is applied")
            server.begin(case.fault)
        _, rest = process.communicate(timeout=900)
    said += rest
    print(f"{name}: {dict(server.met)}, status {process.returncode}: {said}")  # noqa: T201 - shown by pytest -rP
    assert set(server.met) == set(case.fault.verbs), "the fault happened to every verb"
    assert process.returncode == case.status, said
    assert case.said in said
    assert "Traceback" not in said
    assert "You may not" not in said
    assert clients.failures == []
    after = shell("status", "digits", "--json").json()
    assert after["phase"] == "running"
    assert len(live.pods()) == len(pods)
    if case.status == REFUSED:
        assert (live.pods(), after["revisions"]) == (pods, before["revisions"])


def test_a_watch_that_breaks_off_does_not_end_stop(shell: Shell, live: Namespace, first: str, tmp_path: Path) -> None:
    """Helm watches what it removes; cut three times, it looks again, and everything is gone at the end."""
    with faulty_api(live.cluster.layout.kubeconfig("deployer"), tmp_path) as (path, server):
        server.begin(Fault(CUT, path="watch=(true|1)", times=3))
        through = Shell(shell.folder, {**shell.environment, "KUBECONFIG": str(path)})
        through("stop", "digits", "--purge")
    assert server.met["GET"] == 3
    assert live.get("deployments,services,networkpolicies")["items"] == []
    where = ("--target", "kubernetes", "--namespace", live.name)
    assert shell("status", "digits", *where, "--json", status=1).json()["phase"] == "absent"
    shell("deploy", first, *where, *SMALL)
