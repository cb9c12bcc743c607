"""`ModelConfig`: what the user asks for. A wish; the plan is the verdict.

Loaded from and saved to `nimify.yaml`, the only file of a bundle that its owner edits. Unknown keys are errors.
Whatever is `None` here is decided in planning.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Final, Self

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, field_validator

from nimify.errors import ConfigError
from nimify.quantities import SIZE_PATTERN, parse_size, size_text

NAME_PATTERN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
"""A DNS-1123 label: what Kubernetes, Helm and Triton all take as a name."""
MAX_NAME_LENGTH: Final = 53
"""Helm's limit for a release name."""
_MAX_CONFIG_BYTES: Final = 1 << 20
_PLAIN_MESSAGES: Final = {
    "model_type": "must be a mapping of settings",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "missing": "is missing",
    "invalid_key": "is not the name of a setting; names are text",
}
"""In the words of YAML, where pydantic speaks of Python's types."""


class _Section(BaseModel):
    # Strict, because YAML turns `yes` into a boolean, which must not become the number 1.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class LicenseConfig(_Section):
    """The licence of the model, reported by `/v1/license`."""

    name: str = ""
    """SPDX identifier or title, e.g. `Apache-2.0`."""
    url: str = ""
    """Where the text can be read."""
    content: str = ""
    """The text itself."""


class BatchingConfig(_Section):
    """How requests are merged."""

    max_batch_size: Annotated[int, Field(ge=0, le=65536)] | None = None
    """Most rows in one run; 0 turns merging off; left out, it is decided."""
    max_queue_delay_us: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """How long a request may wait for company, in microseconds."""


