"""Stacks as they were recorded, and the part that each is in."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.bench.server import parts
from tests.bench.server.contestants import INTERPRETED, OURS
from tests.bench.server.parts import Frame, parse, part_of
from tests.bench.server.profiling import PROFILED, profiled, render_profile, sum_up
from tests.bench.server.rows import ROWS

ROOT: Final = Path(__file__).parents[3]
# The frames between these and the thread are the same in all of them.
LOOP: Final = (
    "thread (4711): MainThread;serve (examples/server/serve.py:45);Runner.run (asyncio/runners.py:118);"
    "Loop__run (loop.c:20313);uv_run (core.c:452);"
)
READ: Final = (
    LOOP + "uv__run_idle (loop-watcher.c:68);Turns.read_now (examples/net/turns.py:72);"
    "WebSocketConnection.read (examples/net/websocket.py:276);"
)
TASK: Final = (
    LOOP + "uv__run_idle (loop-watcher.c:68);Handle__run (loop.c:70959);task_step_impl (_asynciomodule.c:2704);"
    "TaskHandle._run_coro (anyio/_core/_tasks.py:327);AnyioTask.run (whisperkit/anyio_runtime.py:44);"
)
TURN: Final = (
    TASK + "TurnExecutor._serve (whisperkit/service/executor.py:244);"
    "Executor._run_warm (whisperkit/service/executor.py:162);PostMessage.run (whisperkit/service/posting.py:151);"
)
FLUSH: Final = (
    LOOP + "uv__run_idle (loop-watcher.c:68);Turns._flush (examples/net/turns.py:86);"
    "WebSocketConnection.flush (examples/net/websocket.py:296);"
)
DISK: Final = (
    "thread (4712): sqlite;Thread.run (threading.py:982);SqliteStore._serve (examples/adapters/sqlite.py:171);"
    "Database._write_together (examples/adapters/sqlite_database.py:244);"
)
STACKS: Final = {
    LOOP + "uv__io_poll (linux.c:1452);epoll_pwait (libc.so.6)": parts.LOOP,
    LOOP + "uv__io_poll (linux.c:1564);uv__stream_io (stream.c:1305);uv__read (stream.c:1161);read (libc.so.6)": (
        parts.LOOP
    ),
    TASK + "TaskGroup._spawn (anyio/_backends/_asyncio.py:822)": parts.LOOP,
    LOOP + "uv__io_poll (linux.c:1564);uv__stream_io (stream.c:1305);uv__read (stream.c:1161);"
    "loop___uv_stream_on_read_impl (loop.c:112190);Py_DECREF (object.h:537);"
    "WebSocketConnection.data_received (examples/net/websocket.py:274);"
    "Turns.read_soon (examples/net/turns.py:60)": parts.PARSING,
    READ.removesuffix(";"): parts.PARSING,
    READ + "Protocol.receive_data (websockets/protocol.py:537);Frame.parse (websockets/frames.py:201)": parts.PARSING,
    READ + "DeviceLink.receive (whisperkit/service/link.py:140);decode (whisperkit/sync/codec.py:96);"
    "_parse_msgpack (whisperkit/sync/codec.py:160);unpackb (_cmsgpack.c:9)": parts.DECODING,
    READ + "Gateway._acknowledge (whisperkit/service/gateway.py:341);DeviceLink.acknowledge "
    "(whisperkit/service/link.py:288);DeliveryWindow.acknowledge (whisperkit/service/window.py:99)": parts.ACKS,
    TURN + "PostMessage._fuse (whisperkit/service/posting.py:266);append (whisperkit/sync/inbox.py:215);"
    "next_tag (whisperkit/sync/cursor.py:69);py_blake2b_new (blake2b_impl.c:113)": parts.RULES,
    TURN + "PostMessage.draft (whisperkit/service/posting.py:140);<lambda> (<string>:1)": parts.RULES,
    TURN + "Copies._item (whisperkit/service/copies.py:70);entry_tail (whisperkit/sync/codec.py:280)": parts.ENCODING,
    TURN + "DeliveryWindow.take (whisperkit/service/window.py:88)": parts.PUSHING,
    TASK + "TurnExecutor._serve (whisperkit/service/executor.py:243);"
    "Executor._decide.<locals>.<listcomp> (whisperkit/service/executor.py:140)": parts.TURNS,
    TASK + "Executor._commit (whisperkit/service/executor.py:205);SqliteStore.commit (examples/adapters/sqlite.py:108);"
    "Call.__init__ (examples/adapters/sqlite_database.py:82)": parts.ROWS,
    DISK + "Database._put (examples/adapters/sqlite_database.py:289);"
    "pysqlite_connection_executemany_impl (connection.c:1736);sqlite3_step (libsqlite3.so.0.8.6)": parts.ROWS,
    DISK + "pysqlite_connection_execute_impl (connection.c:1697);sqlite3_step (libsqlite3.so.0.8.6);"
    "fdatasync (libc.so.6)": parts.COMMIT,
    TASK + "DeviceLink._write (whisperkit/service/link.py:211);encode_many (whisperkit/sync/codec.py:210)": (
        parts.ENCODING
    ),
    TASK + "DeviceLink._write (whisperkit/service/link.py:211);"
    "WebSocketConnection.send (examples/net/websocket.py:211);Frame.serialize (websockets/frames.py:240)": (
        parts.FRAMING
    ),
    FLUSH + "Protocol.data_to_send (websockets/protocol.py:580)": parts.FRAMING,
    FLUSH + "UVStream_write (loop.c:109949);UVStream__exec_write (loop.c:108);write (libc.so.6)": parts.WRITES,
    TASK + "MarkBoard._write (whisperkit/service/marks.py:130);SqliteStore.raise_marks "
    "(examples/adapters/sqlite.py:116);Write.__init__ (examples/adapters/sqlite_database.py:127)": parts.ROWS,
    TASK + "Ticks._publish (whisperkit/service/ticks.py:122)": parts.ACKS,
    TASK + "Spread.observe (examples/tallies.py:81)": parts.METRICS,
    TURN + "Window.remember (whisperkit/sync/window.py:80);gc_collect_main (libpython3.11.so.1.0);"
    "subtract_refs (libpython3.11.so.1.0)": parts.GARBAGE,
    TURN + "novelty (whisperkit/service/novelty.py:1);DeviceId.__new__ (whisperkit/ids.py:80)": parts.UNCLASSIFIED,
    "thread (4713): other;pool (libz.so.1)": parts.UNCLASSIFIED,
    DISK + "_queue_SimpleQueue_get_impl (_queuemodule.c:224);PyThread_acquire_lock_timed (libpython3.11.so.1.0);"
    "0x7f65d50a3f16 (libc.so.6)": parts.WAITS,
    LOOP + "uv__read (stream.c:1161);loop___loop_alloc_buffer (loop.c:1);pthread_cond_timedwait (libc.so.6)": (
        parts.WAITS
    ),
}


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: stack.rpartition(";")[2])
def test_a_stack_is_in_the_part_of_its_innermost_function_that_has_one(stack: str) -> None:
    assert part_of(parse(f"{stack} 1").frames) == STACKS[stack]


def test_every_part_is_seen_in_a_stack() -> None:
    assert {*STACKS.values()} == {*parts.PARTS, parts.WAITS}


def test_a_stack_says_its_thread_and_how_often_it_was_seen() -> None:
    found = parse("thread (4711): MainThread;main (examples/__main__.py:34);write (libc.so.6);0x7f65d50a3f16 12")

    assert found == (
        4711,
        [Frame("main", "examples/__main__.py"), Frame("write", "libc.so.6"), Frame("0x7f65d50a3f16", "")],
        12,
    )


def test_what_is_no_stack_is_refused() -> None:
    with pytest.raises(ValueError, match="not a stack"):
        parse("main (examples/__main__.py:34) 12")


def defined(tree: ast.AST, within: str = "") -> Iterator[str]:
    """The names of all functions, those of classes behind the class."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield within + node.name
        elif isinstance(node, ast.ClassDef):
            yield from defined(node, f"{within}{node.name}.")


