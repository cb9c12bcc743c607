"""The tables of the comparison with peers."""

from __future__ import annotations

from benchmarks.exchange import Protocol
from benchmarks.load import LoadResult
from benchmarks.peer_report import judged, scorecard, tables
from benchmarks.records import Load, Start
from benchmarks.targets import Quantity, Target

TARGET = Target(Quantity.THROUGHPUT, "tiny", ("triton",), 2.0, Protocol.JSON, 8)
MEMORY = Target(Quantity.MEMORY, "tiny", ("raw loop",), 1.0, extra_mb=60)


def load(contestant: str, per_s: float, protocol: Protocol = Protocol.JSON, *, noisy: bool = False) -> Load:
    result = LoadResult(per_s, 1e3 / per_s, 2e3 / per_s, 1e6 / per_s, 0, float(noisy), noisy)
    return Load("tiny", 1, 8, contestant, protocol, result)


def test_ratios_are_those_of_nimify_by_the_other() -> None:
    """Four times the throughput is a quarter of the processor time."""
    (table,) = tables([load("nimify", 400), load("triton", 100), load("bentoml", 50, Protocol.LISTS)])
    rows = {row[3]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert (rows["triton"]["throughput"], rows["triton"]["CPU"]) == ("4", "0.25")
    assert (rows["bentoml"]["throughput"], rows["bentoml"]["protocol"]) == ("8", "json")
    assert (rows["nimify"]["throughput"], rows["nimify"]["req/s here"]) == ("-", "400")


def test_starts_have_a_table_of_their_own() -> None:
    """Cold start and memory, with nimify's ratio."""
    (table,) = tables([Start("tiny", 1, "nimify", 0.5, 90, False), Start("tiny", 1, "triton", 2.0, 100, True)])
    assert table.rows[1] == ("tiny", "triton", "~0.25", "~0.90", "~2.00", "~0")


def test_the_scorecard_shows_every_target() -> None:
    """What was measured, with its verdict and its noise, and what was not."""
    noisy = load("triton", 100, noisy=True)
    table = scorecard(judged([load("nimify", 300), noisy], [TARGET, MEMORY]))
    assert table.rows[0] == ("tiny", "json", "8", "throughput", "triton", ">= 2x", "3", "3 to 3", "met ~")
    assert table.rows[1][4:] == ("raw loop", "<= +60 MB", "-", "-", "not measured")


def test_a_missed_target_is_called_missed() -> None:
    """There is nothing between met and missed."""
    (row,) = scorecard(judged([load("nimify", 199), load("triton", 100)], [TARGET])).rows
    assert row[-3:] == ("1.99", "1.99 to 1.99", "missed")
