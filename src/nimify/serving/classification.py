"""The classification extension: the largest elements of an output as text.

Each element becomes `<value>:<index>`, or `<value>:<index>:<label>` where the output has labels: in Triton those of the
file that its configuration names, here those that the processor `top_k` was given for it. A floating-point value has
six decimals, a whole number none.
Source: Triton's protocol/extension_classification.md, and src/classification.cc for how values are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from nimify.serving.engines.engine import Array
from nimify.serving.faults import invalid
from nimify.serving.json_tensors import quoted
from nimify.tensors import Datatype, bf16_to_fp32


def classified(
    array: Array, datatype: Datatype, count: int, name: str, *, batched: bool, labels: Array | None = None
) -> Array:
    """The `count` largest elements of each row (of the whole tensor when not batched), largest first, as BYTES.

    Equal elements keep their order. Fewer are given when a row has fewer. An element beyond the labels has none.

    Raises:
        RequestFault: The output holds text or booleans, which have no order.
    """
    if not (datatype.is_float or datatype.is_integer):
        raise invalid(f"The output {quoted(name)} is {datatype.name}, which cannot be classified.")
    values = bf16_to_fp32(array) if datatype.name == "BF16" else array
    rows = values.reshape(values.shape[0], prod(values.shape[1:])) if batched else values.reshape(1, -1)
    count = min(count, rows.shape[1])
    with np.errstate(invalid="ignore"):  # a signalling not-a-number is no fault of ours
        keys = -rows.astype(np.float64) if datatype.is_float else np.invert(rows)  # inverting cannot overflow
    order = np.argsort(keys, axis=1, kind="stable")[:, :count]
    written = "{:f}".format if datatype.is_float else str
    ends: Sequence[bytes] = () if labels is None else [b":" + label for label in labels.tolist()]
    result = np.empty((rows.shape[0], count), dtype=object)
    for row, indices in enumerate(order.tolist()):
        result[row] = [
            f"{written(rows[row, index].item())}:{index}".encode() + (ends[index] if index < len(ends) else b"")
            for index in indices
        ]
    return result if batched else result[0]
