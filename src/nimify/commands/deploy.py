"""`nimify deploy`: let a bundle run somewhere, and prove that it answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nimify.commands.console import Console, clean
from nimify.commands.deployed import EVIDENCE, show
from nimify.commands.evidence import evidence_shown
from nimify.commands.options import (
    MODEL,
    api_key_header,
    api_key_option,
    json_option,
    quiet_option,
    seconds,
    setting,
)
from nimify.commands.progress_lines import progress_lines

if TYPE_CHECKING:
    from nimify.targets.target import Forecast, Order

EXIT_REFUSED = 10


@click.command()
@click.argument("bundle", type=MODEL)
@click.option("--target", required=True, help="Where to: see `nimify targets`.")
@click.option("--image", metavar="REF", default="", help="The container image, for targets that run one.")
@click.option(
    "--verify-image",
    metavar="KEY",
    default="",
    help="Deploy the image only if cosign finds it signed with this public key: a file, or env://NAME.",
)
@click.option("--namespace", metavar="NS", default="", help="Namespace, where the target has some.")
@click.option(
    "--set",
    "settings",
    type=setting,
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the target, e.g. port=8080; may be given several times.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would change, and what stands in the way.")
@click.option("--timeout", type=seconds, metavar="TIME", default="10m", show_default=True, help="Time for all of it.")
@api_key_option
@json_option
@quiet_option
@click.pass_obj
def deploy(console: Console, /, bundle: Path, *, target: str, dry_run: bool, **options: Any) -> int:
    """Let a bundle run somewhere, and prove that it answers.

    The new revision is proven with the bundle's golden requests. When it fails, what ran before goes on or comes back.
    Doing it again with nothing changed changes nothing. Exits with 10 when nothing changed, with 11 when the revision
    before answers again, and with 12 when somebody must look at it.
    """
    from nimify.core.deployments import order_for, with_verified_image

    order = order_for(
        bundle,
        image=options["image"],
        namespace=options["namespace"],
        settings=dict(options["settings"]),
        timeout_s=options["timeout"],
        headers=api_key_header(options["api_key_file"]),
    )
    if options["verify_image"]:
        order = with_verified_image(order, options["verify_image"], target=target)
    return _foresee(console, target, order) if dry_run else _carry_out(console, target, order)


def _foresee(console: Console, target: str, order: Order) -> int:
    from nimify.core.deployments import foresee

    forecast = foresee(target, order)
    if console.json:
        findings = [finding.to_dict() for finding in forecast.findings]
        console.document({"target": target, "changes": list(forecast.changes), "findings": findings})
    else:
        console.result("\n".join(_forecast_lines(forecast, console.width)))
    return EXIT_REFUSED if forecast.errors else 0


def _forecast_lines(forecast: Forecast, width: int) -> list[str]:
    from nimify.commands.layout import findings_block

    changes = [f"  {clean(line, 600)}" for line in forecast.changes]
    if not changes and not forecast.errors:  # what stands in the way may keep the changes from being known
        changes = ["  Nothing would change."]
    return [*changes, *findings_block(forecast.findings, width)]


def _carry_out(console: Console, target: str, order: Order) -> int:
    from nimify.core.deployments import deploy as carry_out

    with evidence_shown(console, heading=EVIDENCE):
        applied = carry_out(target, order, progress_lines(console))
    if not applied.changed:
        console.talk("Nothing changed: it runs already.")
    show(console, applied.deployment, outcome="deployed" if applied.changed else "unchanged")
    return 0
