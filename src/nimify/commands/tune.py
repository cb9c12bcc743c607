"""`nimify tune`: measure which settings serve a bundle best, and write them down with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nimify.commands.console import Console, clean
from nimify.commands.options import MODEL, json_option, quiet_option, seconds

if TYPE_CHECKING:
    from nimify.loadtest.measurement import Glance
    from nimify.tuning.report import TuningReport
    from nimify.tuning.trial import Trial

EXIT_FAILED: Final = 1


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


@click.command()
@click.argument("bundle", type=MODEL)
@click.option(
    "--objective", default="", metavar="QUANTILE=TIME", help="What must be kept, e.g. p99=20ms.  [default: the plan's]"
)
@click.option(
    "--settings",
    type=_names,
    default="",
    metavar="LIST",
    help="What to sweep, by comma: batch, instances, threads, delay.  [default: all that nimify.yaml leaves open]",
)
@click.option(
    "--protocol",
    type=click.Choice(["json", "binary", "grpc"]),
    default="json",
    help="How tensors travel.  [default: json]",
)
@click.option("--sample", type=MODEL, metavar="FILE", help="Send your own inputs: an .npz or .json file.")
@click.option("--duration", type=seconds, default="3s", show_default=True, metavar="TIME", help="Of each measurement.")
@click.option(
    "--warmup", type=seconds, default="1s", show_default=True, metavar="TIME", help="Load before each of them."
)
@click.option("--budget", type=seconds, default="15m", show_default=True, metavar="TIME", help="For all of it.")
@click.option(
    "--repeats",
    type=click.IntRange(2, 20),
    default=3,
    show_default=True,
    help="How often the best settings, and those they replace, are measured again.",
)
@click.option("--dry-run", is_flag=True, help="Write nothing.")
@json_option
@quiet_option
@click.pass_obj
def tune(console: Console, /, bundle: Path, **options: Any) -> int:
    """Measure which settings serve a bundle best on this machine.

    The bundle is served with one candidate after the other and put under load; what counts is the highest rate that
    keeps the objective. A setting is changed only when the gain is beyond the spread of repeated measurements. What is
    found goes into the section `tuning` of nimify.yaml, and the bundle is made again from it. Settings that nimify.yaml
    asks for are left alone. Exits with 1 when nothing that was tried keeps the objective.
    """
    from nimify.core.service import NIMService
    from nimify.core.tuning import TuningWish

    for name in ("duration", "budget"):
        if not options[name]:
            raise click.BadParameter("it must be more than 0.", param_hint=f"--{name}")
    wish = TuningWish(
        objective=options["objective"],
        settings=options["settings"],
        protocol=options["protocol"],
        sample=options["sample"],
        duration_s=options["duration"],
        warmup_s=options["warmup"],
        budget_s=options["budget"],
        repeats=options["repeats"],
        dry_run=options["dry_run"],
    )
    watch, tell = _watchers(console)
    report = NIMService.open(bundle).tune(wish, watch=watch, tell=tell)
    if console.json:
        console.document({**report.to_dict(), "written": bool(report.changes) and not wish.dry_run})
    else:
        console.result("\n".join(_lines(report, bundle, console.width, dry_run=wish.dry_run)))
    return 0 if report.keeps else EXIT_FAILED


def _watchers(console: Console) -> tuple[Callable[[Glance], None], Callable[[Trial], None]]:
    """A line that is written over and over while something is measured, and one that stays for each trial."""
    from nimify.commands.live_line import LiveLine
    from nimify.commands.progress_lines import progress_lines
    from nimify.quantities import human_rate
    from nimify.tuning.rows import in_words

    line, say = LiveLine(console), progress_lines(console)

    def watch(glance: Glance) -> None:
        load = f"{glance.level:.0f} connections" if glance.kind == "closed" else f"{human_rate(glance.level)}/s"
        line.show(f"{load}: {glance.share:4.0%}, {human_rate(glance.throughput)} answers/s")

    def tell(trial: Trial) -> None:
        line.clear()
        rate = f"{human_rate(trial.rate)}/s, " if trial.rate else ""
        say(f"{in_words(trial.candidate)}: {rate}{trial.verdict}")

    return watch, tell


def _lines(report: TuningReport, bundle: Path, width: int, *, dry_run: bool) -> list[str]:
    from nimify.commands.layout import columns, heading, paragraph
    from nimify.tuning.rows import head, row

    objective = report.objective
    lines = [
        heading(f"{clean(bundle.name)} tuned for {report.wanted}", width),
        *paragraph(f"{report.protocol}, sending {clean(report.inputs, 200)}; {clean(report.machine)}", width),
        "",
        *columns([head(objective), *(row(trial, objective) for trial in report.trials)], width),
        "",
    ]
    for setting, why in report.kept.items():
        lines += paragraph(f"{setting} was left alone: {why}", width)
    for change in report.changes:
        lines += paragraph(f"{change.setting}: {change.before} -> {change.after}", width)
        lines += paragraph(clean(report.reason(change), 600), width, indent="    ")
    if report.ended:
        lines += paragraph(report.ended, width)
    lines += paragraph(_outcome(report, dry_run=dry_run), width)
    return lines


def _outcome(report: TuningReport, *, dry_run: bool) -> str:
    if not report.keeps:
        return f"Nothing that was tried keeps {report.wanted}."
    if not report.changes:
        return "Nothing is better by more than the spread of the measurements; the bundle is left as it is."
    if dry_run:
        return "Nothing was written (--dry-run)."
    return "Written into the section 'tuning' of nimify.yaml, and the bundle made again from it."
