"""nimify.yaml and its schema: the one file of a bundle that its owner edits, and what editors check it against."""

from __future__ import annotations

import json
from typing import Any, Final

from nimify.artifacts.artifact import Artifact, json_artifact
from nimify.config import ModelConfig
from nimify.errors import one_line

SETTINGS_FILE: Final = "nimify.yaml"
SCHEMA_FILE: Final = "nimify.schema.json"

_HEADER: Final = """\
# yaml-language-server: $schema=nimify.schema.json
#
# What was asked for of the service made from {source}.
# This is the file to edit; everything else in this folder is generated. What is left out is decided, and plan.json
# says how and why. After a change run `nimify create` on this folder.
"""
_EXAMPLES: Final = """
# For example:
#   description: What this service is for.
#   batching: {max_batch_size: 16}
#   threads: 4
#   resources: {memory: 1Gi, cpu: 2, gpu: L4}
#   limits: {request_timeout_s: 30}
"""


def settings_artifact(config: ModelConfig, *, source: str, text: str | None = None) -> Artifact:
    """The nimify.yaml of a bundle.

    Args:
        config: What is asked for.
        source: Name of the model file.
        text: The owner's own text when it already asks for exactly that; it is kept byte for byte.
    """
    return Artifact(SETTINGS_FILE, (settings_text(config, source) if text is None else text).encode(), True)


def settings_text(config: ModelConfig, source: str) -> str:
    """The text of a new nimify.yaml: a header that explains it, and everything that differs from the defaults."""
    # json.dumps keeps the line one line whatever the file is called.
    header = _HEADER.format(source=json.dumps(one_line(source), ensure_ascii=False))
    body = config.to_yaml()
    return header + (f"\n{body}" if body else _EXAMPLES)


def schema_artifact() -> Artifact:
    """The JSON schema of nimify.yaml."""
    return json_artifact(SCHEMA_FILE, settings_schema())


def settings_schema() -> dict[str, Any]:
    """What nimify.yaml may hold, as JSON Schema 2020-12."""
    schema = ModelConfig.model_json_schema()
    # A step may be written short: `softmax`, or `top_k: {k: 3}`.
    step = schema["$defs"]["StepConfig"]
    schema["$defs"]["StepConfig"] = {
        "anyOf": [
            {"type": "string"},
            step,
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "not": {"required": ["use"]},
                "additionalProperties": {"type": ["object", "null"]},
            },
        ]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "The settings of a nimify bundle; written by nimify.",
        **schema,
        "title": "nimify.yaml",
    }
