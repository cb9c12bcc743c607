"""`nimify analyze`: show what a model file holds, what it will take, and how it can be served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nimify.commands.console import Console
from nimify.commands.options import MODEL, axis_length, json_option, quiet_option

if TYPE_CHECKING:
    from nimify.analysis.analysis import Analysis
    from nimify.core.nimifier import Nimifier

EXIT_FINDINGS = 1


@click.command()
@click.argument("model", type=MODEL)
@click.option("--report", type=MODEL, metavar="FILE", help="Write a page with pictures, to be opened in a browser.")
@click.option("--measure", is_flag=True, help="Time the model on this machine over growing batches, for some seconds.")
@click.option("--gpu", metavar="NAME", help="Estimate for this GPU, e.g. L4.  [default: the smallest that fits]")
@click.option("--batch", type=click.IntRange(1, 65536), help="Estimate for that many rows in one run.")
@click.option(
    "--axis",
    type=axis_length,
    multiple=True,
    metavar="NAME=LENGTH",
    help="Length of a free axis, e.g. sequence=256; may be given several times.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 when there are warnings.")
@click.option("--trial/--no-trial", default=True, help="Run the model once in a guarded child process.")
@click.option("--digest/--no-digest", default=True, help="Read the whole file to compute its digest.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Seed of the inputs that are drawn.")
@click.option("--sample", type=MODEL, metavar="FILE", help="Your own inputs: an .npz or .json file.")
@json_option
@quiet_option
@click.pass_obj
def analyze(console: Console, /, model: Path, *, report: Path | None, strict: bool, **options: Any) -> int:
    """Show what a model file holds, what it will take, and how it can be served.

    MODEL is a model file, or the folder of a bundle, whose model is then looked at with the bundle's own settings.
    Reads the file without running it, then loads it once in a guarded child process. Writes nothing but the report.
    """
    if options["measure"] and not options["trial"]:
        raise click.UsageError("--measure runs the model, and --no-trial forbids that. Leave one of them out.")
    analysis = _nimifier(options).analyze(model, progress=console.progress)
    if report is not None:
        from nimify.reports.report import write_report

        write_report(analysis, report)
    if console.json:
        console.document(analysis.to_dict())
    else:
        console.result("\n".join(_lines(analysis, console.width)))
        if report is not None:
            console.talk(f"The report is in '{report}'.")
    return EXIT_FINDINGS if _fails(analysis, strict=strict) else 0


def _nimifier(options: dict[str, Any]) -> Nimifier:
    from nimify.analysis.analyzer import AnalysisOptions
    from nimify.config import ModelConfig
    from nimify.core.nimifier import Nimifier

    sample: Path | None = options["sample"]
    golden = {"seed": options["seed"], **({"sample": str(sample.absolute())} if sample is not None else {})}
    return Nimifier(
        ModelConfig.build({"golden": golden}),
        options=AnalysisOptions(
            trial=options["trial"],
            digest=options["digest"],
            measure=options["measure"],
            rows=options["batch"],
            lengths=dict(options["axis"]),
            gpu=options["gpu"] or "",
            thorough=True,
            ask_tensorrt=True,
        ),
    )


def _lines(analysis: Analysis, width: int) -> list[str]:
    from nimify.commands.estimates import estimate_lines, hint_lines
    from nimify.commands.layout import findings_block, heading
    from nimify.commands.summary import batch_lines, model_lines

    parts = [model_lines(analysis, width), batch_lines(analysis, width), estimate_lines(analysis, width)]
    if analysis.all_findings:
        parts.append([heading("Findings"), *findings_block(analysis.all_findings, width)])
    parts.append(hint_lines(analysis.hints, width))
    return [line for part in parts if part for line in ("", *part)][1:]


def _fails(analysis: Analysis, *, strict: bool) -> bool:
    severities = {str(finding.severity) for finding in analysis.all_findings}
    return "error" in severities or (strict and "warning" in severities)
