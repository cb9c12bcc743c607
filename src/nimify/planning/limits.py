"""What one replica accepts before it says no."""

from __future__ import annotations

from dataclasses import asdict
from math import prod
from typing import Any, Final

from nimify.analysis.rows import FREE_AXIS_LENGTH, TEXT_ELEMENT_BYTES
from nimify.config import LimitsConfig
from nimify.planning.plan import Basis, Decision
from nimify.serving.spec import Limits
from nimify.tensors import TensorSpec

JSON_BYTES_PER_NUMBER: Final = 16
"""A float32 in JSON, with its comma; the longest common case."""
MOST_BODY_BYTES: Final = 1 << 30
"""Beyond this, a body limit protects nothing any more; whoever needs it asks for it."""

_REASONS: Final = {
    "max_connections": "Far more than one replica can serve at once, and few enough to keep its memory bounded.",
    "max_queue_size": "A request beyond this would only wait; the client is told at once and can go elsewhere.",
    "header_timeout_s": "Headers are small; who needs longer holds a connection for nothing.",
    "body_timeout_s": "Time for the largest body over a slow link.",
    "keep_alive_s": "Longer than the 60 seconds for which common load balancers keep an idle connection.",
    "request_timeout_s": "Most clients give up by then, and an answer to nobody is wasted work.",
    "drain_s": "Time for load balancers to notice that the replica is no longer ready.",
    "shutdown_grace_s": "With the drain it stays under the 30 seconds after which Kubernetes kills a pod.",
}


def decide_limits(asked: LimitsConfig, inputs: tuple[TensorSpec, ...], max_batch_size: int) -> list[Decision]:
    """`limits.*`: one decision for each limit, in the order of `Limits`."""
    wishes = asked.model_dump()
    return [_decide(name, wishes[name], inputs, max_batch_size) for name in asdict(Limits())]


def _decide(name: str, wish: Any, inputs: tuple[TensorSpec, ...], max_batch_size: int) -> Decision:
    key = f"limits.{name}"
    if wish is not None:
        return Decision(key, wish, "You asked for it.", Basis.ASKED)
    if name == "max_body_bytes":
        return _decide_body(key, inputs, max_batch_size)
    return Decision(key, getattr(Limits(), name), _REASONS[name], Basis.DEFAULT)


def _decide_body(key: str, inputs: tuple[TensorSpec, ...], max_batch_size: int) -> Decision:
    default = Limits().max_body_bytes
    largest = sum(_largest_json(spec, max_batch_size) for spec in inputs)
    if largest <= default:
        return Decision(key, default, "The largest request, written as JSON, fits with room to spare.", Basis.DEFAULT)
    fitting = 1 << (largest - 1).bit_length()
    if fitting > MOST_BODY_BYTES:
        reason = "The largest request as JSON would take more; send such requests in the binary form."
        return Decision(key, MOST_BODY_BYTES, reason, Basis.ESTIMATED)
    reason = f"The largest request, written as JSON, takes about {largest >> 20} MiB."
    return Decision(key, fitting, reason, Basis.ESTIMATED)


def _largest_json(spec: TensorSpec, max_batch_size: int) -> int:
    lengths = [dim if isinstance(dim, int) else FREE_AXIS_LENGTH for dim in spec.shape]
    if max_batch_size and lengths:
        lengths[0] = max_batch_size
    return prod(lengths) * (JSON_BYTES_PER_NUMBER if spec.datatype.itemsize else 2 * TEXT_ELEMENT_BYTES)
