"""The runtime of tests: flows on a simulated clock, every step of every node in an order that one seed owns.

A `SimWorld` is a heap of events and nothing else: no thread, no event loop, no real clock. Each node (a gateway, a
device) sees it through a `SimRuntime` of its own. A crash forgets the node's coroutines where they stand, as SIGKILL
does: nothing of theirs runs any more, no ``finally`` either, until the world is closed and nobody looks. What the
node had asked of other machines still happens there.

Two runs of one world take the same steps: `SimWorld.trace` is a hash over all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from heapq import heappop, heappush
from math import log
from random import Random
from struct import Struct
from typing import Any, Final, Generic, TypeVar, cast

from whisperkit.errors import UsageError
from whisperkit.runtime import Mailbox, Task
from whisperkit.testing.faulty import Crashed

__all__ = ["EPOCH_MS", "LivelockError", "SimMailbox", "SimRuntime", "SimTask", "SimWorld", "run_now"]

T = TypeVar("T")

# What wall clocks show when a world begins: 2026-01-01 00:00 UTC.
EPOCH_MS: Final = 1_767_225_600_000
# Steps without the clock moving; a real program that does so much at once hangs.
MAX_STEPS_AT_ONCE: Final = 50_000
# How long a request, or its answer, is under way between two machines.
MIN_LATENCY_S: Final = 0.000_5
MEAN_LATENCY_S: Final = 0.004


_DUE: Final = Struct(">d")


class LivelockError(AssertionError):
    """The nodes went on and on while no time passed."""


class SimWorld:
    """A clock, and what is to happen at which time.

    Args:
        seed: Owns latencies and the order of what happens at the same time.
    """

    def __init__(self, seed: int | str = 0) -> None:
        self.now = 0.0
        self.steps = 0
        self.is_closed = False
        self.slow_until = 0.0
        self._seed = seed
        self._order = Random(f"{seed}/order")
        self._heap: list[tuple[float, float, int, str, Callable[[], None]]] = []
        self._count = 0
        self._hash = blake2b(digest_size=8)
        self._failure: BaseException | None = None
        self._runtimes: list[SimRuntime] = []

    @property
    def trace(self) -> str:
        """A hash over all steps so far: when, and whose."""
        return self._hash.hexdigest()

    def at(self, delay_s: float, do: Callable[[], None], *, label: str) -> None:
        """Let something happen after a while; what is due at the same time happens in an order that the seed owns."""
        if self.is_closed:
            return
        self._count += 1
        heappush(self._heap, (self.now + delay_s, self._order.random(), self._count, label, do))

    def runtime(self, name: str, *, life: int = 0) -> SimRuntime:
        """A new life of a node.

        Args:
            name: The node's.
            life: Which of its lives: each has randomness of its own.
        """
        runtime = SimRuntime(self, name, Random(f"{self._seed}/{name}/{life}"))
        self._runtimes.append(runtime)
        return runtime

    def note(self, text: str) -> None:
        """Work something into the trace."""
        self._hash.update(text.encode())

    def fail(self, error: BaseException) -> None:
        """End the run: a coroutine raised, which is the program's fault."""
        self._failure = self._failure or error

    def run(self, *, until: Callable[[], bool] | None = None, upto_s: float = float("inf")) -> bool:
        """Let things happen until a condition holds; False: the time came, or nothing is left to happen.

        Raises:
            LivelockError: The clock stands still.
            Exception: What a spawned coroutine raised.
        """
        heap, at_once = self._heap, 0
        while until is None or not until():
            if not heap or heap[0][0] > upto_s:
                self.now = max(self.now, upto_s) if heap else self.now
                return False
            due, _, _, label, do = heappop(heap)
            at_once = at_once + 1 if due <= self.now else 0
            if at_once > MAX_STEPS_AT_ONCE:
                raise LivelockError(f"{at_once} steps at {self.now:.3f} s, the last of {label}")
            self.now = due
            self.steps += 1
            self._hash.update(_DUE.pack(due) + label.encode())
            do()
            if self._failure is not None:
                raise self._failure
        return True

    def close(self) -> None:
        """End the world. Coroutines that never ended are closed only now, so that what they do then has no effect."""
        self.is_closed = True
        self._heap.clear()
        for runtime in self._runtimes:
            runtime.bury()
        self._runtimes.clear()


Arrange = Callable[["SimTask"], None]


class _Suspend:
    """What a coroutine awaits to stand still: a function that is handed its task, and sees to its going on."""

    __slots__ = ("_arrange",)

    def __init__(self, arrange: Arrange) -> None:
        self._arrange = arrange

    def __await__(self) -> Generator[Arrange, Any, Any]:  # Any: what the function lets it go on with
        return (yield self._arrange)


