"""`nimify create`: turn a model file into a service, and show on one screen what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nimify.commands.console import Console
from nimify.commands.options import MODEL, json_option, quiet_option
from nimify.commands.steps import step

if TYPE_CHECKING:
    from nimify.core.draft import Draft
    from nimify.core.nimifier import Nimifier

EXIT_DRIFT = 1


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


@click.command()
@click.argument("model", type=MODEL)
@click.option("-o", "--output", type=MODEL, metavar="DIR", help="The bundle's folder.  [default: ./NAME]")
@click.option("--name", help="Name of the service.  [default: made from the model file's name]")
@click.option("--max-batch-size", type=click.IntRange(0, 65536), help="Most rows in one run; 0 turns batching off.")
@click.option(
    "--before",
    type=step,
    multiple=True,
    metavar="STEP",
    help="A processor before the model, e.g. scale:factor=0.0625; may be given several times.",
)
@click.option(
    "--after",
    type=step,
    multiple=True,
    metavar="STEP",
    help="A processor after the model, e.g. softmax, top_k:k=3,labels=labels.txt or file.py:name:option=1.",
)
@click.option(
    "--with",
    "extras",
    type=_names,
    metavar="LIST",
    help="Files for further targets, by comma: compose, nim-operator, kserve.",
)
@click.option("--sample", type=MODEL, metavar="FILE", help="Your own inputs for the golden requests: .npz or .json.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of the golden requests.  [default: 0]")
@click.option(
    "--config", type=MODEL, metavar="FILE", help="Settings in the form of nimify.yaml; options overrule them."
)
@click.option("--trial/--no-trial", default=True, help="Run the model once in a guarded child process.")
@click.option(
    "--measure/--no-measure",
    default=None,
    help="Time the model on this machine, and plan with what was measured; or forget what was measured earlier.",
)
@click.option("--link", is_flag=True, help="Link the model file instead of copying it.")
@click.option("--force", is_flag=True, help="Overwrite what was edited in the bundle, nimify.yaml included.")
@click.option(
    "--check", is_flag=True, help="Write nothing; exit with 1 and show a diff when the bundle is out of date."
)
@json_option
@quiet_option
@click.pass_obj
def create(
    console: Console, /, model: Path, *, output: Path | None, force: bool, link: bool, check: bool, **options: Any
) -> int:
    """Turn a model file into a service: write its bundle.

    MODEL is a model file, or the folder of a bundle that is to be made again from its own nimify.yaml. The same input
    gives the same bytes; a bundle that is up to date is left alone, and one that was edited is not overwritten.
    """
    if options["measure"] and not options["trial"]:
        raise click.UsageError("--measure runs the model, and --no-trial forbids that. Leave one of them out.")
    draft = _nimifier(options).draft(
        model,
        output,
        force=force,
        link=link,
        keep_measured=options["measure"] is not False,
        progress=console.progress,
    )
    return _check(console, draft) if check else _write(console, draft, force=force)


def _nimifier(options: dict[str, Any]) -> Nimifier:
    from nimify.analysis.analyzer import AnalysisOptions
    from nimify.config import ModelConfig
    from nimify.core.nimifier import Nimifier
    from nimify.core.wishes import Wish

    file: Path | None = options["config"]
    defaults = None if file is None else Wish(ModelConfig.load(file), file.absolute().parent)
    depth = AnalysisOptions(trial=options["trial"], measure=bool(options["measure"]))
    return Nimifier(ModelConfig.build(_asked(options)), defaults=defaults, options=depth)


def _asked(options: dict[str, Any]) -> dict[str, Any]:
    """What the options ask for, in the form of nimify.yaml; what was not given is not in it."""
    sample: Path | None = options["sample"]
    data: dict[str, Any] = {
        "name": options["name"],
        "batching": {"max_batch_size": options["max_batch_size"]},
        "pipeline": {"before": list(options["before"]) or None, "after": list(options["after"]) or None},
        "with": options["extras"],
        "golden": {"seed": options["seed"], "sample": None if sample is None else str(sample)},
    }
    return _given(data)


def _given(data: dict[str, Any]) -> dict[str, Any]:
    kept = {key: _given(value) if isinstance(value, dict) else value for key, value in data.items()}
    return {key: value for key, value in kept.items() if value is not None and value != {}}


def _check(console: Console, draft: Draft) -> int:
    drift = draft.check()
    if console.json:
        console.document(
            {
                "outcome": "drift" if drift else "unchanged",
                "folder": str(draft.folder),
                "changed": list(drift.changed),
                "missing": list(drift.missing),
                "obsolete": list(drift.obsolete),
                "diff": drift.diff,
            }
        )
    elif drift:
        console.result(drift.diff.rstrip())
        console.talk(
            f"'{draft.folder}' is out of date, or was edited. `nimify create` without --check writes it anew, "
            "over edits only with --force."
        )
    else:
        console.talk(f"'{draft.folder}' is up to date.")
    return EXIT_DRIFT if drift else 0


def _write(console: Console, draft: Draft, *, force: bool) -> int:
    report = draft.write(force=force, progress=console.progress)
    if console.json:
        console.document(
            {
                "outcome": report.outcome,
                "folder": str(draft.folder),
                "written": list(report.written),
                "removed": list(report.removed),
                "plan": draft.plan.to_dict(),
            }
        )
        return 0

    from nimify.commands.created import created_lines

    console.result(str(draft.folder) if console.quiet else "\n".join(created_lines(draft, report, console.width)))
    return 0