class StepConfig(_Section):
    """One processor: `softmax`, or `{top_k: {k: 3}}`."""

    use: str
    """Name of a processor, or `file.py:name` for your own."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What it is told; see its own description."""

    @field_validator("options")
    @classmethod
    def _plain_data(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(options, allow_nan=False)  # plan.json will hold them
        except (TypeError, ValueError):
            raise ValueError("must hold text, finite numbers, booleans, lists and mappings only") from None
        return options


class PipelineConfig(_Section):
    """Processors around the engine."""

    before: tuple[StepConfig, ...] = ()
    """From what the client sends to what the model takes, in this order."""
    after: tuple[StepConfig, ...] = ()
    """From what the model gives to what the client gets, in this order."""

    @field_validator("before", "after", mode="before")
    @classmethod
    def _short_forms(cls, steps: Any) -> Any:
        return tuple(_step(step) for step in steps) if isinstance(steps, list | tuple) else steps


class LimitsConfig(_Section):
    """What one replica accepts; left out, the service's defaults hold."""

    max_body_bytes: Annotated[int, Field(ge=1024)] | None = None
    """Longest request body, in bytes."""
    max_connections: Annotated[int, Field(ge=1)] | None = None
    """Open client connections."""
    max_queue_size: Annotated[int, Field(ge=1)] | None = None
    """Requests that may wait for the engine."""
    header_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds that the headers of a request may take to arrive."""
    body_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds that the body of a request may take to arrive."""
    keep_alive_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds that an idle connection is kept."""
    request_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds from receipt to answer."""
    drain_s: Annotated[float, Field(ge=0)] | None = None
    """Seconds that SIGTERM keeps the service accepting, while it is no longer ready."""
    shutdown_grace_s: Annotated[float, Field(ge=0)] | None = None
    """Seconds that requests in flight may take after that."""


def _bytes(size: Any) -> Any:
    return parse_size(size) if isinstance(size, str) else size


ByteSize = Annotated[
    int,
    BeforeValidator(_bytes),
    PlainSerializer(size_text, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{SIZE_PATTERN}$"}, {"type": "integer", "minimum": 1}]}),
    Field(ge=1 << 20),
]
"""A number of bytes, or a size such as `512Mi`."""


class ResourcesConfig(_Section):
    """What one replica gets; left out, it is decided from the analysis."""

    memory: ByteSize | None = None
    """Memory that is reserved for it, e.g. `512Mi`."""
    memory_limit: ByteSize | None = None
    """Memory beyond which it is ended."""
    cpu: Annotated[float, Field(gt=0, le=1024)] | None = None
    """CPUs that are reserved for it; 0.5 is half of one."""
    cpu_limit: Annotated[float, Field(gt=0, le=1024)] | None = None
    """CPUs beyond which it is slowed down; left out, there is no such limit."""
    gpu: str | None = None
    """The GPU for the Triton runtime, by its name in the catalogue, e.g. `L4`; `none` for no GPU."""
    instances: Annotated[int, Field(ge=1, le=64)] | None = None
    """Copies of the model in one replica."""


class TensorRTConfig(_Section):
    """Whether the Triton runtime executes the model with TensorRT."""

    enabled: bool | None = None
    """`true` or `false`; left out, it follows what TensorRT supports of the model."""


class GoldenConfig(_Section):
    """How golden requests are drawn and compared."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """What random inputs are drawn from."""
    sample: str | None = None
    """An .npz or .json file with your own inputs, relative to nimify.yaml."""
    rtol: Annotated[float, Field(ge=0)] | None = None
    """Relative tolerance; left out, it follows the datatype."""
    atol: Annotated[float, Field(ge=0)] | None = None
    """Absolute tolerance; left out, it follows the datatype."""


class ModelConfig(_Section):
    """What is asked for, of one service.

    Example:
        >>> ModelConfig(name="digits").name
        'digits'
    """

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
    limits: LimitsConfig = LimitsConfig()
    golden: GoldenConfig = GoldenConfig()

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
        return yaml.dump(data, Dumper=_StrictDumper, sort_keys=False, allow_unicode=True) if data else ""


def read_yaml(path: Path) -> Any:
    """Plain data from a YAML file, with duplicate keys and aliases refused.

    Raises:
        ConfigError: It cannot be read, is too large, or is not plain YAML.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror}).", field=str(path)) from error
    if len(text) > _MAX_CONFIG_BYTES:
        raise ConfigError(f"is larger than {_MAX_CONFIG_BYTES} bytes.", field=str(path))
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str | bytes, *, source: str) -> Any:
    """Plain data from YAML text; see `read_yaml`.

    Args:
        text: The text.
        source: Where it comes from, for messages.

    Raises:
        ConfigError: It is not plain YAML.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader, made stricter
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        parts = (getattr(error, "context", None), getattr(error, "problem", None))
        problem = ", ".join(part for part in parts if part) or "is not valid YAML"
        line = f" (line {where.line + 1})" if where is not None else ""
        raise ConfigError(f"{problem}{line}.", field=source) from None


class _StrictLoader(yaml.SafeLoader):
    """YAML without the traps: a key given twice is an error, and so is an alias (the way to a billion laughs)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs stop here
            raise yaml.composer.ComposerError(None, None, "aliases are not supported", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # refused by PyYAML itself
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


class _StrictDumper(yaml.SafeDumper):
    """Writes what `_StrictLoader` reads: text that looks like a number to it is quoted."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # Left to itself, PyYAML writes Unicode's rare line ends as they are, and reads all of them as "\n".
        style = '"' if {"\r", "\x85", "\u2028", "\u2029"} & set(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_StrictDumper.add_representer(str, _StrictDumper.represent_str)

for _yaml_type in (_StrictLoader, _StrictDumper):
    # YAML 1.1, as PyYAML has it, takes `1e-3` for text; everybody else takes it for a number.
    _yaml_type.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def _step(step: Any) -> Any:
    if isinstance(step, str):
        return {"use": step}
    if isinstance(step, dict) and len(step) == 1 and "use" not in step:
        ((use, options),) = step.items()
        return {"use": use, "options": {} if options is None else options}
    return step


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
    message = _PLAIN_MESSAGES.get(first["type"], first["msg"].removeprefix("Value error, "))
    is_scalar = isinstance(first["input"], bool | int | float)
    remedy = "Put the value in quotes." if first["type"] == "string_type" and is_scalar else ""
    return ConfigError(f"{message}.", field=where, remedy=remedy)


def _fields_at(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        if part.isdigit() or part not in model.model_fields:
            return sorted(StepConfig.model_fields)
        annotation = model.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return sorted(StepConfig.model_fields)
        model = annotation
    return sorted(model.model_fields)
