"""`nimify sbom`: the bill of materials of a service."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nimify.commands.console import Console, clean
from nimify.commands.options import FILE, MODEL, json_option, quiet_option


@click.command()
@click.argument("bundle", type=MODEL)
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Write it here.  [default: standard output]")
@json_option
@quiet_option
@click.pass_obj
def sbom(console: Console, /, bundle: Path, *, output: Path | None) -> int:
    """Write the bill of materials of a service, in CycloneDX 1.6.

    It lists the model with its signature, figures and files, and the packages that images of the service install, all
    with their digests. The same bundle gives the same document.
    """
    from nimify.artifacts.bundle import Bundle
    from nimify.artifacts.sbom import sbom as document_of
    from nimify.errors import EnvironmentProblem
    from nimify.filesystem import replace_file

    document = document_of(Bundle.open(bundle))
    if output is None:
        console.document(document)
        return 0
    try:
        replace_file(output, f"{json.dumps(document, indent=2)}\n".encode())
    except OSError as error:
        raise EnvironmentProblem(f"'{output}' cannot be written ({error.strerror}).") from error
    if console.json:
        console.document({"sbom": str(output), "components": len(document["components"])})
    else:
        console.talk(f"{len(document['components'])} components in {clean(output, 300)}.")
    return 0
