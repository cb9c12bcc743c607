"""The benchmark's tables: ratios within rounds, medians over rounds, quiet rounds first."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.exchange import Protocol
from benchmarks.load import LoadResult
from benchmarks.records import Ceiling, Load, Record, Start
from benchmarks.report import Table, as_markdown, as_text, tables


def load(contestant: str, number: int, requests_per_s: float, *, noisy: bool = False) -> Load:
    result = LoadResult(
        requests_per_s=requests_per_s,
        p50_ms=1e3 / requests_per_s,
        p99_ms=2e3 / requests_per_s,
        cpu_us=1e6 / requests_per_s,
        errors=0,
        other_cores=float(noisy),
        noisy=noisy,
    )
    return Load("tiny", number, 8, contestant, Protocol.JSON, result)


def cell(table: Table, contestant: str, column: str) -> str:
    at = table.header.index("server")
    (row,) = [row for row in table.rows if row[at] == contestant]
    return row[table.header.index(column)]


def throughput(records: Sequence[Record]) -> Table:
    return tables(records)[0]


def test_a_ratio_is_taken_within_a_round() -> None:
    """A machine that is twice as slow in one round changes no ratio."""
    records = [load("nimify", 1, 800), load("fastapi", 1, 200), load("nimify", 2, 400), load("fastapi", 2, 100)]
    assert cell(throughput(records), "nimify", "of fastapi") == "4"


def test_quiet_rounds_are_preferred() -> None:
    """A round that was disturbed is left out when another was not."""
    records = [load("nimify", 1, 100, noisy=True), load("fastapi", 1, 100), load("nimify", 2, 300)]
    records.append(load("fastapi", 2, 100))
    assert cell(throughput(records), "nimify", "of fastapi") == "3"


def test_figures_with_only_noisy_rounds_are_marked() -> None:
    """Noise on either side of a ratio is shown."""
    records = [load("nimify", 1, 300), load("fastapi", 1, 100, noisy=True)]
    assert cell(throughput(records), "nimify", "of fastapi") == "~3"
    assert cell(throughput(records), "nimify", "req/s here") == "300"


def test_throughput_is_compared_with_both_ceilings() -> None:
    """Single rows and full batches are two different ceilings."""
    ceiling = Ceiling("tiny", 1, 8, single_rows_per_s=1000, merged_rows_per_s=10_000, noisy=False)
    table = throughput([ceiling, load("nimify", 1, 500)])
    assert cell(table, "nimify", "of raw x1") == "0.50"
    assert cell(table, "nimify", "of raw batch") == "0.050"
    assert cell(table, "nimify", "of fastapi") == "-"


def test_latency_and_start_are_ratios_where_less_is_better() -> None:
    """A server that is four times as fast has a quarter of the latency."""
    starts = [Start("tiny", 1, "nimify", 0.5, 50_000_000, False), Start("tiny", 1, "fastapi", 1.0, 100_000_000, False)]
    _, latency, start = tables([load("nimify", 1, 400), load("fastapi", 1, 100), *starts])
    assert cell(latency, "nimify", "p99") == "0.25"
    assert cell(start, "nimify", "start") == "0.50"
    assert cell(start, "nimify", "MB here") == "50"


def test_both_forms_show_every_cell() -> None:
    """Text and Markdown differ in looks only."""
    table = Table("Caption.", ("server", "ratio"), [("nimify", "4"), ("fastapi", "1")])
    markdown, text = as_markdown(table).splitlines(), as_text(table).splitlines()
    assert markdown[2:] == ["| server | ratio |", "| --- | --- |", "| nimify | 4 |", "| fastapi | 1 |"]
    assert text[2:] == ["   server  ratio", "   nimify      4", "  fastapi      1"]
