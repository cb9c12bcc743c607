"""Tuning a bundle: what is left open is swept, and what was found goes into nimify.yaml and through the plan."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from nimify.artifacts.bundle import Bundle
from nimify.artifacts.settings import SETTINGS_FILE
from nimify.config import ModelConfig, TunedValue, TuningConfig
from nimify.core.draft import Draft
from nimify.core.nimifier import Nimifier
from nimify.core.server import ServerProcess
from nimify.errors import BundleEdited, BundleError, ConfigError
from nimify.loadtest.measurement import Watch, unwatched
from nimify.loadtest.objective import Objective
from nimify.loadtest.point import QUANTILES
from nimify.planning.planner import plan
from nimify.serving.spec import ServiceSpec
from nimify.tuning.candidate import BATCH, DELAY, INSTANCES, SETTINGS, THREADS, Candidate
from nimify.tuning.report import TuningReport
from nimify.tuning.session import Served, Tell, TuningOrder, run, untold

READY_TIMEOUT_S: Final = 120.0
_SHORT: Final = {"batch": BATCH, "delay": DELAY, "threads": THREADS, "instances": INSTANCES}
"""Names of the settings for the command line."""


@dataclass(frozen=True, slots=True)
class TuningWish:
    """How to tune.

    Attributes:
        objective: What must be kept, e.g. `p99=20ms`; the latency that the plan promises when left out.
        settings: Which settings to sweep, by name or as `batch`, `delay`, `threads`, `instances`; all when left out.
        protocol: How requests travel: `json`, `binary` or `grpc`.
        sample: Inputs to send, an .npz or .json file; the golden requests when left out.
        duration_s: Length of each measurement.
        warmup_s: How long to send before each.
        budget_s: How long all of it may take.
        repeats: How often the best candidates are measured again.
        dry_run: Whether nothing is written.
    """

    objective: str = ""
    settings: Sequence[str] = ()
    protocol: str = "json"
    sample: Path | None = None
    duration_s: float = 3.0
    warmup_s: float = 1.0
    budget_s: float = 900.0
    repeats: int = 3
    dry_run: bool = False


def tune(folder: Path, wish: TuningWish, *, watch: Watch = unwatched, tell: Tell = untold) -> TuningReport:
    """Tune a bundle; see `NIMService.tune`."""
    bundle = Bundle.open(folder)
    _refuse_edited(bundle)
    order = _order(bundle, wish)
    draft = Nimifier().draft(folder)
    if draft.plan.service != bundle.service:
        raise BundleError(
            f"'{folder.name}' is not what its {SETTINGS_FILE} asks for.",
            remedy=f"Make it again first with: nimify create {shlex.quote(str(folder))}",
        )
    order = replace(order, refusal=partial(_refusal, draft))
    report = run(order, _serve, watch=watch, tell=tell)
    if report.changes and not wish.dry_run:
        _write(folder, report)
    return report


def _refuse_edited(bundle: Bundle) -> None:
    """What could not be written at the end is said at the beginning."""
    edited = tuple(path for path in bundle.edited_files() if path != SETTINGS_FILE)
    if edited:
        raise BundleEdited(bundle.path.name, edited)


def _refusal(draft: Draft, candidate: Candidate) -> str:
    """Why the plan would refuse a candidate, e.g. because it takes more memory than is allowed."""
    values = {
        field: TunedValue(value=getattr(candidate, field), reason="Tried.")
        for field in SETTINGS.values()
        if field != "threads" or candidate.threads
    }
    tuning = TuningConfig(model=draft.analysis.model.digest).model_copy(update=values)
    try:
        plan(draft.analysis, draft.config.model_copy(update={"tuning": tuning}))
    except ConfigError as error:
        return error.message
    return ""


def _order(bundle: Bundle, wish: TuningWish) -> TuningOrder:
    kept = _kept(bundle)
    named = [_named(name) for name in wish.settings]
    settings = tuple(name for name in SETTINGS if name not in kept and (not named or name in named))
    if not settings:
        reasons = " ".join(f"{name}: {kept[name]}" for name in named or SETTINGS if name in kept)
        raise ConfigError(
            f"there is nothing to tune. {reasons}", field="settings", remedy=f"Leave one open in {SETTINGS_FILE}."
        )
    return TuningOrder(
        bundle=bundle.path,
        objective=Objective.parse(wish.objective) if wish.objective else _promised(bundle),
        settings=settings,
        kept=tuple(kept.items()),
        protocol=wish.protocol,
        sample=wish.sample,
        duration_s=wish.duration_s,
        warmup_s=wish.warmup_s,
        budget_s=wish.budget_s,
        repeats=wish.repeats,
    )


def _named(name: str) -> str:
    setting = _SHORT.get(name, name)
    if setting not in SETTINGS:
        raise ConfigError(f"'{name}' cannot be tuned.", field="settings", remedy=f"Choose from: {', '.join(_SHORT)}.")
    return setting


def _kept(bundle: Bundle) -> dict[str, str]:
    """Settings that are not ours to change, and why."""
    config = ModelConfig.load(bundle.path / SETTINGS_FILE)
    asked = {
        BATCH: config.batching.max_batch_size is not None,
        DELAY: "max_queue_delay_us" in config.batching.model_fields_set,
        THREADS: config.threads is not None,
        INSTANCES: config.resources.instances is not None,
    }
    kept = {setting: f"{SETTINGS_FILE} asks for it." for setting, is_asked in asked.items() if is_asked}
    if not bundle.service.max_batch_size:
        kept |= dict.fromkeys((BATCH, DELAY), "Requests are not merged.")
    return kept


def _promised(bundle: Bundle) -> Objective:
    """The latency objective of the plan, with the quantile that is at least as strict as its share."""
    decided = bundle.decided()
    share, latency_s = decided["objectives.latency_share"], decided["objectives.latency_s"]
    return Objective(next(name for name, quantile in QUANTILES.items() if quantile >= share), float(latency_s))


@contextmanager
def _serve(folder: Path) -> Iterator[Served]:
    # Said in full: what the environment says of these must not stand between a candidate and its measurement.
    options = (
        *("--host", "127.0.0.1", "--port", "0", "--grpc-port", "0", "--log-level", "info"),
        *("--engine", "onnxruntime", "--workers", str(ServiceSpec.load(folder).instances)),
    )
    with ServerProcess.start(folder, options, ready_timeout_s=READY_TIMEOUT_S) as server:
        yield server


def _write(folder: Path, report: TuningReport) -> None:
    """Put what was found into nimify.yaml, and make the bundle again from it: as a whole or not at all."""
    found = {
        SETTINGS[change.setting]: TunedValue(value=change.after, reason=report.reason(change))
        for change in report.changes
    }
    former = ModelConfig.load(folder / SETTINGS_FILE).tuning
    spec = ServiceSpec.load(folder)
    tuned = {
        field: getattr(former, field) if former.model == spec.model_digest else None for field in SETTINGS.values()
    }
    section = TuningConfig(
        objective=f"{report.objective}", machine=report.machine, model=spec.model_digest, **{**tuned, **found}
    )
    # Overrules the section of an earlier time, and nothing else: no other setting is asked for.
    Nimifier(ModelConfig(tuning=section)).draft(folder, force=True).write()
