"""Errors of code that is not ours, turned into one sentence that names its file and line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nimify.errors import NimifyError, PluginError, shortened


@contextmanager
def user_code(what: str, file: Path | None = None, *, meant: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Run somebody's code; what it raises by mistake becomes a `PluginError`.

    Nimify's own errors are meant, and pass.

    Args:
        what: The subject of the sentence, e.g. `The processor 'Gray'`.
        file: Where that code lies, when known; its deepest line on the way to the error is the one named.
        meant: What else it may raise on purpose.
    """
    try:
        yield
    except NimifyError:
        raise
    except Exception as error:
        if isinstance(error, meant):
            raise
        cause = f"{type(error).__name__}: {shortened(str(error), 200)}" if str(error) else type(error).__name__
        raise PluginError(f"{what} failed at {_where(error, file)} ({cause}).") from error


def _where(error: Exception, file: Path | None) -> str:
    # A file that does not compile has no frame of its own; the error carries the line.
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if file is not None and frame.filename == str(file)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
