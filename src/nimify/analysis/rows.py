"""How many rows are worth merging into one run, going by what one row takes: a question of shapes alone."""

from __future__ import annotations

from math import prod
from typing import Final

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


def usual_rows(inputs: tuple[TensorSpec, ...]) -> tuple[int, str]:
    """How many rows to merge at most, and why, in one sentence."""
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


def row_bytes(specs: tuple[TensorSpec, ...]) -> int:
    """About how many bytes one row of these tensors takes, the first axis left out."""
    return sum(
        (spec.datatype.itemsize or TEXT_ELEMENT_BYTES)
        * prod(dim if isinstance(dim, int) else FREE_AXIS_LENGTH for dim in spec.shape[1:])
        for spec in specs
    )
