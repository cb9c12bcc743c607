"""What Triton writes: folded into our log, and read for the reason why it ended."""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from nimify.errors import EnvironmentProblem, ModelError, NimifyError, one_line, shortened
from nimify.serving.logs import Log

_LINE: Final = re.compile(r"(?P<level>[IWEF])\d{4} [\d:.]+ \d+ (?P<source>[\w./-]+:\d+)\] ?(?P<text>.*)")
_KEPT_LINES: Final = 200
_LONGEST_CAUSE: Final = 240
_LOAD_FAILURE: Final = re.compile(r"failed to load '.*?' version \d+: (?P<cause>.*)")
_NO_BACKEND: Final = re.compile(r"unable to find (?:backend library|'[^']*') for backend '(?P<backend>[^']*)'")
_PORT_TAKEN: Final = re.compile(r"already in use|failed to start (?:HTTP|GRPC|Metrics)", re.IGNORECASE)
_NO_GPU: Final = re.compile(r"pinned (?:system )?memory|CudaDriverHelper has not been initialized|DCGM unable to start")
"""What every Triton says as a warning or an error on a machine without a GPU, where it is in order."""
_STATUS: Final = re.compile(
    r"^(?:Internal|Invalid argument|Not found|Unavailable|Unsupported|Unknown|Already exists)(?: -|:) "
)
_PATH: Final = re.compile(r"(?<![\w.])/(?:[^\s'\":,/]+/)+")


class TritonOutput:
    """The lines that one Triton process wrote.

    Args:
        model: Name of the model, for what is said about it.
        log: Where the lines go: information as debug events, warnings and errors as such.
    """

    def __init__(self, model: str, log: Log) -> None:
        self._model = model
        self._log = log
        self._errors: deque[str] = deque(maxlen=_KEPT_LINES)

    def add(self, line: str) -> None:
        """Take one line; called from the thread that reads them."""
        match = _LINE.fullmatch(line)
        if match is None:
            if line.startswith("error: "):
                self._errors.append(line.removeprefix("error: "))
            if line:
                self._log.debug("triton", text=line)
            return
        text = _unquoted(match["text"])
        level = "I" if _NO_GPU.search(text) else match["level"]
        write = {"W": self._log.warning, "E": self._log.error, "F": self._log.error}.get(level, self._log.debug)
        write("triton", text=text, source=match["source"])
        if level in "EF":
            self._errors.append(text)

    def failure(self, ending: str) -> NimifyError:
        """Why it ended before it was ready, in our words.

        Args:
            ending: How the process ended, for when it did not say why.
        """
        for text in self._errors:
            if match := _NO_BACKEND.search(text):
                return EnvironmentProblem(
                    f"This tritonserver has no backend '{one_line(match['backend'])}'.",
                    remedy="Use NVIDIA's image with every backend (-py3), or one composed with that backend.",
                )
        for text in self._errors:
            if match := _LOAD_FAILURE.search(text):
                return self._refused(match["cause"])
        for text in self._errors:
            if _PORT_TAKEN.search(text):
                return EnvironmentProblem(
                    f"Triton could not listen: {_cause(text)}",
                    remedy="Choose other ports with --grpc-port, NIM_HTTP_TRITON_PORT and NIM_TRITON_METRICS_PORT.",
                )
        if self._errors:
            return self._refused(self._errors[-1])
        return EnvironmentProblem(
            f"Triton ended before it was ready: {ending}.",
            remedy="See what it says with --log-level debug; SIGKILL usually means that memory ran out.",
        )

    def _refused(self, cause: str) -> ModelError:
        return ModelError(
            self._model,
            f"Triton cannot load it: {_cause(cause)}",
            remedy="Check its config.pbtxt with nimify validate, or write the bundle again with nimify create --force.",
        )


def _cause(text: str) -> str:
    """One short line without the status that Triton puts first, and without the folders of this machine."""
    text = _PATH.sub("", _STATUS.sub("", text.strip()))
    return shortened(one_line(text), _LONGEST_CAUSE)


def _unquoted(text: str) -> str:
    """A message as it was before Triton put it in quotes."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), text[1:-1])
    return text
