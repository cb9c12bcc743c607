"""`nimify analyze`: show what a model file holds and how it can be served."""

from __future__ import annotations

from pathlib import Path

import click

from nimify.commands.console import Console
from nimify.commands.options import MODEL, json_option, quiet_option


@click.command()
@click.argument("model", type=MODEL)
@click.option("--trial/--no-trial", default=True, help="Run the model once in a guarded child process.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Seed of the inputs that are drawn.")
@click.option("--sample", type=MODEL, metavar="FILE", help="Your own inputs: an .npz or .json file.")
@json_option
@quiet_option
@click.pass_obj
def analyze(console: Console, /, model: Path, *, trial: bool, seed: int, sample: Path | None) -> int:
    """Show what a model file holds and how it can be served.

    Reads the file without running it, then loads it once in a guarded child process. Writes nothing.
    """
    from nimify.config import ModelConfig
    from nimify.core.nimifier import Nimifier

    golden = {"seed": seed, **({"sample": str(sample.absolute())} if sample is not None else {})}
    config = ModelConfig.build({"golden": golden})
    analysis = Nimifier(config, trial=trial).analyze(model, progress=console.progress)
    if console.json:
        console.document(analysis.to_dict())
        return 0

    from nimify.commands.layout import findings_block, heading
    from nimify.commands.summary import batch_lines, model_lines

    lines = [*model_lines(analysis, console.width), "", *batch_lines(analysis, console.width)]
    if analysis.findings:
        lines += ["", heading("Findings"), *findings_block(analysis.findings, console.width)]
    console.result("\n".join(lines))
    return 0
