"""The service as containers start it: `python -m nimify.serving`, without the command line and its libraries.

Everything comes from environment variables (docs/guide/build.md). The one argument that is taken is `serve`, which
SageMaker starts containers with, and nobody else: where the environment names no platform, it is taken for that one.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from nimify.errors import ConfigError, NimifyError
from nimify.serving.platform import started_with_serve

BUNDLE: Final = "/opt/nim/bundle"
"""Where images have the bundle."""
_ALL_ADDRESSES: Final = "0.0.0.0"  # noqa: S104 - a container is reached from outside, and its network says by whom
_EXIT_INTERRUPTED: Final = 130


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM.

    Args:
        arguments: Those of the program; nothing, or `serve`.
        environment: Usually `os.environ`.

    Returns:
        The status of the process; docs/guide/exit-codes.md lists them.
    """
    try:
        if list(arguments) not in ([], ["serve"]):
            raise ConfigError(
                "the container takes no arguments but 'serve'.",
                field="arguments",
                remedy="Settings are environment variables, e.g. NIM_HTTP_API_PORT.",
            )
        return _serve(started_with_serve(environment) if arguments else environment)
    except NimifyError as error:
        sys.stderr.write(f"Error: {error.message}\n" + (f"{error.remedy}\n" if error.remedy else ""))
        return error.exit_code
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED


def _serve(environment: Mapping[str, str]) -> int:
    from nimify.serving.service import run
    from nimify.serving.settings import ServiceSettings
    from nimify.serving.succession import TakenOver
    from nimify.serving.triton.settings import TritonSettings

    settings = ServiceSettings.from_environment(
        environment,
        host=environment.get("NIMIFY_HOST", "").strip() or _ALL_ADDRESSES,
        triton=TritonSettings.if_chosen(environment),
    )
    try:
        return run(Path(environment.get("NIMIFY_BUNDLE", "").strip() or BUNDLE), settings)
    except TakenOver as taken_over:
        taken_over.keep()


def _end(code: int) -> None:
    """Leave; at once when a thread is still inside the engine, which nothing can stop, or the log cannot be written."""
    try:
        sys.stderr.flush()
        at_once = threading.active_count() > 1
    except OSError:
        at_once = True  # the interpreter would try again, and make a status of it that is not ours
    if at_once:
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _end(main(sys.argv[1:], os.environ))
