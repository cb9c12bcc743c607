"""Files that settings name: they are copied into the bundle, and the settings follow them.

The owner's own processors and collectors, a label file, a sample of inputs: wherever they were, in the bundle they
lie under `processors/` or `golden/`, and nimify.yaml names them there. So a bundle can be made again from its own
folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from nimify.config import CollectorConfig, ModelConfig, PipelineConfig, StepConfig
from nimify.errors import ConfigError
from nimify.extensions.factory import file_options, load_factory
from nimify.extensions.source import own_file
from nimify.plugins import COLLECTORS, PROCESSORS

PROCESSORS_FOLDER: Final = "processors"
"""For all code of the owner's, collectors included: signatures and images cover it as a whole."""
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
        PluginError: A processor or collector cannot be found or imported, so that its file options are not known.
    """
    gatherer = _Gatherer(root)
    pipeline = PipelineConfig(
        before=tuple(gatherer.step(step, "pipeline.before") for step in config.pipeline.before),
        after=tuple(gatherer.step(step, "pipeline.after") for step in config.pipeline.after),
    )
    collectors = tuple(gatherer.collector(step) for step in config.collectors)
    golden = config.golden
    if golden.sample is not None:
        sample = gatherer.add(golden.sample, GOLDEN_FOLDER, field="golden.sample")
        golden = golden.model_copy(update={"sample": sample})
    placed = {"pipeline": pipeline, "collectors": collectors, "golden": golden}
    return config.model_copy(update=placed), tuple(gatherer.assets())


class _Gatherer:
    """Gives each file one place, and two files of one name two places."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._places: dict[str, Path] = {}

    def assets(self) -> Iterable[Asset]:
        return (Asset(path, source) for path, source in sorted(self._places.items()))

    def step(self, step: StepConfig, field: str) -> StepConfig:
        use, options = self._code(PROCESSORS, step, field)
        return StepConfig(use=use, options=options)

    def collector(self, step: CollectorConfig) -> CollectorConfig:
        use, options = self._code(COLLECTORS, step, "collectors")
        return CollectorConfig(use=use, options=options, interval_s=step.interval_s)

    def _code(self, group: str, step: StepConfig, field: str) -> tuple[str, dict[str, Any]]:
        """What names the code in the bundle, and its options."""
        use, file = step.use, own_file(step.use)
        if file is None:
            factory = load_factory(group, use, self._root)
        else:
            source = self._source(file, field)
            name = use.rpartition(":")[2]
            factory = load_factory(group, f"{source.name}:{name}", source.parent)
            use = f"{self.add(file, PROCESSORS_FOLDER, field=field)}:{name}"
        return use, self._options(step.options, factory, field)

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
