"""Which part of the server's work a stack is in: a table by module, and by function where one module does two things.

A stack is a line as `py-spy record --format raw --native` writes it: the thread, then frames from the outermost to the
innermost, Python's and those of C mixed. The innermost frame that the table knows decides. What a part calls in C, or
in a package that only helps, is the part's own: msgpack, hashing, classes made of tuples. A module of ours that the
table does not know is unclassified, and is shown as that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

__all__ = [
    "ACKS",
    "COMMIT",
    "DECODING",
    "ENCODING",
    "FRAMING",
    "GARBAGE",
    "LOOP",
    "METRICS",
    "PARSING",
    "PARTS",
    "PUSHING",
    "ROWS",
    "RULES",
    "TURNS",
    "UNCLASSIFIED",
    "WAITS",
    "WRITES",
    "Frame",
    "Stack",
    "function_of",
    "names",
    "parse",
    "part_of",
]

LOOP: Final = "event loop and socket reads"
PARSING: Final = "WebSocket: parsing"
DECODING: Final = "decoding and dispatch"
RULES: Final = "rules: posting"
TURNS: Final = "turns and the working set"
ROWS: Final = "SQLite: rows and heads, and the way there"
COMMIT: Final = "SQLite: COMMIT, in its thread"
PUSHING: Final = "pushing to links"
ENCODING: Final = "encoding of frames"
FRAMING: Final = "WebSocket: framing"
WRITES: Final = "socket writes"
ACKS: Final = "marks and acknowledgements"
METRICS: Final = "metrics"
GARBAGE: Final = "garbage collector"
UNCLASSIFIED: Final = "not classified"
# In the order of a message's way.
PARTS: Final = (
    LOOP,
    PARSING,
    DECODING,
    RULES,
    TURNS,
    ROWS,
    COMMIT,
    PUSHING,
    ENCODING,
    FRAMING,
    WRITES,
    ACKS,
    METRICS,
    GARBAGE,
    UNCLASSIFIED,
)
# A thread that has just been woken counts as running before it has the core or Python's lock: no work is done there.
WAITS: Final = "waits"


class _Commits(NamedTuple):
    """`execute` within this function begins and ends a transaction; rows go through `executemany`."""

    function: str
    within_c: str


_COMMITS: Final = _Commits("Database._write_together", "pysqlite_connection_execute_impl")
# By module; with a function behind a colon, that function alone.
_OURS: Final[Mapping[str, str]] = {
    "examples/net/websocket.py": PARSING,
    "examples/net/websocket.py:WebSocketConnection.send": FRAMING,
    "examples/net/websocket.py:WebSocketConnection.flush": FRAMING,
    "examples/net/websocket.py:WebSocketConnection.write_backlog": FRAMING,
    "examples/net/turns.py": PARSING,
    "examples/net/turns.py:Turns.flush_soon": FRAMING,
    "examples/net/turns.py:Turns._flush": FRAMING,
    "examples/net/plain_frames.py": PARSING,
    "examples/net/plain_frames.py:frame_head": FRAMING,
    "examples/net/websocket_server.py": LOOP,
    "examples/server/app.py": DECODING,
    "examples/server/app.py:_DeviceReceiver._send": FRAMING,
    "examples/server/counting.py": METRICS,
    "examples/tallies.py": METRICS,
    "examples/metrics.py": METRICS,
    "examples/adapters/sqlite.py": ROWS,
    "examples/adapters/sqlite_hot.py": ROWS,
    "examples/adapters/sqlite_database.py": ROWS,
    f"examples/adapters/sqlite_database.py:{_COMMITS.function}": ROWS,  # but for what is said of it there
    "whisperkit/anyio_runtime.py": LOOP,
    "whisperkit/service/service.py": DECODING,
    "whisperkit/service/frame_counts.py": METRICS,
    "whisperkit/service/link.py": DECODING,
    "whisperkit/service/link.py:DeviceLink.send": ENCODING,
    "whisperkit/service/link.py:DeviceLink.flush": ENCODING,
    "whisperkit/service/link.py:DeviceLink._write": ENCODING,
    "whisperkit/service/link.py:DeviceLink.offer": PUSHING,
    "whisperkit/service/link.py:DeviceLink.hear": PUSHING,
    "whisperkit/service/link.py:DeviceLink.acknowledge": ACKS,
    "whisperkit/service/gateway.py": DECODING,
    "whisperkit/service/gateway.py:Gateway._flush_links": ENCODING,
    "whisperkit/service/gateway.py:Gateway.flush_soon": ENCODING,
    "whisperkit/service/gateway.py:Gateway._sent": ENCODING,
    "whisperkit/service/gateway.py:Gateway._say_sent": ENCODING,
    "whisperkit/service/gateway.py:Gateway._acknowledge": ACKS,
    "whisperkit/service/gateway.py:Gateway._tell_delivered": ACKS,
    "whisperkit/service/outlet.py": FRAMING,
    "whisperkit/service/poster.py": RULES,
    "whisperkit/service/posting.py": RULES,
    "whisperkit/service/core.py": RULES,
    "whisperkit/service/audience.py": RULES,
    "whisperkit/service/finishing.py": RULES,
    "whisperkit/service/workers.py": RULES,
    "whisperkit/service/executor.py": TURNS,
    "whisperkit/service/working_set.py": TURNS,
    "whisperkit/service/delivery.py": PUSHING,
    "whisperkit/service/window.py": PUSHING,
    "whisperkit/service/window.py:DeliveryWindow.acknowledge": ACKS,
    "whisperkit/service/catchup.py": PUSHING,
    "whisperkit/service/reading.py": PUSHING,
    "whisperkit/service/copies.py": ENCODING,
    "whisperkit/service/marks.py": ACKS,
    "whisperkit/service/acks.py": ACKS,
    "whisperkit/service/ticks.py": ACKS,
    "whisperkit/receipts/": ACKS,
    "whisperkit/service/house.py": METRICS,
    "whisperkit/service/sweeper.py": RULES,
    "whisperkit/sync/frame_readers.py": DECODING,
    "whisperkit/service/presences.py": ACKS,
    "whisperkit/presence.py": ACKS,
    "whisperkit/sync/connection.py": DECODING,
    "whisperkit/sync/connection.py:_Connection.encode": ENCODING,
    "whisperkit/sync/connection.py:_Connection._walk": ENCODING,
    "whisperkit/sync/fields.py": DECODING,
    "whisperkit/sync/codec.py": DECODING,
    "whisperkit/sync/codec.py:encode": ENCODING,
    "whisperkit/sync/codec.py:encode_many": ENCODING,
    "whisperkit/sync/codec.py:encode_change": ENCODING,
    "whisperkit/sync/codec.py:_array_header": ENCODING,
    "whisperkit/sync/codec.py:_split": ENCODING,
    "whisperkit/sync/codec.py:entry_head": ENCODING,
    "whisperkit/sync/codec.py:entry_tail": ENCODING,
    "whisperkit/sync/conversation.py": RULES,
    "whisperkit/sync/conversation_state.py": RULES,
    "whisperkit/sync/inbox.py": RULES,
    "whisperkit/sync/cursor.py": RULES,
    "whisperkit/sync/window.py": RULES,
    "whisperkit/sync/rows.py": RULES,
    "whisperkit/sync/roster.py": RULES,
    "whisperkit/fanout/": RULES,
    "whisperkit/strategy.py": RULES,
}
# They do what their caller does.
_HELPERS: Final = frozenset(
    (
        "whisperkit/ids.py",
        "whisperkit/accounts.py",
        "whisperkit/sync/frames.py",
        "whisperkit/partitions.py",
        "whisperkit/_named_tuples.py",
        "whisperkit/packing.py",
        "whisperkit/stores/",
        "whisperkit/runtime.py",
        "whisperkit/errors.py",
        "whisperkit/service/hook.py",
        "whisperkit/service/codecs.py",
        "whisperkit/service/limits.py",
        "examples/config.py",
        "examples/__main__.py",
        "examples/server/serve.py",
    )
)
_OF_OTHERS: Final[Mapping[str, str]] = {
    "asyncio/": LOOP,
    "anyio/": LOOP,
    "sniffio/": LOOP,
    "websockets/": PARSING,
    "websockets/frames.py:Frame.serialize": FRAMING,
    "websockets/protocol.py:Protocol.data_to_send": FRAMING,
    "websockets/protocol.py:Protocol.send_binary": FRAMING,
    "websockets/protocol.py:Protocol.send_text": FRAMING,
    "websockets/protocol.py:Protocol.send_frame": FRAMING,
}
# Beginnings of names of functions in C.
_IN_C: Final[Mapping[str, str]] = {
    "gc_collect": GARBAGE,
    "uv__read": LOOP,
    "uv__io_poll": LOOP,
    "uv__run_": LOOP,
    "uv_run": LOOP,
    "Loop__": LOOP,
    "uv__write": WRITES,
    "uv__try_write": WRITES,
    "uv_try_write": WRITES,
    "UVStream_write": WRITES,
    "UVStream__exec_write": WRITES,
    "_queue_SimpleQueue_get_impl": WAITS,
    "_queue_SimpleQueue_get": WAITS,
    "pthread_cond_timedwait": WAITS,
    "pthread_cond_clockwait": WAITS,
}
_FRAME: Final = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)")
_WITHIN: Final = re.compile(r"\.<locals>.*")


class Frame(NamedTuple):
    """A function on a stack; `file` is a library where no source is known."""

    function: str
    file: str

    @property
    def is_python(self) -> bool:
        return self.file.endswith(".py") or self.file.startswith("<")

    @property
    def is_ours(self) -> bool:
        return self.file.startswith(("whisperkit/", "examples/"))

    @property
    def outer(self) -> str:
        """The function, without what is defined within it: comprehensions, closures."""
        return _WITHIN.sub("", self.function)


class Stack(NamedTuple):
    """A stack, how many times it was seen, and in which thread."""

    thread: int
    frames: Sequence[Frame]
    times: int


_THREAD: Final = re.compile(r"thread \((?:0x)?([0-9a-fA-F]+)\)")


def parse(line: str) -> Stack:
    """Read a line of what `py-spy` wrote.

    Raises:
        ValueError: It is none.
    """
    stack, _, count = line.rpartition(" ")
    thread, *frames = stack.split(";")
    found = _THREAD.match(thread)
    if found is None:
        raise ValueError(f"not a stack with a thread: {line[:80]}")
    return Stack(int(found[1]), [_frame(text) for text in frames], int(count))


def _frame(text: str) -> Frame:
    found = _FRAME.fullmatch(text)
    return Frame(found["function"], found["file"]) if found else Frame(text, "")


def part_of(frames: Sequence[Frame]) -> str:
    """Which of `PARTS` a stack is in, or `WAITS`."""
    innermost = function_of(frames)
    for frame in reversed(frames):
        if frame.is_python:
            part = _python_part(frame)
        elif frame.function == _COMMITS.within_c and innermost.outer == _COMMITS.function:
            part = COMMIT
        else:
            part = next((part for start, part in _IN_C.items() if frame.function.startswith(start)), None)
        if part is not None:
            return part
    return UNCLASSIFIED


def function_of(frames: Sequence[Frame]) -> Frame:
    """The innermost function in Python; the outermost frame where there is none."""
    return next((frame for frame in reversed(frames) if frame.is_python), frames[0] if frames else Frame("", ""))


def _python_part(frame: Frame) -> str | None:
    table = _OURS if frame.is_ours else _OF_OTHERS
    package = f"{frame.file.rpartition('/')[0]}/"
    found = table.get(f"{frame.file}:{frame.outer}") or table.get(frame.file) or table.get(package)
    if found is None and frame.file.startswith("anyio/"):
        return LOOP
    if found is None and frame.is_ours and not {frame.file, package} & _HELPERS:
        return UNCLASSIFIED
    return found


def names() -> tuple[list[str], list[str]]:
    """What the table names: of ours, and of other packages."""
    return [*_OURS, *_HELPERS], [*_OF_OTHERS]