class SimTask:
    """A coroutine of a node."""

    __slots__ = ("_coroutine", "_run", "_runtime", "children", "is_done", "name")

    def __init__(self, runtime: SimRuntime, run: Callable[[], Coroutine[object, object, None]], name: str) -> None:
        self.name = name
        self.is_done = False
        self.children: list[SimTask] = []
        self._runtime = runtime
        self._run = run
        self._coroutine: Coroutine[object, object, None] | None = None  # none before the first step

    def go_on(self) -> None:
        """Take the next step soon."""
        self._runtime.do_soon(partial(self.step, None, None), label=self.name)

    def go_on_after(self, delay_s: float) -> None:
        """Take the next step after a while."""
        self._runtime.do_soon(partial(self.step, None, None), label=self.name, delay_s=delay_s)

    def step(self, value: object, error: Exception | None) -> None:
        """Go on to the next await, with what the last one answered or raised."""
        if self.is_done:
            return
        if self._coroutine is None:
            self._coroutine = self._run()
        runtime = self._runtime
        runtime.current = self
        try:
            waits_for = self._coroutine.throw(error) if error is not None else self._coroutine.send(value)
        except StopIteration:
            self.is_done = True
            runtime.ended(self)
        except BaseException as failure:
            failure.add_note(f"in {self.name} of {runtime.name}, after {runtime.now():.3f} s")
            self.is_done = True
            runtime.world.fail(failure)
        else:
            # Flows await runtimes and doors only, and those await `_Suspend`.
            cast("Arrange", waits_for)(self)

    def drop(self) -> None:
        """End where it stands, with what it gathers."""
        self.is_done = True
        for child in self.children:
            child.drop()
        self._runtime.dropped(self)

    def bury(self) -> None:
        """Free what the coroutine holds, at the end of the world."""
        self.is_done = True
        if self._coroutine is not None:
            with suppress(Exception):  # a `finally` that awaits, or that finds its world gone
                self._coroutine.close()


class SimMailbox(Generic[T]):
    """A queue with one reader, on the simulated clock."""

    __slots__ = ("_items", "_runtime", "_ticket", "_waiting")

    def __init__(self, runtime: SimRuntime) -> None:
        self._runtime = runtime
        self._items: deque[T] = deque()
        self._waiting: SimTask | None = None
        self._ticket = 0

    def put(self, item: T) -> None:
        """Add an item; wakes the reader."""
        self._items.append(item)
        self._runtime.longest_queue = max(self._runtime.longest_queue, len(self._items))
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.go_on()

    async def get(self, timeout_s: float | None = None) -> T | None:
        """Wait for the next item; `None` when `timeout_s` seconds passed without one."""
        if not self._items:
            await _Suspend(partial(self._wait, timeout_s))
        return self._items.popleft() if self._items else None

    def _wait(self, timeout_s: float | None, task: SimTask) -> None:
        self._waiting = task
        self._ticket += 1
        if timeout_s is not None:
            expire = partial(self._expire, self._ticket)
            self._runtime.do_soon(expire, label=f"{task.name} timeout", delay_s=max(0.0, timeout_s))

    def _expire(self, ticket: int) -> None:
        if ticket == self._ticket:
            self._wake()

    def take(self, limit: int) -> list[T]:
        """Take what is there without waiting, oldest first, at most `limit` items."""
        items = self._items
        return [items.popleft() for _ in range(min(limit, len(items)))]

    def __len__(self) -> int:
        return len(self._items)


