"""From the steps of a plan to processors: found by name or in a file of the bundle, and called with their options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nimify.errors import PluginError
from nimify.extensions import factory
from nimify.plugins import PROCESSORS
from nimify.serving.processors.processor import Processor, ProcessorFactory
from nimify.serving.spec import ProcessorStep


def load_steps(steps: Sequence[ProcessorStep], root: Path) -> list[Processor]:
    """Make the processors of a pipeline's side, in order.

    Args:
        steps: What to load.
        root: The folder that files named by steps are relative to, and may not leave: the bundle.

    Raises:
        ConfigError: An option is unknown, missing or wrong, or a file lies outside `root`.
        PluginError: There is no such processor, or its code fails; names file and line.
    """
    return [_load(step, root) for step in steps]


def load_factory(use: str, root: Path) -> ProcessorFactory:
    """The factory that a step names: an entry point of `nimify.processors`, or `file.py:name` under `root`.

    Raises:
        ConfigError: The file lies outside `root`.
        PluginError: There is no such processor, or its code fails.
    """
    return factory.load_factory(PROCESSORS, use, root)


def _load(step: ProcessorStep, root: Path) -> Processor:
    processor: Processor = factory.make("processor", step.use, load_factory(step.use, root), step.options, root)
    for method in ("__call__", "outer"):
        if not callable(getattr(processor, method, None)):
            raise PluginError(
                f"The processor '{step.use}' made a {type(processor).__name__}, which has no method {method}.",
                remedy="See docs/extending/processors.md.",
            )
    return processor
