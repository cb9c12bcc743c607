"""`nimify build`: a bundle's container image, which proves itself before it gets its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nimify.commands.console import Console, clean
from nimify.commands.evidence import evidence_shown
from nimify.commands.options import MODEL, json_option, quiet_option, seconds
from nimify.commands.progress_lines import progress_lines

if TYPE_CHECKING:
    from nimify.images.record import BuildRecord


@click.command()
@click.argument("bundle", type=MODEL)
@click.option("--tag", metavar="REF", default="", help="Name of the image.  [default: SERVICE:VERSION]")
@click.option(
    "--builder",
    type=click.Choice(["auto", "docker", "buildah", "podman"]),
    default="auto",
    show_default=True,
    help="What builds it; auto takes the first that works.",
)
@click.option("--family", type=click.Choice(["cpu", "triton"]), help="Runtime family.  [default: the plan's]")
@click.option("--base", metavar="REF", default="", help="Image to build on.  [default: what the Dockerfile names]")
@click.option("--platform", metavar="OS/ARCH", default="", help="Platform to build for, e.g. linux/amd64.")
@click.option(
    "--network", type=click.Choice(["default", "host", "none"]), help="Network of the steps that fetch packages."
)
@click.option("--push", is_flag=True, help="Send it to its registry.")
@click.option(
    "--sign-image", metavar="KEY", default="", help="Sign what was pushed with cosign, by a key: a file, or env://NAME."
)
@click.option("--no-prove", is_flag=True, help="Do not let it prove itself.")
@click.option("--timeout", type=seconds, metavar="TIME", default="30m", show_default=True, help="Time for the build.")
@json_option
@quiet_option
@click.pass_obj
def build(console: Console, /, bundle: Path, *, timeout: float, no_prove: bool, **options: Any) -> int:
    """Build a bundle's container image, and let it prove itself.

    The image is started as a random user, without network or rights and with a read-only root, and must answer the
    bundle's golden requests; only then it gets its name. What was measured goes into build.json in the bundle. Exits
    with 1 when the image does not prove itself.
    """
    from nimify.core.service import NIMService
    from nimify.images.build import BuildOptions

    given = {name: value for name, value in options.items() if value is not None}
    asked = BuildOptions(**given, proof=not no_prove, timeout_s=timeout)
    with evidence_shown(console):
        record = NIMService(bundle).build(asked, progress_lines(console))
    if console.json:
        console.document(record.to_dict())
    else:
        console.result("\n".join(_lines(record, console.width)))
    return 0


def _lines(record: BuildRecord, width: int) -> list[str]:
    from nimify.commands.layout import findings_block, heading, table
    from nimify.quantities import human_bytes, human_seconds

    image, measured = record.image, record.measured
    rows = [("image", image.name), ("id", image.id), *([("digest", image.digest)] if image.digest else [])]
    rows.append(("size", human_bytes(image.size_bytes)))
    rows.append(("base", record.base.name))
    rows += [("signed", "with cosign, in its registry")] if record.signed else []
    if measured is not None:
        rows.append(("ready after", human_seconds(measured.load_s)))
        rows.append(("memory", f"{human_bytes(measured.memory_bytes)} at most"))
        rows.append(("golden", f"{measured.requests} requests answered as recorded, as {measured.user}"))
    table_rows = [(f"{name:<11}", clean(value, 200)) for name, value in rows]
    return [heading(clean(image.name, 200), width), *table(table_rows, width), *findings_block(record.findings, width)]
