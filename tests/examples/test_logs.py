"""Logs: one line of JSON per event, and never content."""

from __future__ import annotations

import io
import json
import logging
import sqlite3
from collections.abc import Iterator
from errno import ENOSPC
from typing import Any

import pytest

from examples.logs import JsonLines, set_up_logging
from whisperkit.errors import MalformedIdError, OutcomeUnknownError
from whisperkit.ids import DeviceId

SECRET = "meet me at noon"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where logs go; the process's own settings come back afterwards."""
    root = logging.getLogger()
    loggers = [root, logging.getLogger("examples"), logging.getLogger("whisperkit")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    stream = io.StringIO()
    set_up_logging(stream=stream)
    yield stream
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def lines(stream: io.StringIO) -> list[dict[str, Any]]:  # `Any`: JSON
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_a_line_with_its_ids_and_numbers(stream: io.StringIO) -> None:
    device = DeviceId.named("alice", 1)
    logging.getLogger("whisperkit.service").info(
        "link refused", extra={"device": device, "code": "wire.malformed", "count": 3, "seconds": 0.25, "is_new": True}
    )

    (line,) = lines(stream)
    at = line.pop("at")
    assert line == {
        "level": "info",
        "logger": "whisperkit.service",
        "event": "link refused",
        "device": str(device),
        "code": "wire.malformed",
        "count": 3,
        "seconds": 0.25,
        "is_new": True,
    }
    assert (len(at), at[-1]) == (len("2026-11-25T04:50:12.123Z"), "Z")


def test_content_does_not_come_through_as_a_field_or_an_argument(stream: io.StringIO) -> None:
    log = logging.getLogger("examples.net")
    log.warning("odd", extra={"text": SECRET, "data": SECRET.encode(), "items": [SECRET], "nothing": None})
    log.warning("odd %s of %d for %r", SECRET, 3, SECRET.encode())
    log.warning("odd %(text)s", {"text": SECRET})

    assert SECRET not in stream.getvalue()
    first, second, third = lines(stream)
    assert (first["text"], first["data"], first["items"], first["nothing"]) == (
        "<15 characters>",
        "<15 bytes>",
        "list",
        None,
    )
    assert second["event"] == "odd <15 characters> of 3 for '<15 bytes>'"
    assert third["event"] == "odd <15 characters>"


def test_an_exception_is_its_class_its_code_and_its_places(stream: io.StringIO) -> None:
    log = logging.getLogger("whisperkit.service")
    for error in (ValueError(SECRET), MalformedIdError(kind="user", expected="a UUID", found=SECRET)):
        try:
            raise error
        except Exception:
            log.exception("request failed")

    assert SECRET not in stream.getvalue()
    first, second = lines(stream)
    assert (first["error"], second["error"], second["error_code"]) == (
        "ValueError",
        "MalformedIdError",
        "ids.malformed",
    )
    assert "error_code" not in first
    assert first["trace"][0].startswith("test_logs.py:")
    assert first["trace"][0].endswith(" test_an_exception_is_its_class_its_code_and_its_places")


def test_what_caused_an_exception_is_told_by_class_and_code(stream: io.StringIO) -> None:
    def fail() -> None:
        db = sqlite3.connect(":memory:")
        try:
            db.execute(f"SELECT '{SECRET}' FROM nowhere")
        except sqlite3.Error as error:
            raise OutcomeUnknownError("commit") from error
        finally:
            db.close()

    try:
        fail()
    except OutcomeUnknownError:
        logging.getLogger("whisperkit.service").exception("post failed")
    try:
        raise ValueError(SECRET) from OSError(ENOSPC, SECRET)
    except ValueError:
        logging.getLogger("whisperkit.service").exception("post failed")

    assert SECRET not in stream.getvalue()
    first, second = lines(stream)
    assert (first["error_code"], first["caused_by"]) == ("store.outcome-unknown", ["OperationalError SQLITE_ERROR"])
    assert second["caused_by"] == ["OSError ENOSPC"]


def test_an_exception_that_is_its_own_cause_is_told_once(stream: io.StringIO) -> None:
    one, two = ValueError(), KeyError()
    one.__cause__, two.__cause__ = two, one

    logging.getLogger("whisperkit.service").warning("odd", exc_info=one)

    assert lines(stream)[0]["caused_by"] == ["KeyError"]


def test_a_logger_of_others_tells_where_and_not_what(stream: io.StringIO) -> None:
    log = logging.getLogger("asyncio")
    log.info("GET /%s", SECRET)
    log.error(f"Exception in callback receive({SECRET!r})", extra={"data": SECRET})

    assert SECRET not in stream.getvalue()
    (line,) = lines(stream)
    assert (line["logger"], line["level"], line["event"]) == ("asyncio", "error", "foreign")
    assert line["where"].startswith("test_logs:")


def test_the_level_is_that_of_our_own_loggers(stream: io.StringIO) -> None:
    logging.getLogger("whisperkit").debug("quiet")
    set_up_logging("debug", stream=stream)
    logging.getLogger("whisperkit").debug("loud")
    logging.getLogger("websockets").debug(SECRET)

    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_a_line_break_cannot_forge_a_line() -> None:
    record = logging.makeLogRecord({"name": "examples", "msg": "a", "path": 'x\n{"event":"forged"}'})

    assert "\n" not in JsonLines().format(record)
