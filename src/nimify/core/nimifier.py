"""`Nimifier`: from a model file to a service, stage by stage."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from nimify.analysis.analysis import Analysis
from nimify.analysis.analyzer import AnalysisOptions, ModelAnalyzer
from nimify.artifacts.artifact import CopiedFile
from nimify.artifacts.bundle import Bundle
from nimify.artifacts.golden import Golden
from nimify.artifacts.manifest import MANIFEST_FILE
from nimify.artifacts.render import Item, render
from nimify.artifacts.settings import SETTINGS_FILE
from nimify.config import ModelConfig, PipelineConfig, service_name
from nimify.core.draft import Draft
from nimify.core.kept_measurement import with_kept_measurement
from nimify.core.progress import Progress, silent
from nimify.core.service import NIMService
from nimify.core.wishes import Settings, Wish, combine
from nimify.errors import BundleDamaged, BundleError
from nimify.formats.format import combined_digest
from nimify.metrics.collectors.loader import check_collectors
from nimify.planning.assets import Asset
from nimify.planning.plan import ServicePlan
from nimify.planning.planner import plan, plan_collectors, plan_pipeline
from nimify.planning.tuned import asking_for, tuned_values
from nimify.serving.processors.pipeline import ProcessorPipeline
from nimify.serving.spec import PLAN_FILE, ServiceSpec
from nimify.tensors import Signature


class Nimifier:
    """Turns model files into services.

    Example:
        >>> nimifier = Nimifier(ModelConfig(name="digits"))  # doctest: +SKIP
        >>> service = nimifier.create("digits.onnx")  # doctest: +SKIP

    Args:
        config: What is asked for; everything else is decided, with a reason.
        root: The folder that paths in `config` are relative to; the working directory by default.
        defaults: Further settings, which `config` overrules where both speak.
        trial: Whether the model is run once in a guarded child process. Without it no golden
            requests are recorded, and whether requests may be merged rests on the declared shapes alone.
        options: How deep to analyse, when there is more to say than `trial`, which it then overrules.
    """

    def __init__(
        self,
        config: ModelConfig | None = None,
        *,
        root: Path | None = None,
        defaults: Wish | None = None,
        trial: bool = True,
        options: AnalysisOptions | None = None,
    ) -> None:
        asked = Wish(config or ModelConfig(), (root or Path()).absolute())
        self._wishes: Sequence[Wish] = [asked] if defaults is None else [defaults, asked]
        self._options = options or AnalysisOptions(trial=trial)

    def analyze(self, model: str | PathLike[str], *, progress: Progress = silent) -> Analysis:
        """Read a model file, or that of a bundle with the bundle's own settings, and try it.

        Raises:
            ModelError: It cannot be used.
            BundleError: The folder holds a bundle that is damaged.
        """
        source = _Source.of(Path(model))
        settings = combine([*source.wishes(), *self._wishes], None)
        return _named(self._analyze(source.model, settings, progress), source.name)

    def plan(self, model: str | PathLike[str], *, progress: Progress = silent) -> ServicePlan:
        """Decide everything about a service, and write nothing.

        Raises:
            ModelError: The model cannot be used.
            ConfigError: Something was asked for that this model cannot do.
        """
        settings = combine(self._wishes, None)
        _check_collectors(settings)
        analysis = self._analyze(Path(model), settings, progress)
        return plan(analysis, settings.config, api=_api(analysis.model.signature, settings))

    def draft(
        self,
        model: str | PathLike[str],
        output: str | PathLike[str] | None = None,
        *,
        force: bool = False,
        link: bool = False,
        keep_measured: bool = True,
        progress: Progress = silent,
    ) -> Draft:
        """Prepare a bundle, and write nothing yet.

        Args:
            model: A model file, or the folder of a bundle that is to be made again from its own nimify.yaml.
            output: The bundle's folder; `./<name>` when left out.
            force: Overrule what the owner wrote into the bundle's nimify.yaml.
            link: Link the model file rather than copy it.
            keep_measured: Plan with what the bundle was planned with, when that was measured and nothing is now.
            progress: Told of the bytes that are read.

        Raises:
            ModelError: The model cannot be used.
            ConfigError: A setting is wrong, or contradicts the bundle's nimify.yaml.
            BundleError: The folder is no bundle.
        """
        source = _Source.of(Path(model))
        folder = source.folder if output is None and source.folder is not None else self._folder(source.name, output)
        if folder.exists() and not folder.is_dir():
            raise BundleError(f"'{folder}' exists and is no folder.", remedy="Choose another one with --output.")
        wishes = self._wishes
        if source.folder is not None and source.folder.resolve() != folder.resolve():
            wishes = [*source.wishes(), *wishes]
        settings = combine(wishes, folder, force=force)
        _check_collectors(settings)
        read = self._analyze(source.model, settings, progress)
        analysis = _named(read, source.name)
        if keep_measured and not self._options.measure:
            analysis = with_kept_measurement(analysis, folder if folder.exists() else source.folder or folder)
        decided = plan(analysis, settings.config, api=_api(analysis.model.signature, settings))
        items = render(
            decided,
            settings.config,
            analysis,
            settings=settings.text,
            assets=settings.assets,
            previous=_previous(folder),
        )
        files = _taken_from(read.model.path, analysis.model.path, items)
        return Draft(folder, settings.config, analysis, decided, files, link or source.linked)

    def create(
        self,
        model: str | PathLike[str],
        output: str | PathLike[str] | None = None,
        *,
        force: bool = False,
        link: bool = False,
        progress: Progress = silent,
    ) -> NIMService:
        """Write the bundle of a service.

        A second call with the same model changes nothing. See `draft` for the arguments, and for what it raises
        besides:

        Raises:
            BundleEdited: Generated files were changed by their owner, and `force` is off.
            EnvironmentProblem: The disk is full, or the folder may not be written.
        """
        draft = self.draft(model, output, force=force, link=link, progress=progress)
        draft.write(force=force, progress=progress)
        return NIMService.open(draft.folder)

    def _folder(self, model_name: str, output: str | PathLike[str] | None) -> Path:
        if output is not None:
            return Path(output)
        named = [wish.config.name for wish in self._wishes if wish.config.name is not None]
        return Path(named[-1] if named else service_name(Path(model_name).stem))

    def _analyze(self, path: Path, settings: Settings, progress: Progress) -> Analysis:
        config = settings.config
        golden = config.golden
        sources = {asset.path: asset.source for asset in settings.assets}
        if golden.sample is not None:
            golden = golden.model_copy(update={"sample": str(sources[golden.sample])})
        expected = asking_for(config, tuned_values(config))
        options = replace(
            self._options,
            rows=expected.batching.max_batch_size or self._options.rows,
            threads=expected.threads or self._options.threads,
        )
        analyzer = ModelAnalyzer(options, golden=golden)
        with progress(f"Reading {path.name}", _size(path)) as report:
            return analyzer.analyze(path, progress=report)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a model comes from.

    Attributes:
        model: The file to read.
        name: What it was called when nimify first saw it: in a bundle it is `model.onnx` whatever it was before.
        folder: The bundle that holds it; `None` when it is the user's own file.
        linked: Whether the bundle has a link to it rather than a copy.
    """

    model: Path
    name: str
    folder: Path | None = None
    linked: bool = False

    @classmethod
    def of(cls, path: Path) -> _Source:
        if not (path / PLAN_FILE).is_file():
            return cls(path, path.name)
        model = path / ServiceSpec.load(path).model_file
        return cls(model.resolve(), _first_name(path), path, model.is_symlink())

    def wishes(self) -> list[Wish]:
        """What the bundle's own nimify.yaml asks for; nothing for a file."""
        return [] if self.folder is None else [Wish(ModelConfig.load(self.folder / SETTINGS_FILE), self.folder)]


