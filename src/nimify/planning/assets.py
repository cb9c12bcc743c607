"""Files that settings name: they are copied into the bundle, and the settings follow them.

The owner's own processor, a label file, a sample of inputs: wherever they were, in the bundle they lie under
`processors/` or `golden/`, and nimify.yaml names them there. So a bundle can be made again from its own folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from nimify.config import ModelConfig, PipelineConfig, StepConfig
from nimify.errors import ConfigError
from nimify.serving.processors.loader import load_factory, own_file
from nimify.serving.processors.processor import file_options

PROCESSORS_FOLDER: Final = "processors"
GOLDEN_FOLDER: Final = "golden"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file to copy into the bundle.

    Attributes:
        path: Where it goes, relative to the bundle.
        source: Where it is, absolute.
    """

    path: str
    source: Path


def collect_assets(config: ModelConfig, root: Path) -> tuple[ModelConfig, tuple[Asset, ...]]:
    """The files that a configuration names, and the configuration with their places in the bundle.

    Args:
        config: The configuration; its paths are relative to `root`, or absolute.
        root: The folder of nimify.yaml, or the working directory for options of the command line.

    Raises:
        ConfigError: A file does not exist.
        PluginError: A processor cannot be found or imported, so that its file options are not known.
    """
    collector = _Collector(root)
    pipeline = PipelineConfig(
        before=tuple(collector.step(step, "pipeline.before") for step in config.pipeline.before),
        after=tuple(collector.step(step, "pipeline.after") for step in config.pipeline.after),
    )
    golden = config.golden
    if golden.sample is not None:
        sample = collector.add(golden.sample, GOLDEN_FOLDER, field="golden.sample")
        golden = golden.model_copy(update={"sample": sample})
    return config.model_copy(update={"pipeline": pipeline, "golden": golden}), tuple(collector.assets())


class _Collector:
    """Gives each file one place, and two files of one name two places."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._places: dict[str, Path] = {}

    def assets(self) -> Iterable[Asset]:
        return (Asset(path, source) for path, source in sorted(self._places.items()))

    def step(self, step: StepConfig, field: str) -> StepConfig:
        use, file = step.use, own_file(step.use)
        if file is None:
            factory = load_factory(use, self._root)
        else:
            source = self._source(file, field)
            name = use.rpartition(":")[2]
            factory = load_factory(f"{source.name}:{name}", source.parent)
            use = f"{self.add(file, PROCESSORS_FOLDER, field=field)}:{name}"
        return StepConfig(use=use, options=self._options(step.options, factory, field))

    def _options(self, options: dict[str, Any], factory: object, field: str) -> dict[str, Any]:
        files = file_options(factory)
        return {
            name: self.add(str(value), PROCESSORS_FOLDER, field=f"{field}.{name}")
            if name in files and value is not None
            else value
            for name, value in options.items()
        }

    def add(self, file: str, folder: str, *, field: str) -> str:
        source = self._source(file, field)
        wanted = PurePosixPath(folder, source.name)
        place, number = wanted, 1
        while self._places.setdefault(str(place), source) != source:
            number += 1
            place = wanted.with_stem(f"{wanted.stem}-{number}")
        return str(place)

    def _source(self, file: str, field: str) -> Path:
        source = (self._root / file).resolve()
        if not source.is_file():
            raise ConfigError(f"there is no file '{file}'.", field=field, remedy="Check the path; it is relative.")
        return source
