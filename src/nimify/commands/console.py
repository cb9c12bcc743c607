"""What a command says, and where: results on standard output, talk on standard error, colour only where it is wanted.

Whatever is printed may come from a hostile file; `clean` makes it safe for a terminal.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import IO, Any, Final

import click

from nimify.commands.failures import Failure
from nimify.errors import one_line, shortened

LONGEST_NAME: Final = 60
LEAST_PROGRESS_BYTES: Final = 16 << 20
"""Less is dealt with before a bar could be read."""
_NARROWEST: Final = 20
_WIDEST: Final = 110


class Console:
    """Where one run of the program talks to.

    Attributes:
        json: Whether results are JSON documents; set by `--json`.
        quiet: Whether talk is left out; set by `--quiet`.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.json = False
        self.quiet = False
        self._environment = os.environ if environment is None else environment

    @property
    def width(self) -> int:
        """Columns to write in."""
        return max(_NARROWEST, min(shutil.get_terminal_size((100, 24)).columns, _WIDEST))

    def result(self, text: str = "") -> None:
        """Print what was asked for."""
        self._print(text, sys.stdout)

    def document(self, data: Any) -> None:
        """Print what was asked for, as one JSON document."""
        self._print(json.dumps(data, indent=2, ensure_ascii=True), sys.stdout)

    def talk(self, text: str = "") -> None:
        """Print what a person may want to know meanwhile; nothing with `--quiet`."""
        if not self.quiet:
            self._say(text)

    def fail(self, failure: Failure, error: BaseException | None = None) -> int:
        """Say why the program ends without a result.

        Returns:
            The exit code.
        """
        if failure.is_bug and error is not None and self._environment.get("NIMIFY_DEBUG"):
            self._say("".join(traceback.format_exception(error)).rstrip())
        label = click.style("Error:", fg="red", bold=True)
        self._say(f"{label} {failure.message}")
        if failure.remedy:
            self._say(click.style(failure.remedy, dim=True))
        if self.json:
            self.document({"error": failure.to_dict()})
        return failure.exit_code

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar for long work, on a terminal only; gives what to call with each further number of bytes."""
        if self.quiet or self.json or total < LEAST_PROGRESS_BYTES or not _is_terminal(sys.stderr):
            yield lambda _: None
            return
        bar: Any = click.progressbar(
            length=total, label=label, file=sys.stderr, width=0, color=self.colour(sys.stderr), show_pos=False
        )
        with bar:
            yield bar.update

    def colour(self, stream: IO[str]) -> bool:
        """Whether a stream gets colour: never with NO_COLOR, always with FORCE_COLOR, else on a terminal."""
        if self._environment.get("NO_COLOR"):
            return False
        if self._environment.get("FORCE_COLOR", "0") not in {"", "0"}:
            return True
        return _is_terminal(stream) and self._environment.get("TERM") != "dumb"

    def flush(self) -> None:
        """Push everything out now, so that a reader that is gone is noticed here."""
        sys.stdout.flush()
        if not _written(sys.stderr.flush):
            # What is left over would make another status of ours when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def _say(self, text: str) -> None:
        _written(partial(self._print, text, sys.stderr))

    def _print(self, text: str, stream: IO[str]) -> None:
        click.echo(_encodable(text, stream), file=stream, color=self.colour(stream))


def clean(text: object, limit: int = LONGEST_NAME) -> str:
    """Text from a stranger's file, safe for a terminal and not longer than `limit`."""
    return shortened(one_line(str(text)), limit)


def _written(write: Callable[[], Any]) -> bool:
    """Write talk; false when there is no room for it: a full disk must not keep the work from being done."""
    try:
        write()
    except BrokenPipeError:
        raise
    except OSError:
        return False
    return True


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _encodable(text: str, stream: IO[str]) -> str:
    """Text that the stream's encoding can write: a bare C locale must not turn an arrow into a crash."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
