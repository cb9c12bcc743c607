"""Structured logs on standard error: a readable line, or one JSON object a line.

Values from clients and models are data: they are escaped, so no request can forge a line.
"""

from __future__ import annotations

import datetime
import sys
import traceback
from typing import IO, Any, Final

import orjson

from nimify.errors import one_line, shortened

LEVELS: Final = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
"""Level names as NIM's `NIM_LOG_LEVEL` has them (`default` is `info`)."""
_MAX_VALUE: Final = 2048


class Log:
    """Writes events with fields.

    Args:
        level: Name of the lowest level that is written.
        json_lines: One JSON object a line instead of readable text.
        stream: Where to; standard error by default.
    """

    def __init__(self, level: str = "info", *, json_lines: bool = False, stream: IO[str] | None = None) -> None:
        self._threshold = LEVELS[level]
        self._json_lines = json_lines
        self._stream = stream if stream is not None else sys.stderr
        self.debugging = LEVELS["debug"] >= self._threshold
        """Whether debug events are written; asked before costly fields are made."""

    def debug(self, event: str, **fields: Any) -> None:
        """Write what helps to find a fault."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Write what a person who runs the service wants to see."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Write what may need attention."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Write what needs attention."""
        self._write("error", event, fields)

    def exception(self, event: str, error: BaseException, **fields: Any) -> None:
        """Write a fault of ours with its traceback."""
        trace = "".join(traceback.format_exception(error))
        self._write("error", event, {**fields, "error": repr(error), "traceback": trace})

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if LEVELS[level] < self._threshold:
            return
        now = datetime.datetime.now(datetime.UTC)
        line = _json_line(now, level, event, fields) if self._json_lines else _text_line(now, level, event, fields)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # A full disk or a closed pipe must not stop the service.


def _json_line(now: datetime.datetime, level: str, event: str, fields: dict[str, Any]) -> str:
    stamp = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    record = {
        "timestamp": stamp,
        "level": level,
        "event": event,
        **{key: _plain(value) for key, value in fields.items()},
    }
    return orjson.dumps(record).decode()


def _plain(value: Any) -> Any:
    # orjson refuses integers of more than 64 bits and text that is not Unicode, such as a file's undecodable name.
    if isinstance(value, float | None) or (isinstance(value, int) and value.bit_length() < 64):
        return value
    return shortened(str(value).encode("utf-8", "backslashreplace").decode(), _MAX_VALUE)


def _text_line(now: datetime.datetime, level: str, event: str, fields: dict[str, Any]) -> str:
    trace = fields.pop("traceback", None)
    details = "".join(f" {key}={_word(value)}" for key, value in fields.items())
    line = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z {level.upper():<7} {event}{details}"
    # Indented, because an error's text may hold lines that look like ours.
    return "\n".join([line, *(f"    {one_line(row)}" for row in trace.splitlines())]) if trace else line


def _word(value: Any) -> str:
    text = shortened(one_line(str(value)), _MAX_VALUE)
    if text and not {" ", '"'} & set(text):
        return text
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'
