"""What `nimify tune` measured, as decisions: it counts where nothing was asked for, and for the model of that time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from nimify.config import ModelConfig, TunedValue
from nimify.findings import Finding, Severity
from nimify.planning.plan import Basis, Decision

_RESTS_ON_THREADS: Final = "resources.cpu"


def tuned_values(config: ModelConfig, digest: str | None = None) -> dict[str, TunedValue]:
    """What was measured to be best, by setting.

    Args:
        config: What is asked for.
        digest: Of the model; what was measured with another one counts for nothing. `None` asks for no digest.
    """
    tuning, batching = config.tuning, config.batching
    if digest is not None and tuning.model != digest:
        return {}
    batch = tuning.max_batch_size if batching.max_batch_size is None else None
    rows = batching.max_batch_size if batch is None else batch.value
    nothing_to_wait_for = rows is not None and rows < 2
    delay_is_asked = "max_queue_delay_us" in batching.model_fields_set
    found = {
        "batching.max_batch_size": batch,
        "batching.max_queue_delay_us": None if delay_is_asked or nothing_to_wait_for else tuning.max_queue_delay_us,
        "threads": tuning.threads if config.threads is None else None,
        "resources.instances": tuning.instances if config.resources.instances is None else None,
    }
    return {setting: value for setting, value in found.items() if value is not None}


def asking_for(config: ModelConfig, tuned: Mapping[str, TunedValue]) -> ModelConfig:
    """What is asked for, as if the owner had asked for what was measured, too."""
    sections: dict[str, dict[str, int]] = {"": {}, "batching": {}, "resources": {}}
    for setting, value in tuned.items():
        section, _, name = setting.rpartition(".")
        sections[section][name] = value.value
    return config.model_copy(
        update={
            "batching": config.batching.model_copy(update=sections["batching"]),
            "resources": config.resources.model_copy(update=sections["resources"]),
            **{name: value or None for name, value in sections[""].items()},
        }
    )


def as_measured(decision: Decision, tuned: Mapping[str, TunedValue], wish: ModelConfig) -> Decision:
    """A decision that follows from what was measured, with that as its reason.

    Args:
        decision: As it was taken.
        tuned: What was measured to be best, by setting.
        wish: What the owner asks for.
    """
    value = tuned.get(decision.key)
    if value is not None and value.value == decision.value:
        return replace(decision, reason=value.reason, basis=Basis.MEASURED)
    if decision.key == _RESTS_ON_THREADS and "threads" in tuned and wish.resources.cpu is None:
        return replace(decision, basis=Basis.MEASURED)
    return decision


def outdated_findings(config: ModelConfig, digest: str) -> tuple[Finding, ...]:
    """What to say when the section counts for nothing, because the model is another one."""
    if not tuned_values(config) or config.tuning.model == digest:
        return ()
    return (
        Finding(
            "tuning.outdated",
            Severity.WARNING,
            "The section 'tuning' of nimify.yaml was measured with another model, and counts for nothing.",
            "Measure again with: nimify tune BUNDLE",
        ),
    )
