"""Logs for machines: one line of JSON per event, on top of the standard library's `logging`, and never content.

    {"at":"2026-11-25T04:50:12.123Z","level":"info","logger":"whisperkit.service","event":"link ended","code":"resync"}

`log.info("link ended", extra={"code": code})` is all that a module has to do. What may come through is decided here
and not at each call: numbers, and text that looks like an id, a code or a name, without spaces. Everything else
becomes its kind and length. Of loggers that are not ours, which print whole calls and frames when they are upset,
only the place is told. Of an exception its class, its code (ours, the system's or the database's), the same of what
caused it, and the places that it passed, but never its text, which may quote what a peer sent.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from errno import errorcode
from types import TracebackType
from typing import IO, Final

from whisperkit.errors import WhisperError

__all__ = ["JsonLines", "set_up_logging"]

_OURS: Final = ("examples", "whisperkit")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/@+\-\[\]]{0,128}")
# What every record has: whatever else is there was given as `extra`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Turns a record into a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, object] = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        if record.name.partition(".")[0] in _OURS:
            line["event"] = _event(record)
            line.update((name, _safe(value)) for name, value in vars(record).items() if name not in _STANDARD)
        else:
            line["event"] = "foreign"
            line["where"] = f"{record.module}:{record.lineno}"
        if record.exc_info is not None and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = type(error).__name__
            if (code := _code_of(error)) is not None:
                line["error_code"] = code
            if causes := list(_causes(error)):
                line["caused_by"] = causes
            line["trace"] = _places(record.exc_info[2])
        return json.dumps(line, separators=(",", ":"))


def set_up_logging(level: str = "info", *, stream: IO[str] | None = None) -> None:
    """Send all logs of the process to standard error, as lines of JSON.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``, for our own loggers; others speak from ``warning`` on.
        stream: Another place.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())


def _event(record: logging.LogRecord) -> str:
    """The text of the record, in which what was put in is made safe."""
    template = str(record.msg)
    if not record.args:
        return template
    if isinstance(record.args, tuple):
        return template % tuple(_safe(value) for value in record.args)
    return template % {name: _safe(value) for name, value in record.args.items()}


def _safe(value: object) -> object:
    """A number, or text that can be no content; of anything else only what it is."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, bytes | bytearray):
        return f"<{len(value)} bytes>"
    text = str(value) if isinstance(value, str) else type(value).__name__
    return text if _PLAIN.fullmatch(text) else f"<{len(text)} characters>"


def _code_of(error: BaseException) -> str | None:
    """What it is called by whoever raised it, in a word that never changes: ``store.conflict``, ENOSPC, SQLITE_FULL."""
    if isinstance(error, WhisperError):
        return error.code
    if isinstance(error, OSError):
        return errorcode.get(error.errno or 0)
    return getattr(error, "sqlite_errorname", None)


def _causes(error: BaseException) -> Iterator[str]:
    """What it was raised from, the nearest first."""
    seen = {id(error)}
    while (cause := error.__cause__) is not None and id(cause) not in seen:
        code = _code_of(cause)
        yield type(cause).__name__ + (f" {code}" if code is not None else "")
        seen.add(id(cause))
        error = cause


def _places(trace: TracebackType | None) -> list[str]:
    """Innermost last, as in a traceback, without the lines of source."""
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
