"""What a person should know about taking the bundle to another runtime."""

from __future__ import annotations

from nimify.findings import Finding, Severity
from nimify.tensors import Signature


def portability_findings(signature: Signature, max_batch_size: int) -> list[Finding]:
    """What the embedded engine serves and Triton does not."""
    scalars = [spec.name for spec in (*signature.inputs, *signature.outputs) if not spec.shape]
    if not scalars or max_batch_size:
        return []
    return [
        Finding(
            "triton.scalar",
            Severity.INFO,
            f"'{scalars[0]}' is a scalar, which Triton's configuration cannot say of a model that takes no batches.",
            "The embedded engine serves it as it is. For Triton, reshape it to one element when you export the model.",
        )
    ]
