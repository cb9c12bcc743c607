"""How many rows may go through the model in one run."""

from __future__ import annotations

from typing import Final

from nimify.analysis.analysis import Analysis
from nimify.analysis.measure import Measurement
from nimify.analysis.rows import usual_rows
from nimify.config import BatchingConfig
from nimify.errors import ConfigError
from nimify.planning.plan import Basis, Decision
from nimify.planning.resources import replica_bytes
from nimify.quantities import human_bytes, human_rate

MAX_MODEL_BYTES: Final = 1 << 30
"""What a batch may make the model take beyond what it takes at batch 1, unless a memory limit was asked for.

A convention and nothing measured: what most nodes can spare for one replica."""

_KEY: Final = "batching.max_batch_size"


def decide_batch_size(analysis: Analysis, asked: BatchingConfig, memory_limit: int | None = None) -> Decision:
    """`batching.max_batch_size`: most rows in one run, 0 when requests must not be merged.

    Args:
        analysis: What is known of the model.
        asked: What is asked for.
        memory_limit: Bytes that the whole replica may take, when that was asked for.

    Raises:
        ConfigError: Batching was asked for, and this model cannot do it.
    """
    axis = analysis.batch_axis
    if asked.max_batch_size:
        if not axis.supported:
            raise ConfigError(
                f"{asked.max_batch_size} rows were asked for, but this model cannot take batches: {axis.reason}",
                field=_KEY,
                remedy="Leave the setting out, or export the model with a free first axis.",
            )
        return Decision(_KEY, asked.max_batch_size, "You asked for it.", Basis.ASKED)
    if asked.max_batch_size == 0:
        return Decision(_KEY, 0, "You asked for it: requests are run one by one.", Basis.ASKED)
    basis = Basis.MEASURED if axis.basis == "measured" else Basis.DECLARED
    if not axis.supported:
        return Decision(_KEY, 0, f"Requests are run one by one: {axis.reason}", basis)
    rows, why = usual_rows(analysis.model.signature.inputs)
    if analysis.measured is not None:
        rows, why = _by_throughput(analysis.measured)
    decision = Decision(_KEY, rows, f"{_sentence(axis.reason)} {why}", basis)
    return _within_memory(analysis, decision, memory_limit)


def decide_queue_delay(asked: BatchingConfig, max_batch_size: int) -> Decision:
    """`batching.max_queue_delay_us`: how long a request may wait for company.

    Raises:
        ConfigError: A delay was asked for, and requests are not merged.
    """
    key = "batching.max_queue_delay_us"
    if asked.max_queue_delay_us:
        if max_batch_size < 2:
            raise ConfigError(
                "a delay only makes sense when requests are merged, and for this model they are not.",
                field=key,
                remedy="Leave the setting out.",
            )
        return Decision(key, asked.max_queue_delay_us, "You asked for it.", Basis.ASKED)
    if max_batch_size < 2:
        return Decision(key, 0, "Requests are not merged, so none has to wait for another.", Basis.DEFAULT)
    reason = "An idle engine runs a request at once; while it is busy, the next batch gathers by itself."
    return Decision(key, 0, reason, Basis.DEFAULT)


def _by_throughput(measured: Measurement) -> tuple[int, str]:
    best = measured.best
    rows = max(best.batch, 1)
    if len(measured.points) == 1:
        return rows, f"{rows} rows, the only batch that was measured. {measured.stopped}".rstrip()
    most = max(measured.points, key=lambda point: point.rows_per_s)
    return rows, (
        f"{rows} rows, because it was measured at {human_rate(best.rows_per_s)} rows in a second, and no batch up to "
        f"{measured.points[-1].batch} gave much more than that (at most {human_rate(most.rows_per_s)})."
    )


def _within_memory(analysis: Analysis, decision: Decision, memory_limit: int | None) -> Decision:
    """The decision, with half the rows as often as it takes to keep within memory."""
    rows = decision.value
    while rows > 1 and not _fits(analysis, rows, memory_limit):
        rows //= 2
    if rows == decision.value:
        return decision
    figure = analysis.memory_at(decision.value)
    needed = "" if figure is None else human_bytes(figure.model_high_bytes)
    bound = (
        f"stay under {human_bytes(MAX_MODEL_BYTES)} more than one row takes, which is the rule without a memory limit"
        if memory_limit is None
        else f"fit into the {human_bytes(memory_limit)} that you allow"
    )
    measured = figure is not None and figure.measured
    reason = f"{rows} rows, because the model would take up to {needed} with {decision.value}, and {rows} {bound}."
    axis = _sentence(analysis.batch_axis.reason)
    return Decision(_KEY, rows, f"{axis} {reason}", Basis.MEASURED if measured else Basis.ESTIMATED)


def _fits(analysis: Analysis, rows: int, memory_limit: int | None) -> bool:
    figure, one = analysis.memory_at(rows), analysis.memory_at(1)
    if figure is None or one is None:
        return True
    if memory_limit is None:
        return figure.model_high_bytes - one.model_high_bytes <= MAX_MODEL_BYTES
    return replica_bytes(figure, instances=1) <= memory_limit


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!")) else f"{text}."
