"""The Python API, and the only place that knows the order of the stages.

    from nimify import ModelConfig, Nimifier

    service = Nimifier(ModelConfig(name="digits")).create("digits.onnx")
    with service.serve() as server:
        print(server.url)

The names below are loaded when they are first used: importing this package loads no engine and nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nimify.analysis.analyzer import ModelAnalyzer
    from nimify.config import ModelConfig
    from nimify.core.draft import Draft
    from nimify.core.nimifier import Nimifier
    from nimify.core.server import ServerProcess
    from nimify.core.service import NIMService

_HOMES: Final = {
    "Draft": "nimify.core.draft",
    "ModelAnalyzer": "nimify.analysis.analyzer",
    "ModelConfig": "nimify.config",
    "NIMService": "nimify.core.service",
    "Nimifier": "nimify.core.nimifier",
    "ServerProcess": "nimify.core.server",
}

__all__ = ["Draft", "ModelAnalyzer", "ModelConfig", "NIMService", "Nimifier", "ServerProcess"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        value: object = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'nimify.core' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
