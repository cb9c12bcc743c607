"""Turn a model file into a production inference microservice.

    from nimify import Nimifier

    service = Nimifier().create("model.onnx")
    with service.serve() as server:
        print(server.url)

The public names are loaded when they are first used: importing nimify loads no engine and nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimify.version import __version__

if TYPE_CHECKING:
    from nimify.config import ModelConfig
    from nimify.core import ModelAnalyzer, Nimifier, NIMService

__all__ = ["ModelAnalyzer", "ModelConfig", "NIMService", "Nimifier", "__version__"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from nimify import core

        return getattr(core, name)
    raise AttributeError(f"module 'nimify' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
