"""What the user asks for: `nimify.yaml` as validated, frozen types."""

from nimify.config.deployment import DeploymentConfig, ExposeConfig, ScalingConfig
from nimify.config.model import EXTRAS, MAX_NAME_LENGTH, NAME_PATTERN, ModelConfig, service_name
from nimify.config.objectives import ObjectivesConfig
from nimify.config.section import ByteSize, Section
from nimify.config.sections import (
    BatchingConfig,
    CollectorConfig,
    GoldenConfig,
    LicenseConfig,
    LimitsConfig,
    PipelineConfig,
    ResourcesConfig,
    ResponseCacheConfig,
    StepConfig,
    TensorRTConfig,
)
from nimify.config.tuning import TunedValue, TuningConfig
from nimify.config.yaml_text import parse_yaml, read_yaml, without_key

__all__ = [
    "EXTRAS",
    "MAX_NAME_LENGTH",
    "NAME_PATTERN",
    "BatchingConfig",
    "ByteSize",
    "CollectorConfig",
    "DeploymentConfig",
    "ExposeConfig",
    "GoldenConfig",
    "LicenseConfig",
    "LimitsConfig",
    "ModelConfig",
    "ObjectivesConfig",
    "PipelineConfig",
    "ResourcesConfig",
    "ResponseCacheConfig",
    "ScalingConfig",
    "Section",
    "StepConfig",
    "TensorRTConfig",
    "TunedValue",
    "TuningConfig",
    "parse_yaml",
    "read_yaml",
    "service_name",
    "without_key",
]
