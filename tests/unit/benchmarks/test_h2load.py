"""What h2load prints and logs, as figures."""

from __future__ import annotations

import pytest
from benchmarks.failure import RunFailed
from benchmarks.h2load import outcome

SUMMARY = """\
finished in 1.00s, 4.00 req/s, 481B/s
requests: 4 total, 12 started, 4 done, 4 succeeded, {failed} failed, 0 errored, 0 timeout
status codes: 4 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.02KB (1044) total, 760B (760) headers (space savings 3.80%), {data}B ({data}) data
"""
LOG = ["1796045486633998\t200\t3000", "1796045486636633\t200\t1000", "17\t200\t2000", "18\t200\t4000"]


def test_answers_and_their_latencies_are_read() -> None:
    """Latencies are those of the log, in milliseconds."""
    result = outcome(SUMMARY.format(data=284, failed=0), LOG, seconds=1, answer_length=71)
    assert (result.requests, result.duration_s, result.errors) == (4, 1, 0)
    assert (result.p50_ms, result.p99_ms) == (3.0, 4.0)


def test_calls_that_fail_in_their_trailers_are_errors() -> None:
    """GRPC fails with the HTTP status 200 and without a message; the missing bytes tell."""
    result = outcome(SUMMARY.format(data=142, failed=0), LOG, seconds=1, answer_length=71)
    assert (result.requests, result.errors) == (2, 2)
    assert outcome(SUMMARY.format(data=0, failed=0), LOG, seconds=1, answer_length=71).requests == 0


def test_other_statuses_and_broken_connections_are_errors() -> None:
    """Whatever is not an answer with the status 200."""
    result = outcome(SUMMARY.format(data=213, failed=2), [*LOG[:3], "19\t503\t10"], seconds=1, answer_length=71)
    assert (result.requests, result.errors) == (3, 3)


def test_output_without_a_summary_is_refused() -> None:
    """It would be read as a server that answers nothing."""
    with pytest.raises(RunFailed, match="no summary"):
        outcome("connection refused", [], seconds=1, answer_length=71)
