"""The `nimify` command: finds the subcommand, and is the one place where errors become words and exit codes.

A command's module is imported only when that command runs: `nimify --help` reads the table below and nothing else.

Exit codes: 0 done; 1 a check that was asked for failed; 2 the command or a setting is wrong; 3 the model; 4 the
bundle; 5 this machine; 6 an extension; 8 requests were lost at shutdown; 10, 11 and 12 a deployment; 70 a fault in
nimify; 130 interrupted; 141 the reader of our output went away; 143 terminated.

With `--json`, standard output carries one JSON document in every case: the result, or `{"error": {...}}`. The same
error stands in words on standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from nimify.commands.console import Console
from nimify.commands.failures import Failure, describe
from nimify.version import __version__

COMMANDS: Final = {
    "analyze": "Show what a model file holds and how it can be served.",
    "bench": "Put a service under load, and show how it does.",
    "build": "Build a bundle's container image, and let it prove itself.",
    "completion": "Print the completion script of a shell.",
    "create": "Turn a model file into a service: write its bundle.",
    "deploy": "Let a bundle run somewhere, and prove that it answers.",
    "logs": "Show what a deployed service wrote last.",
    "monitor": "Show how a service does, live: its requests, latencies, queue, batches and replicas.",
    "rollback": "Let an earlier revision answer again.",
    "sbom": "Write the bill of materials of a service.",
    "scan": "Scan a bundle, an image or a folder of models.",
    "serve": "Serve a bundle, or a model file, on this machine.",
    "sign": "Sign what a service reads of a bundle, or check a signature.",
    "status": "Show how a deployed service is.",
    "stop": "End a deployed service, letting it finish what it is doing.",
    "targets": "List where services can run, and what each place still needs on this machine.",
    "tune": "Measure which settings serve a bundle best on this machine.",
    "validate": "Check a bundle by the real reader of each file, or a live service.",
}
"""Each command and its line in `nimify --help`; the command itself is `nimify.commands.<name>:<name>`."""

_HELP: Final = """\
Turn a model file into a production inference microservice.

\b
  nimify create model.onnx --name my-classifier
  nimify serve my-classifier
  nimify validate my-classifier
"""  # \b tells Click to leave the lines as they are

EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141
EXIT_TERMINATED: Final = 143


class Terminated(BaseException):
    """SIGTERM arrived while a command was at work; it unwinds the stack so that temporary files are removed."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and line, and imports the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, without importing any."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        from importlib import import_module

        command: click.Command = getattr(import_module(f"nimify.commands.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and say which one was probably meant when there is none of that name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(_unknown_command(args[0]), ctx)
        return super().resolve_command(ctx, args)


def _unknown_command(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, COMMANDS, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"There are: {', '.join(COMMANDS)}."
    return f"There is no command '{name}'. {hint}"


@click.group(
    cls=LazyGroup,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Try `nimify COMMAND --help` for the options of a command. "
    "NO_COLOR=1 turns colour off; NIMIFY_DEBUG=1 shows the traceback of an unexpected error.",
)
@click.version_option(__version__, "-V", "--version", prog_name="nimify", message="%(prog)s %(version)s")
def nimify() -> None:
    """Turn a model file into a production inference microservice."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Those of the command line by default.

    Returns:
        The exit code of the process; see the module's docstring.
    """
    _open_missing_streams()
    args = list(sys.argv[1:] if arguments is None else arguments)
    if "_NIMIFY_COMPLETE" in os.environ:
        nimify.main(args, prog_name="nimify")
    console = Console()
    with suppress(ValueError):  # not the main thread: the program that called us deals with signals
        # SIGTERM unwinds like Ctrl-C, so that no half-made folder stays; `serve` later puts its own handler there.
        signal.signal(signal.SIGTERM, _terminated)
    try:
        return _flushed(_run(args, console), console)
    except BrokenPipeError:
        return _reader_gone()


def _open_missing_streams() -> None:
    """Give a standard stream that our caller closed the null device: no later file or socket must get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - open to the end


def _run(args: list[str], console: Console) -> int:
    """Parse and run; whatever goes wrong becomes words here and nowhere else."""
    try:
        with nimify.make_context("nimify", args, obj=console) as context:
            result: Any = nimify.invoke(context)
            return result if isinstance(result, int) else 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        raise
    except (KeyboardInterrupt, click.Abort):
        return console.fail(Failure("Interrupted", "Interrupted.", EXIT_INTERRUPTED))
    except Terminated:
        return console.fail(Failure("Terminated", "Terminated.", EXIT_TERMINATED))
    except click.exceptions.NoArgsIsHelpError as error:
        console.talk(error.format_message())
        return error.exit_code
    except click.UsageError as error:
        console.json |= "--json" in args  # parsing may have ended before it came to that option
        return console.fail(describe(error))
    except Exception as error:  # noqa: BLE001 - this is the program's one handler
        return console.fail(describe(error), error)


def _flushed(code: int, console: Console) -> int:
    console.flush()
    return code


def _terminated(_signal: int, _frame: object) -> NoReturn:
    raise Terminated


def _reader_gone() -> int:
    """Leave quietly: the reader had enough, as `head` has; the interpreter's last flush must not complain either."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(null, stream.fileno())
    return EXIT_BROKEN_PIPE
