"""`AnyioRuntime` on asyncio and trio: tasks, mailboxes, waiting, and what ends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from whisperkit.anyio_runtime import AnyioRuntime
from whisperkit.errors import UsageError
from whisperkit.runtime import Mailbox, Runtime

pytestmark = pytest.mark.anyio


async def settle() -> None:
    await anyio.wait_all_tasks_blocked()


async def test_it_is_a_runtime() -> None:
    runtime: Runtime = AnyioRuntime()

    assert len(runtime.random(16)) == 16
    assert runtime.random(16) != runtime.random(16)
    assert runtime.now() <= runtime.now()
    assert runtime.wall_ms() > 1_600_000_000_000
    await runtime.sleep(0)


async def test_a_spawned_coroutine_runs_to_its_end() -> None:
    done: list[str] = []

    async def work() -> None:
        done.append("done")

    async with AnyioRuntime() as runtime:
        task = runtime.spawn(work, name="work")
        was_done = task.is_done
        await settle()

        assert not was_done
        assert task.is_done
        assert done == ["done"]
        runtime.drop(task)


async def test_a_dropped_coroutine_goes_no_further() -> None:
    steps: list[str] = []

    async def work() -> None:
        steps.append("begun")
        await anyio.sleep_forever()
        steps.append("not reached")

    async with AnyioRuntime() as runtime:
        task = runtime.spawn(work, name="work")
        await settle()
        runtime.drop(task)
        await settle()

        assert task.is_done
        assert steps == ["begun"]


async def test_a_coroutine_dropped_before_its_first_step_never_takes_it() -> None:
    steps: list[str] = []

    async def work() -> None:
        steps.append("begun")

    async with AnyioRuntime() as runtime:
        runtime.drop(runtime.spawn(work, name="work"))
        await settle()

    assert steps == []


async def test_leaving_drops_what_still_runs() -> None:
    async with AnyioRuntime() as runtime:
        task = runtime.spawn(anyio.sleep_forever, name="for ever")
        await settle()

    assert task.is_done


async def test_an_exception_in_a_coroutine_ends_the_runtime() -> None:
    async def fail() -> None:
        raise ValueError("a fault of the program")

    async def serve() -> None:
        async with AnyioRuntime() as runtime:
            runtime.spawn(fail, name="fail")
            await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await serve()

    assert caught.group_contains(ValueError, match="a fault of the program")


async def test_an_exception_of_the_block_itself_comes_out_as_it_is() -> None:
    failure = OSError("address already in use")

    async def serve() -> None:
        async with AnyioRuntime() as runtime:
            runtime.spawn(anyio.sleep_forever, name="for ever")
            raise failure

    with pytest.raises(OSError, match="address already in use") as raised:
        await serve()

    assert raised.value is failure


async def test_an_exception_of_the_block_and_one_of_a_coroutine_come_out_together() -> None:
    async def fail() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError("while it was dropped")

    async def serve() -> None:
        async with AnyioRuntime() as runtime:
            runtime.spawn(fail, name="fail")
            await settle()
            raise OSError("address already in use")

    with pytest.raises(ExceptionGroup) as raised:
        await serve()

    assert {type(one) for one in raised.value.exceptions} == {OSError, ValueError}


async def test_a_runtime_that_is_not_open_spawns_nothing() -> None:
    runtime = AnyioRuntime()
    with pytest.raises(UsageError, match="not open"):
        runtime.spawn(anyio.sleep_forever, name="early")

    async with runtime:
        pass

    with pytest.raises(UsageError, match="not open"):
        runtime.spawn(anyio.sleep_forever, name="late")


async def test_only_its_own_tasks_are_dropped() -> None:
    class OtherTask:
        is_done = False

    with pytest.raises(UsageError, match="not a task of this runtime"):
        AnyioRuntime().drop(OtherTask())


# ---- mailboxes ------------------------------------------------------------------------------------------------------


async def test_items_come_in_order() -> None:
    box: Mailbox[int] = AnyioRuntime().mailbox()
    for item in range(5):
        box.put(item)

    size = len(box)
    found = [await box.get(), await box.get(1.0)]

    assert size == 5
    assert found == [0, 1]
    assert box.take(2) == [2, 3]
    assert box.take(9) == [4]
    assert box.take(9) == []


async def test_a_put_wakes_the_reader() -> None:
    found: list[int | None] = []
    async with AnyioRuntime() as runtime:
        box: Mailbox[int] = runtime.mailbox()

        async def read() -> None:
            while True:
                found.append(await box.get(60.0 if found else None))

        runtime.spawn(read, name="read")
        await settle()
        box.put(1)
        box.put(2)
        await settle()
        box.put(3)
        await settle()

    assert found == [1, 2, 3]


async def test_a_get_gives_up_after_its_time() -> None:
    box: Mailbox[int] = AnyioRuntime().mailbox()

    assert await box.get(0) is None

    box.put(7)
    assert await box.get(0) == 7


async def test_an_item_put_after_a_reader_was_dropped_is_kept() -> None:
    async with AnyioRuntime() as runtime:
        box: Mailbox[int] = runtime.mailbox()

        async def read() -> None:
            await box.get()

        task = runtime.spawn(read, name="read")
        await settle()
        runtime.drop(task)
        await settle()
        box.put(1)

        assert await box.get() == 1


# ---- side by side ---------------------------------------------------------------------------------------------------


async def test_calls_run_side_by_side_up_to_the_limit() -> None:
    running, most, done = 0, 0, 0

    async def call() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1
        done += 1

    calls: list[Callable[[], Awaitable[None]]] = [call] * 10
    await AnyioRuntime().gather(calls, limit=3)

    assert (most, done) == (3, 10)


async def test_the_first_exception_comes_after_the_others_have_ended() -> None:
    done: list[int] = []

    def call(number: int) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            await anyio.lowlevel.checkpoint()
            if number in (1, 3):
                raise ValueError(f"call {number}")
            done.append(number)

        return run

    with pytest.raises(ValueError, match="call 1"):
        await AnyioRuntime().gather([call(number) for number in range(5)], limit=2)

    assert sorted(done) == [0, 2, 4]


async def test_nothing_to_gather_is_no_error() -> None:
    await AnyioRuntime().gather([], limit=4)
