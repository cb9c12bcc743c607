"""Which GPUs hold the model, what they cost, and why the smaller ones do not do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nimify.analysis.gpu_choice import GpuChoice
from nimify.analysis.tables.hardware import Instance
from nimify.quantities import human_bytes, human_share
from nimify.reports.bars import Bar, single_bar
from nimify.reports.blocks import card, note, table, verdict
from nimify.reports.markup import Content, Markup, element, plain

_HEAD: Final = ("GPU", "", "Memory used", "share", "of")
_MOST_GPUS: Final = 8
_MOST_REFUSALS: Final = 8


def gpu_section(choice: GpuChoice | None, batch: int) -> Markup | None:
    """How full each GPU would be, the refusals with their reasons, and instances with prices."""
    if choice is None:
        return None
    needed = human_bytes(choice.need.memory_bytes)
    if choice.gpu is None:
        lead = f"No GPU of the catalogue holds the {needed} that the model needs at a batch of {batch}."
    else:
        lead = (
            f"{choice.gpu.name} is the smallest that holds the {needed} that the model needs at most at a batch of "
            f"{batch}, with {human_share(choice.need.headroom)} of its memory to spare."
        )
    return card(
        "GPU fit",
        table(_HEAD, [*_fitting(choice)], numbers=(3, 4)) if choice.fitting else None,
        *_refused(choice),
        *_offers(choice.instances),
        *(note(plain(text, 300)) for text in choice.notes),
        basis="estimated",
        lead=lead,
    )


def _fitting(choice: GpuChoice) -> Iterator[tuple[Content, ...]]:
    for gpu in choice.fitting[:_MOST_GPUS]:
        share = choice.need.memory_bytes / gpu.usable_bytes
        yield (
            gpu.name,
            verdict(True, "fits"),
            single_bar(Bar(share, "good" if gpu is choice.gpu else "main", "")),
            human_share(share),
            human_bytes(gpu.usable_bytes),
        )


def _refused(choice: GpuChoice) -> list[Markup]:
    if not choice.refused:
        return []
    rows = [(refusal.gpu, plain(refusal.reason, 300)) for refusal in choice.refused[:_MOST_REFUSALS]]
    more = len(choice.refused) - len(rows)
    return [
        element("h3", "Passed over"),
        table(("GPU", "Why"), rows),
        *([note(f"and {more} more")] if more > 0 else []),
    ]


def _offers(instances: tuple[Instance, ...]) -> list[Markup]:
    if not instances:
        return []
    rows = [
        (
            element("code", instance.type),
            instance.cloud,
            f"{instance.gpu_count:g} {instance.gpu}",
            str(instance.vcpu),
            f"{instance.memory_gib:g} GiB",
            "unknown" if instance.usd_hour is None else f"${instance.usd_hour:.2f}",
        )
        for instance in instances
    ]
    head = ("Instance", "cloud", "GPU", "vCPU", "memory", "an hour")
    return [element("h3", "Cloud instances, cheapest first"), table(head, rows, numbers=(3, 4, 5))]