class SimRuntime:
    """A `Runtime`: one life of one node in a world. Made by `SimWorld.runtime`.

    Attributes:
        killed: Told when a door kills the node (`Crashed`).
    """

    def __init__(self, world: SimWorld, name: str, random: Random) -> None:
        self.world = world
        self.name = name
        self.is_alive = True
        self.is_paused = False
        self.current: SimTask | None = None
        self.longest_queue = 0
        self.killed: Callable[[], None] = lambda: None
        self._random = random
        self._tasks: dict[SimTask, None] = {}
        self._graves: list[SimTask] = []
        self._stalled: list[Callable[[], None]] = []

    # ---- what a flow sees ----

    def now(self) -> float:
        """Seconds since the world began."""
        return self.world.now

    def wall_ms(self) -> int:
        """Milliseconds since 1970, if the world began at `EPOCH_MS`."""
        return EPOCH_MS + int(self.world.now * 1_000)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await _Suspend(lambda task: task.go_on_after(max(0.0, seconds)))

    def spawn(self, run: Callable[[], Coroutine[object, object, None]], *, name: str) -> Task:
        """Start a coroutine; one that is dropped before its first step is never made."""
        return self._spawn(run, name)

    def _spawn(self, run: Callable[[], Coroutine[object, object, None]], name: str) -> SimTask:
        task = SimTask(self, run, name)
        self._tasks[task] = None
        task.go_on()
        return task

    def drop(self, task: Task) -> None:
        """End a coroutine where it stands.

        Raises:
            UsageError: It is the task of another kind of runtime.
        """
        if not isinstance(task, SimTask):
            raise UsageError(f"{task!r} is not a task of this runtime")
        task.drop()

    def mailbox(self) -> Mailbox[Any]:  # of what, says who asks
        """Make an empty mailbox."""
        return SimMailbox[Any](self)

    def random(self, size: int) -> bytes:
        """`size` bytes that the seed owns."""
        return self._random.randbytes(size)

    async def gather(self, calls: Sequence[Callable[[], Awaitable[None]]], *, limit: int) -> None:
        """Run calls side by side, at most `limit` at once, and wait for all; then raise the first exception."""
        remaining = iter(calls)
        failures: list[Exception] = []
        ended = SimMailbox[bool](self)

        async def work() -> None:
            for call in remaining:
                try:
                    await call()
                except Exception as error:
                    failures.append(error)
            ended.put(True)

        parent = self.current
        assert parent is not None  # only a coroutine of this node awaits this
        workers = [self._spawn(work, f"{parent.name}: gather") for _ in range(min(limit, len(calls)))]
        parent.children = workers
        for _ in workers:
            await ended.get()
        parent.children = []
        if failures:
            raise failures[0]

    # ---- what the world sees ----

    @property
    def tasks(self) -> int:
        """How many coroutines have not ended."""
        return len(self._tasks)

    def latency_s(self) -> float:
        """How long the next message to or from another machine takes."""
        slowness = 40.0 if self.world.now < self.world.slow_until else 1.0
        return MIN_LATENCY_S - slowness * MEAN_LATENCY_S * log(1.0 - self._random.random())

    def chance(self) -> float:
        """A number from 0 to 1 that the seed owns."""
        return self._random.random()

    def do_soon(self, do: Callable[[], None], *, label: str, delay_s: float = 0.0) -> None:
        """Let the node do something, at once or later: not if it is dead by then, and not while it is paused."""
        self.world.at(delay_s, partial(self.do, do), label=f"{self.name} {label}")

    def do(self, do: Callable[[], None]) -> None:
        """Do something now, as `do_soon` says."""
        if self.is_paused and self.is_alive:
            self._stalled.append(do)
        elif self.is_alive:
            do()

    async def call(self, operate: Callable[[], T], *, label: str) -> T:
        """Ask another machine to do something: it happens after a while, and the answer takes a while too.

        Args:
            operate: Done there in one step, even if this node has crashed meanwhile. `Crashed` kills this node.
            label: What it is, in the trace.
        """
        return cast("T", await _Suspend(partial(self._carry, operate, label)))  # what `operate` returned

    def _carry(self, operate: Callable[[], object], label: str, task: SimTask) -> None:
        perform = partial(self._perform, operate, label, task)
        self.world.at(self.latency_s(), perform, label=f"{self.name} asks {label}")

    def _perform(self, operate: Callable[[], object], label: str, task: SimTask) -> None:
        value: object = None
        failure: Exception | None = None
        try:
            value = operate()
        except Crashed:
            if self.is_alive:
                self.crash()
                self.killed()
            return
        except AssertionError as broken:
            self.world.fail(broken)  # whoever watches the other machine says so; no flow may go on from it
            return
        except Exception as error:
            failure = error
        answer = partial(self.do, partial(task.step, value, failure))
        self.world.at(self.latency_s(), answer, label=f"{self.name} hears of {label}")

    def pause(self) -> None:
        """Stop the node, as a long collection of garbage or a suspended machine does; others take it for dead."""
        self.is_paused = True

    def resume(self) -> None:
        """Let a paused node go on with all that waited for it, as if no time had passed."""
        self.is_paused = False
        stalled, self._stalled = self._stalled, []
        for do in stalled:
            self.do(do)

    def crash(self) -> None:
        """Kill the node: nothing of it runs any more."""
        self.is_alive = False
        self._graves += self._tasks
        self._tasks.clear()
        self._stalled.clear()

    def ended(self, task: SimTask) -> None:
        """A task came to its end."""
        self._tasks.pop(task, None)

    def dropped(self, task: SimTask) -> None:
        """A task was dropped: its coroutine is kept, or collecting it would run its `finally`."""
        if task in self._tasks:
            del self._tasks[task]
            self._graves.append(task)

    def bury(self) -> None:
        """Free all coroutines, at the end of the world."""
        self.crash()
        while self._graves:
            self._graves.pop().bury()


def run_now(operation: Coroutine[object, object, T]) -> T:
    """Run a coroutine that waits for nothing, such as a call of a store in memory.

    Raises:
        UsageError: It waited.
    """
    try:
        operation.send(None)
    except StopIteration as end:
        return cast("T", end.value)  # what a coroutine of T returns
    operation.close()
    raise UsageError("the call waited; only doors in memory can be simulated")
