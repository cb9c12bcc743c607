"""The promises against peers: which measurements they need, and how they are judged."""

from __future__ import annotations

import pytest
from benchmarks.cells import RAW, Cell
from benchmarks.exchange import Protocol
from benchmarks.load import LoadResult
from benchmarks.records import Ceiling, Load, RawMemory, Start
from benchmarks.targets import TARGETS, TRITON, Quantity, Target, Verdict, judge

THROUGHPUT = Target(Quantity.THROUGHPUT, "tiny", TRITON, 2.0, Protocol.JSON, 8)
CPU = Target(Quantity.CPU, "tiny", TRITON, 0.5, Protocol.JSON, 8)


def load(
    contestant: str, per_s: float, *, cpu_us: float = 1.0, number: int = 1, noisy: bool = False, lists: bool = False
) -> Load:
    result = LoadResult(per_s, 1e3 / per_s, 2e3 / per_s, cpu_us, 0, float(noisy), noisy)
    return Load("tiny", number, 8, contestant, Protocol.LISTS if lists else Protocol.JSON, result)


def verdict_of(target: Target, *records: Load | Start | Ceiling | RawMemory) -> Verdict:
    verdict = judge(target, records)
    assert verdict is not None
    return verdict


def test_a_peer_counts_with_its_better_setting() -> None:
    """Twice the slower setting is not enough where the other one is faster."""
    verdict = verdict_of(THROUGHPUT, load("nimify", 200), load("triton", 100), load("triton-batched", 120))
    assert (verdict.rival, verdict.met) == ("triton-batched", False)
    assert verdict.measured.value == pytest.approx(200 / 120)


def test_a_bound_itself_keeps_the_promise() -> None:
    """Exactly twice is at least twice."""
    assert verdict_of(THROUGHPUT, load("nimify", 200), load("triton", 100)).met


def test_processor_time_is_compared_with_the_setting_of_the_most_throughput() -> None:
    """A setting that is frugal and slow is not the one that its users would choose."""
    frugal = load("triton-batched", 50, cpu_us=10)
    verdict = verdict_of(CPU, load("nimify", 200, cpu_us=40), load("triton", 100, cpu_us=100), frugal)
    assert (verdict.rival, verdict.met) == ("triton", True)
    assert verdict.measured.value == pytest.approx(0.4)


def test_the_median_of_the_quiet_rounds_decides() -> None:
    """A disturbed round is left out, and all quiet ones are shown."""
    ours = [load("nimify", rate, number=number) for number, rate in enumerate((300, 250, 100), 1)]
    theirs = [load("triton", 100, number=number, noisy=number == 3) for number in (1, 2, 3)]
    verdict = verdict_of(THROUGHPUT, *ours, *theirs)
    assert verdict.rounds == (2.5, 3.0)
    assert not verdict.measured.noisy


def test_a_verdict_with_only_noisy_rounds_says_so() -> None:
    """Noise on the rival's side is noise too."""
    assert verdict_of(THROUGHPUT, load("nimify", 300), load("triton", 100, noisy=True)).measured.noisy


def test_what_was_not_measured_is_not_judged() -> None:
    """Neither without a rival nor without nimify is there a verdict."""
    assert judge(THROUGHPUT, [load("nimify", 300), load("fastapi", 1)]) is None
    assert judge(THROUGHPUT, [load("triton", 300)]) is None


def test_json_is_compared_with_the_lists_of_a_peer_that_has_its_own_json() -> None:
    """BentoML speaks no Open Inference Protocol; what it is asked instead counts as JSON."""
    target = Target(Quantity.THROUGHPUT, "tiny", ("bentoml-batched",), 5.0, Protocol.JSON, 8)
    assert verdict_of(target, load("nimify", 600), load("bentoml-batched", 100, lists=True)).met


def test_throughput_is_compared_with_the_loop_of_single_rows() -> None:
    """Of the ceiling of the same step, not of another number of connections."""
    target = Target(Quantity.THROUGHPUT, "tiny", (RAW,), 0.95, Protocol.JSON, 8)
    ceilings = [Ceiling("tiny", 1, connections, rate, 9e9, False) for connections, rate in ((8, 100.0), (64, 900.0))]
    assert verdict_of(target, load("nimify", 96), *ceilings).measured.value == pytest.approx(0.96)


def test_memory_may_exceed_the_bare_process_by_so_much() -> None:
    """The bound is in megabytes above it, whatever it is."""
    target = Target(Quantity.MEMORY, "text", (RAW,), 1.0, extra_mb=60)
    bare = RawMemory("text", 1, 180_000_000)
    assert verdict_of(target, Start("text", 1, "nimify", 0.5, 239_000_000, True), bare).met
    assert not verdict_of(target, Start("text", 1, "nimify", 0.5, 241_000_000, True), bare).met


def test_a_start_is_compared_with_the_start() -> None:
    """Cold start and idle memory come from the same records."""
    starts = [Start("tiny", 1, "nimify", 0.5, 90, False), Start("tiny", 1, "triton", 1.0, 100, False)]
    assert verdict_of(Target(Quantity.START, "tiny", ("triton",), 0.4), *starts).measured.value == 0.5
    assert verdict_of(Target(Quantity.MEMORY, "tiny", ("triton",), 1.0), *starts).measured.value == 0.9


def test_a_target_names_what_must_be_measured() -> None:
    """Both sides under the same load, each in the form that it speaks; starts need no load."""
    target = Target(Quantity.THROUGHPUT, "tiny", ("bentoml", RAW), 5.0, Protocol.JSON, 64)
    assert set(target.cells()) == {
        Cell("tiny", "nimify", Protocol.JSON, 64),
        Cell("tiny", "bentoml", Protocol.LISTS, 64),
        Cell("tiny", RAW, None, 64),
    }
    assert not list(Target(Quantity.START, "tiny", TRITON, 0.4).cells())


def test_no_target_is_there_twice() -> None:
    """Each promise has one bound."""
    places = [(t.quantity, t.model, t.rivals, t.protocol, t.connections) for t in TARGETS]
    assert len(set(places)) == len(places) == 37
