"""How many rows may go through the model in one run."""

from __future__ import annotations

from math import prod
from typing import Final

from nimify.analysis.analysis import Analysis
from nimify.config import BatchingConfig
from nimify.errors import ConfigError
from nimify.planning.plan import Basis, Decision
from nimify.tensors import TensorSpec

MAX_ROWS: Final = 32
"""Where throughput on a CPU has flattened for small rows."""
MAX_ROWS_OF_FREE_LENGTH: Final = 16
"""Only requests of one length are merged, so large batches of them are rare and cost memory for nothing."""
MAX_MERGED_BYTES: Final = 8 << 20
"""What the inputs of one run may take together."""
FREE_AXIS_LENGTH: Final = 128
"""What a free axis counts for when rows are measured."""
TEXT_ELEMENT_BYTES: Final = 64
"""What one element of BYTES counts for."""


def decide_batch_size(analysis: Analysis, asked: BatchingConfig) -> Decision:
    """`batching.max_batch_size`: most rows in one run, 0 when requests must not be merged.

    Raises:
        ConfigError: Batching was asked for, and this model cannot do it.
    """
    axis = analysis.batch_axis
    if asked.max_batch_size:
        if not axis.supported:
            raise ConfigError(
                f"{asked.max_batch_size} rows were asked for, but this model cannot take batches: {axis.reason}",
                field="batching.max_batch_size",
                remedy="Leave the setting out, or export the model with a free first axis.",
            )
        return _batch_size(asked.max_batch_size, "You asked for it.", Basis.ASKED)
    if asked.max_batch_size == 0:
        return _batch_size(0, "You asked for it: requests are run one by one.", Basis.ASKED)
    basis = Basis.MEASURED if axis.basis == "measured" else Basis.DECLARED
    if not axis.supported:
        return _batch_size(0, f"Requests are run one by one: {axis.reason}", basis)
    rows, why = _default_rows(analysis.model.signature.inputs)
    return _batch_size(rows, f"{_sentence(axis.reason)} {why}", basis)


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


def row_bytes(specs: tuple[TensorSpec, ...]) -> int:
    """About how many bytes one row of these tensors takes, the first axis left out."""
    return sum(
        (spec.datatype.itemsize or TEXT_ELEMENT_BYTES)
        * prod(dim if isinstance(dim, int) else FREE_AXIS_LENGTH for dim in spec.shape[1:])
        for spec in specs
    )


def _default_rows(inputs: tuple[TensorSpec, ...]) -> tuple[int, str]:
    size = row_bytes(inputs)
    free = any(not isinstance(dim, int) for spec in inputs for dim in spec.shape[1:])
    most = MAX_ROWS_OF_FREE_LENGTH if free else MAX_ROWS
    fitting = 1 << max(MAX_MERGED_BYTES // max(size, 1), 1).bit_length() - 1
    if fitting < most:
        about = "about " if free else ""
        return fitting, (
            f"{fitting} rows, because one row of input takes {about}{size} bytes and the inputs of one run "
            f"are kept under {MAX_MERGED_BYTES >> 20} MiB."
        )
    if free:
        return most, f"{most} rows, because only requests of one length are merged, and lengths vary here."
    return most, f"{most} rows, because one row of input takes only {size} bytes, and more rows gain little on a CPU."


def _batch_size(rows: int, reason: str, basis: Basis) -> Decision:
    return Decision("batching.max_batch_size", rows, reason, basis)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!")) else f"{text}."