def _named(analysis: Analysis, name: str) -> Analysis:
    """The analysis as it would be of a file of that name, so that a bundle made again from itself does not differ."""
    model = analysis.model
    if model.name == name:
        return analysis
    files = (replace(model.files[0], location=name), *model.files[1:])
    renamed = replace(model, path=model.path.with_name(name), files=files, digest=combined_digest(files))
    return replace(analysis, model=renamed)


def _taken_from(model: Path, named: Path, items: Iterable[Item]) -> tuple[Item, ...]:
    """The files to write, the model copied from where it really is."""
    return tuple(
        replace(item, source=model) if isinstance(item, CopiedFile) and item.source == named else item for item in items
    )


def _first_name(bundle: Path) -> str:
    try:
        data: Any = json.loads((bundle / PLAN_FILE).read_bytes())
        name = str(data["model"]["file"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleDamaged(
            f"'{bundle / PLAN_FILE}' does not name the model file.",
            remedy="Write the bundle again with: nimify create MODEL --force",
        ) from error
    return Path(name).name or "model"


def _api(signature: Signature, settings: Settings) -> Signature:
    """What `/v1/infer` will speak: the steps are loaded from a folder that looks as the bundle will."""
    pipeline: PipelineConfig = settings.config.pipeline
    if not (pipeline.before or pipeline.after):
        return signature
    with _placed(settings.assets) as folder:
        return ProcessorPipeline.load(plan_pipeline(pipeline), signature, folder).api


def _check_collectors(settings: Settings) -> None:
    """Make the collectors as the service will; nothing is measured."""
    if settings.config.collectors:
        with _placed(settings.assets) as folder:
            check_collectors(plan_collectors(settings.config.collectors), folder)


@contextmanager
def _placed(assets: Iterable[Asset]) -> Iterator[Path]:
    """A folder in which the files of the settings lie as they will in the bundle."""
    with tempfile.TemporaryDirectory(prefix="nimify-") as folder:
        for asset in assets:
            target = Path(folder) / asset.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(asset.source, target)
        yield Path(folder)


def _previous(folder: Path) -> Golden | None:
    """The golden requests that are there; none when they cannot be read, as they are then written anew."""
    if not (folder / MANIFEST_FILE).is_file():
        return None
    try:
        return Bundle.open(folder).golden()
    except BundleError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
