"""What the user asks for: `nimify.yaml` as validated, frozen types."""

from nimify.config.model import MAX_NAME_LENGTH, NAME_PATTERN, ModelConfig, service_name
from nimify.config.section import ByteSize, Section
from nimify.config.sections import (
    BatchingConfig,
    GoldenConfig,
    LicenseConfig,
    LimitsConfig,
    PipelineConfig,
    ResourcesConfig,
    StepConfig,
    TensorRTConfig,
)
from nimify.config.yaml_text import parse_yaml, read_yaml

__all__ = [
    "MAX_NAME_LENGTH",
    "NAME_PATTERN",
    "BatchingConfig",
    "ByteSize",
    "GoldenConfig",
    "LicenseConfig",
    "LimitsConfig",
    "ModelConfig",
    "PipelineConfig",
    "ResourcesConfig",
    "Section",
    "StepConfig",
    "TensorRTConfig",
    "parse_yaml",
    "read_yaml",
    "service_name",
]
