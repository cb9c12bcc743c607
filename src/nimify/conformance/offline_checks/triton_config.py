"""Does Triton understand config.pbtxt, and is it about this model?"""

from __future__ import annotations

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.triton import config_path, model_config, parse_config
from nimify.conformance.report import CheckResult, failed, passed
from nimify.errors import one_line, shortened
from nimify.serving.grpc.protos import model_config_pb2 as pb

_NAME = "triton-config"
_COMPARED = ("name", "backend", "default_model_filename", "max_batch_size", "input", "output")


def check_triton_config(bundle: Bundle) -> CheckResult:
    """Parse config.pbtxt as Triton's ModelConfig, and compare it with the signature."""
    service = bundle.service
    path = config_path(service)
    try:
        found = parse_config((bundle.path / path).read_bytes())
    except ValueError as error:
        return failed(_NAME, f"{path} is not a ModelConfig: {shortened(one_line(str(error)))}.")
    wrong = _difference(found, model_config(service))
    if wrong:
        return failed(
            _NAME, f"{path} does not agree with the plan in '{wrong}'.", "Write it again with: nimify create MODEL"
        )
    if not service.max_batch_size and found.HasField("dynamic_batching"):
        return failed(_NAME, f"{path} turns batching on, but the plan does not.")
    return passed(_NAME, f"{path} is a ModelConfig and agrees with the signature.")


def _difference(found: pb.ModelConfig, wanted: pb.ModelConfig) -> str | None:
    for field in _COMPARED:
        first, second = getattr(found, field), getattr(wanted, field)
        if first != second:
            return field
    return None
