"""`ModelConfig`: what the user asks for. A wish; the plan is the verdict.

Loaded from and saved to `nimify.yaml`, the only file of a bundle that its owner edits. Unknown keys are errors.
Whatever is `None` here is decided in planning.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Final, Self

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nimify.config.deployment import DeploymentConfig
from nimify.config.objectives import ObjectivesConfig
from nimify.config.section import Section
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
    short_forms,
)
from nimify.config.tuning import TuningConfig
from nimify.config.yaml_text import StrictDumper, read_yaml
from nimify.errors import ConfigError, shortened

NAME_PATTERN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
"""A DNS-1123 label: what Kubernetes, Helm and Triton all take as a name."""
MAX_NAME_LENGTH: Final = 53
"""Helm's limit for a release name."""
EXTRAS: Final = ("compose", "nim-operator", "kserve")
"""What `with` may name: files that a bundle has only when they are asked for."""
MAX_COLLECTORS: Final = 16
"""Each of them has a thread."""
_PLAIN_MESSAGES: Final = {
    "model_type": "must be a mapping of settings",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "missing": "is missing",
    "invalid_key": "is not the name of a setting; names are text",
}
"""In the words of YAML, where pydantic speaks of Python's types."""


class ModelConfig(Section):
    """What is asked for, of one service.

    Example:
        >>> ModelConfig(name="digits").name
        'digits'
    """

    model_config = ConfigDict(serialize_by_alias=True)

    name: str | None = None
    """Name of the service; left out, it is made from the model file's name."""
    version: Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,63}$")] = "1.0.0"
    """Release of the service."""
    description: str = ""
    """What the service is for, in the words of its users."""
    license: LicenseConfig = LicenseConfig()
    batching: BatchingConfig = BatchingConfig()
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Threads inside the engine; left out, as many as the process may use."""
    resources: ResourcesConfig = ResourcesConfig()
    tensorrt: TensorRTConfig = TensorRTConfig()
    pipeline: PipelineConfig = PipelineConfig()
    collectors: Annotated[tuple[CollectorConfig, ...], Field(max_length=MAX_COLLECTORS)] = ()
    """Code that adds metrics of your own to `/v1/metrics`."""
    limits: LimitsConfig = LimitsConfig()
    response_cache: ResponseCacheConfig = ResponseCacheConfig()
    golden: GoldenConfig = GoldenConfig()
    deployment: DeploymentConfig = DeploymentConfig()
    objectives: ObjectivesConfig = ObjectivesConfig()
    tuning: TuningConfig = TuningConfig()
    # `with` is a word of Python's own, so the field has another name here.
    extras: Annotated[
        tuple[Annotated[str, Field(json_schema_extra={"enum": list(EXTRAS)})], ...], Field(alias="with")
    ] = ()
    """Files for further targets: `compose`, `nim-operator`, `kserve`."""

    @field_validator("collectors", mode="before")
    @classmethod
    def _short_forms(cls, steps: Any) -> Any:
        return short_forms(steps)

    @field_validator("collectors")
    @classmethod
    def _collectors_once(cls, collectors: tuple[CollectorConfig, ...]) -> tuple[CollectorConfig, ...]:
        names = [collector.use.rpartition(":")[2] for collector in collectors]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"must not name {shortened(repr(name), 60)} twice; give one of them both tasks")
        return collectors

    @field_validator("extras", mode="before")
    @classmethod
    def _known_extras(cls, names: Any) -> Any:
        if not isinstance(names, list | tuple):
            return names
        unknown = [name for name in names if name not in EXTRAS]
        if unknown:
            raise ValueError(f"must name some of {', '.join(EXTRAS)}, not {shortened(repr(unknown[0]), 60)}")
        return tuple(name for name in EXTRAS if name in names)

    @field_validator("name")
    @classmethod
    def _valid_name(cls, name: str | None) -> str | None:
        if name is not None and (len(name) > MAX_NAME_LENGTH or not re.fullmatch(NAME_PATTERN, name)):
            raise ValueError(
                f"must be at most {MAX_NAME_LENGTH} lower-case letters, digits and '-', "
                f"starting and ending with a letter or digit{_name_hint(name)}"
            )
        return name

    @classmethod
    def build(cls, data: Any, *, source: str = "") -> Self:
        """Validate plain data.

        Args:
            data: A mapping, e.g. from YAML.
            source: Where it comes from, for messages.

        Raises:
            ConfigError: Names the first wrong field and the fix.
        """
        if isinstance(data, dict):
            # A section whose every line is commented out reads as null, and asks for nothing.
            data = {key: value for key, value in data.items() if value is not None}
        try:
            return cls.model_validate({} if data is None else data)
        except pydantic.ValidationError as error:
            raise _config_error(error, cls, source) from None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a nimify.yaml.

        Raises:
            ConfigError: It cannot be read, is not YAML, or asks for something that does not exist.
        """
        return cls.build(read_yaml(path), source=path.name)

    def to_yaml(self) -> str:
        """The YAML text of everything that differs from the defaults; an empty mapping when nothing does."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        for steps in data.get("pipeline", {}).values():
            steps[:] = [{step["use"]: step["options"]} if step.get("options") else step["use"] for step in steps]
        return yaml.dump(data, Dumper=StrictDumper, sort_keys=False, allow_unicode=True) if data else ""


def _name_hint(name: str) -> str:
    suggestion = service_name(name)
    return f"; '{suggestion}' would do" if suggestion != name else ""


def service_name(text: str) -> str:
    """A valid service name made from free text, e.g. a file's stem; `model` when nothing is left of it."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:MAX_NAME_LENGTH].strip("-")
    return name or "model"


def _config_error(error: pydantic.ValidationError, model: type[BaseModel], source: str) -> ConfigError:
    first = error.errors(include_url=False, include_context=False)[0]
    path = [str(part) for part in first["loc"]]
    field = ".".join(path) or "the document"
    where = f"{source}: {field}" if source else field
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1)
        remedy = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known)}."
        return ConfigError("there is no such setting.", field=where, remedy=remedy)
    said = first["msg"].removeprefix("Value error, ")
    message = _PLAIN_MESSAGES.get(first["type"], re.sub(r"^(?:Input|String|Value) should ", "must ", said))
    is_scalar = isinstance(first["input"], bool | int | float)
    remedy = "Put the value in quotes." if first["type"] == "string_type" and is_scalar else ""
    return ConfigError(f"{message}.", field=where, remedy=remedy)


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        if part.isdigit() or part not in model.model_fields:
            return sorted((CollectorConfig if path[0] == "collectors" else StepConfig).model_fields)
        annotation = model.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return sorted((CollectorConfig if path[0] == "collectors" else StepConfig).model_fields)
        model = annotation
    return sorted(field.alias or name for name, field in model.model_fields.items())
