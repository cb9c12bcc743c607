"""A service that is sent nonsense for a time: `make fuzz`.

No answer is the service's fault, nothing hangs, the next client is answered, and memory and descriptors stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from tests.service.fuzz import grpc_cases, http_cases
from tests.service.fuzz.campaign import Campaign, Case
from tests.service.fuzz.judges import GrpcJudge, HttpJudge

if TYPE_CHECKING:
    from tests.conftest import RunningService

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(0)]

Judges = dict[str, HttpJudge | GrpcJudge]
SURFACES: dict[str, Callable[[], st.SearchStrategy[Case]]] = {
    "framing": http_cases.framing,
    "documents": http_cases.documents,
    "tensors": http_cases.tensors,
    "frame_sequences": grpc_cases.frame_sequences,
    "header_blocks": grpc_cases.header_blocks,
    "messages": grpc_cases.messages,
}
MOST_GROWTH = 32 << 20
REPLAY = os.environ.get("FUZZ_REPLAY", "")


@pytest.mark.skipif(bool(REPLAY), reason="one case is sent again")
@pytest.mark.parametrize("surface", SURFACES)
def test_nonsense_does_no_harm(
    surface: str,
    campaign: Campaign,
    attacked: RunningService,
    judges: Judges,
    resident_bytes: Callable[[int], int],
    open_files: Callable[[int], int],
    eventually: Callable[..., None],
) -> None:
    """Each case is answered or refused, and the service is as before."""
    pid, cases, judge = attacked.process.pid, SURFACES[surface](), judges[surface]
    Campaign(0.1, seed=campaign.seed + 1).run(cases, judge)  # what a service keeps, it keeps from here on
    memory, files = resident_bytes(pid), open_files(pid)
    sent = campaign.run(cases, judge)
    judge.wait_out()
    print(f"\n{surface}: {sent} cases from seed {campaign.seed}")  # noqa: T201 - shown by make fuzz
    assert resident_bytes(pid) - memory < MOST_GROWTH
    eventually(lambda: open_files(pid) <= files, what="the return of the descriptors", timeout_s=30)


@pytest.mark.skipif(not REPLAY, reason="FUZZ_REPLAY names no file")
def test_a_saved_case_does_no_harm(judges: Judges) -> None:
    """The file that FUZZ_REPLAY names."""
    case = Case.load(Path(REPLAY))
    judges[case.surface](case)
