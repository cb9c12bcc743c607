"""The fuzzer itself: a seed draws the same cases again, and what fails is made small and kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.service.fuzz.campaign import ROUND, Campaign, Case, CaseFailed
from tests.service.fuzz.http_cases import framing


def test_a_seed_draws_the_same_cases(tmp_path: Path) -> None:
    """And another one draws others."""

    def drawn(seed: int) -> list[Case]:
        cases: list[Case] = []
        assert Campaign(1e-3, seed, tmp_path).run(framing(), cases.append) == ROUND
        return cases

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_case_that_fails_is_made_small_and_kept(tmp_path: Path) -> None:
    """The message says how to send it again, and how to draw it again."""

    def judge(case: Case) -> None:
        assert b"chunked" not in b"".join(case.pieces)

    with pytest.raises(CaseFailed, match="FUZZ_SEED=7") as failure:
        Campaign(60.0, 7, tmp_path).run(framing(), judge)

    (file,) = tmp_path.iterdir()
    assert f"FUZZ_REPLAY={file}" in str(failure.value)
    kept = Case.load(file)
    assert kept.surface == "framing"
    assert b"chunked" in b"".join(kept.pieces)
    assert len(b"".join(kept.pieces)) < 200
