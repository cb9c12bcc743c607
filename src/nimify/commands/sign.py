"""`nimify sign`: sign what a service reads of a bundle, or check a signature."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nimify.commands.console import Console, clean
from nimify.commands.options import FILE, MODEL, json_option, quiet_option

if TYPE_CHECKING:
    from nimify.signing.manifest import SignedManifest


@click.command()
@click.argument("bundle", type=MODEL, required=False)
@click.option("--key", type=FILE, metavar="FILE", help="The private key to sign with, or the public one to check with.")
@click.option("--check", is_flag=True, help="Check the signature and every signed file; change nothing.")
@click.option(
    "--generate-key", type=FILE, metavar="FILE", help="Make a key pair: FILE and, beside it, the public key as .pub."
)
@json_option
@quiet_option
@click.pass_obj
def sign(console: Console, /, bundle: Path | None, *, key: Path | None, check: bool, generate_key: Path | None) -> int:
    """Sign what a service reads of a bundle, or check a signature.

    Writes model.sig in the OpenSSF model-signing format. Signed are plan.json, openapi.json, the model repository and
    the processors; `nimify serve --verify-key` then starts only if all of that is as it was signed. The password of an
    encrypted private key comes from NIMIFY_KEY_PASSWORD.

    \b
      nimify sign --generate-key signing.pem
      nimify sign BUNDLE --key signing.pem
      nimify sign BUNDLE --check --key signing.pub
    """  # noqa: D301 - \b tells Click to leave the lines as they are
    if generate_key is not None:
        if bundle is not None or key is not None or check:
            raise click.UsageError("--generate-key stands alone: it makes a key pair and signs nothing.")
        return _generate(console, generate_key)
    if bundle is None:
        raise click.UsageError("Name the bundle to sign.")
    if key is None:
        raise click.UsageError("Name the key with --key; --generate-key makes one.")
    manifest = _checked(bundle, key) if check else _signed(bundle, key)
    _report(console, bundle, manifest, "as it was signed" if check else "signed")
    return 0


def _generate(console: Console, path: Path) -> int:
    from nimify.signing.keys import generate_key

    public = generate_key(path)
    if console.json:
        console.document({"private_key": str(path), "public_key": str(public)})
        return 0
    console.result(f"Private key: {clean(path, 300)} (keep it secret)\nPublic key:  {clean(public, 300)}")
    return 0


def _signed(bundle: Path, key: Path) -> SignedManifest:
    from nimify.core.signatures import sign_bundle
    from nimify.signing.keys import PASSWORD_VARIABLE, PrivateKey

    return sign_bundle(bundle, PrivateKey.load(key, os.environ.get(PASSWORD_VARIABLE)))


def _checked(bundle: Path, key: Path) -> SignedManifest:
    from nimify.core.signatures import check_bundle

    return check_bundle(bundle, key)


def _report(console: Console, bundle: Path, manifest: SignedManifest, said: str) -> None:
    from nimify.signing.signature import SIGNATURE_FILE

    if console.json:
        console.document(
            {
                "signature": str(bundle / SIGNATURE_FILE),
                "name": manifest.name,
                "files": dict(sorted(manifest.files.items())),
            }
        )
        return
    console.result(f"'{clean(bundle, 200)}' is {said}: {len(manifest.files)} files, in {SIGNATURE_FILE}.")
