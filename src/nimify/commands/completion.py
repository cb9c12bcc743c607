"""`nimify completion`: print the completion script of a shell."""

from __future__ import annotations

import click

from nimify.commands.console import Console

SHELLS = ("bash", "zsh", "fish")
_HELP = """\
Print the completion script of a shell.

\b
  bash:  nimify completion bash > ~/.local/share/bash-completion/completions/nimify
  zsh:   nimify completion zsh > "${fpath[1]}/_nimify"
  fish:  nimify completion fish > ~/.config/fish/completions/nimify.fish
"""  # \b tells Click to leave the lines as they are


@click.command(help=_HELP)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    console: Console = context.obj
    if kind is None:
        raise click.UsageError(f"Click has no completion for {shell}.", context)
    script = kind(context.find_root().command, {}, "nimify", "_NIMIFY_COMPLETE")
    # Not `source()`: for bash that first runs bash to see its version, which a build machine may not have.
    console.result((script.source_template % script.source_vars()).rstrip())
