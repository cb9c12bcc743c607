"""One release after the other on the same sockets, under load of every kind: nobody notices. `make soak-rollouts`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.load.background import BackgroundLoad
from tests.load.load import mixed_clients
from tests.load.questions import Oracle, keyed_model
from tests.load.rollouts import Rollouts

CLIENTS = 16


@pytest.mark.slow
def test_no_request_is_lost_when_releases_take_over_from_each_other(
    make_bundle_of: Callable[..., Path], tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """The old one is told to stop by SIGTERM while HTTP and gRPC go on, and ends in order."""
    bundle = make_bundle_of("keyed", keyed_model())
    with (
        Rollouts(bundle, tmp_path, "--drain", "3", "--workers", "2") as rollouts,
        BackgroundLoad(
            Oracle(keyed_model()), lambda: mixed_clients(rollouts.port, rollouts.grpc_address, count=CLIENTS)
        ) as load,
    ):
        for _ in range(2):
            answered = load.tally.answered
            eventually(lambda goal=answered + 300: load.tally.answered > goal, what="load", timeout_s=60)
            assert rollouts.roll() == 0
    assert load.tally.failed == []
    assert load.tally.wrong == []
    assert "Traceback" not in rollouts.logs()
