"""Lines that are typed or piped in."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from examples.chat.typed import TypedLines


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "typed lines"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    # The writing end first, and the other one only when nobody reads there any more.
    with suppress(OSError):
        os.close(writing)
    for thread in readers():
        thread.join()
    with suppress(OSError):
        os.close(reading)


async def lines_of(descriptor: int) -> list[str]:
    return [line async for line in TypedLines(descriptor)]


def test_lines_come_in_order_also_the_last_one_without_its_end(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"one\n  two  \n\nthr" + "€".encode() + b"e")
    os.close(pipe[1])

    assert asyncio.run(lines_of(pipe[0])) == ["one", "two", "", "thr€e"]


def test_a_character_that_comes_in_two_pieces_is_one(pipe: tuple[int, int]) -> None:
    async def read() -> list[str]:
        typed = aiter(TypedLines(pipe[0]))
        os.write(pipe[1], b"first\n\xe2\x82")
        first = await anext(typed)
        os.write(pipe[1], b"\xac\n")
        return [first, await anext(typed)]

    assert asyncio.run(read()) == ["first", "€"]


def test_what_is_no_text_is_marked_and_does_no_harm(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"\xff\xfe\n")
    os.close(pipe[1])

    assert asyncio.run(lines_of(pipe[0])) == ["��"]


def test_a_file_is_read_to_its_end_however_long_it_is(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("".join(f"line {n}\n" for n in range(20_000)))

    with path.open("rb") as file:
        lines = asyncio.run(lines_of(file.fileno()))

    assert lines == [f"line {n}" for n in range(20_000)]


def test_the_loop_ends_though_nothing_was_typed(pipe: tuple[int, int]) -> None:
    async def wait() -> None:
        typed = aiter(TypedLines(pipe[0]))
        waiting = asyncio.ensure_future(anext(typed))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    asyncio.run(wait())

    assert [thread.daemon for thread in readers()] == [True]


def test_a_line_that_comes_after_the_loop_has_ended_is_dropped_in_silence(
    pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    async def begin() -> None:
        TypedLines(pipe[0])

    asyncio.run(begin())
    (reader,) = readers()
    os.write(pipe[1], b"too late\n")
    reader.join()

    assert capfd.readouterr() == ("", "")


def test_a_terminal_that_is_gone_is_the_end_of_the_input(pipe: tuple[int, int]) -> None:
    for end in pipe:
        os.close(end)

    assert asyncio.run(lines_of(pipe[0])) == []