def is_there(name: str) -> bool:
    """Whether a module, and the function behind the colon, is in the source."""
    file, _, function = name.partition(":")
    path = ROOT / ("src" if file.startswith("whisperkit/") else "") / file
    if not function:
        return path.exists()
    return path.exists() and function in set(defined(ast.parse(path.read_text(encoding="utf-8"))))


def test_the_table_names_what_is_there() -> None:
    ours, _ = parts.names()

    assert [name for name in ours if not is_there(name)] == []


def test_what_a_message_costs_is_shared_out_by_the_threads_and_by_what_was_seen_in_each() -> None:
    main, disk = parts.LOOP, parts.COMMIT
    seen = {main: 3, parts.RULES: 1, disk: 2, parts.WAITS: 50}
    stacks = [parse(f"{stack} {seen.pop(part)}") for stack, part in STACKS.items() if part in seen]

    # Being looked at has taken a tenth of a second of each thread, the one included that did nothing else.
    found = sum_up(stacks, {4711: 0.9, 4712: 0.2, 4713: 0.2, 4714: 0.1}, us=100.0)

    assert {name: round(us, 6) for name, us in found["parts"] if us} == {
        main: 60.0,
        parts.RULES: 20.0,
        disk: 10.0,
        parts.UNCLASSIFIED: 10.0,  # a thread that ran and that nobody saw
    }
    assert found["samples"] == 6
    assert found["unclassified"] == []  # no function is known
    assert found["waits"] == 50
    assert dict(found["calls"])["whisperkit.service.posting:PostMessage.run"] == pytest.approx(20.0)


def test_what_no_part_owns_is_named() -> None:
    stray = next(stack for stack, part in STACKS.items() if part == parts.UNCLASSIFIED and "novelty" in stack)

    found = sum_up([parse(f"{stray} 1")], {4711: 1.0}, us=10.0)

    assert found["unclassified"] == [("whisperkit.ids:DeviceId.__new__", 10.0)]
    assert "10.00 us  whisperkit.ids:DeviceId.__new__" in render_profile(
        {"loads": {"some": {"watched_us": 1.0, **found}}}
    )


def test_a_profile_is_shown_by_parts_and_by_functions() -> None:
    stack = parse(f"{LOOP}uv__io_poll (linux.c:1452) 3")
    loads = {"some": {"watched_us": 12.0, **sum_up([stack], {4711: 1.0}, us=10.0)}}

    shown = render_profile({"loads": loads})

    assert "some: 10.0 us, 12.0 us while it was looked at; 3 samples, 0 more of threads that waited" in shown
    assert "  100.0 %    10.00 us  event loop and socket reads" in shown
    assert "  100.0 %    10.00 us  asyncio.runners:Runner.run  [event loop and socket reads]" in shown


@pytest.mark.parametrize("key", PROFILED)
def test_what_is_profiled_is_the_load_of_its_row_against_what_is_interpreted(key: str) -> None:
    (row,) = (row for row in ROWS if row.key == key)

    step = profiled(row)

    assert step.against == INTERPRETED
    assert step._replace(against=OURS) in row.steps
