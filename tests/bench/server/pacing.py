"""Messages at an even pace, and how long each took. Nothing waits for an answer: a server that is slow gets no rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from statistics import quantiles
from typing import Final, NamedTuple

from tests.bench.server.facts import cpu_s, wanted_s

__all__ = ["Latency", "Pace", "Window"]

_MS: Final = 1e3


class Window(NamedTuple):
    """How long is counted, and behind how long a warm-up, in seconds."""

    warm_up_s: float
    count_s: float


class Latency(NamedTuple):
    """How long each took, in milliseconds.

    Attributes:
        per_second: The pace.
        p50_ms: From a post until its receiver had it.
        p99_ms: The same.
        sent_p50_ms: From a post until its sender knew that it is durable.
        sent_p99_ms: The same.
        late_p99_ms: How much later than it was due a post left the generator, which is not in the figures above.
        server_share: In which share of the time the server ran.
        load_share: In which share of the time the generator ran or waited for its core.
        messages: How many were counted.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    sent_p50_ms: float
    sent_p99_ms: float
    late_p99_ms: float
    server_share: float
    load_share: float
    messages: int


class Pace:
    """Posts of so many writers in turn, and what came of them.

    Args:
        writers: How many.
        pid: The server's process.
    """

    def __init__(self, writers: int, pid: int) -> None:
        self._pid = pid
        self._posted: list[list[float]] = [[] for _ in range(writers)]
        self._there: list[float] = []
        self._back: list[float] = []
        self._late: list[float] = []
        self._per_second = 0.0
        self._server_share = 0.0
        self._share = 0.0

    def came(self, writer: int, *, upto: int, many: int) -> None:
        """Note that so many messages of a writer came, the last of which is its `upto`-th."""
        now = time.perf_counter()
        self._there.extend(now - at for at in self._posted[writer][upto - many : upto])

    def answered(self, writer: int, *, upto: int) -> None:
        """Note that a writer's `upto`-th message is known to be durable."""
        self._back.append(time.perf_counter() - self._posted[writer][upto - 1])

    async def run(self, post: Callable[[int], None], per_second: float, window: Window) -> None:
        """Post; what came of the warm-up is forgotten."""
        self._per_second = per_second
        began, own = time.perf_counter(), wanted_s()
        counted, used = began, cpu_s(self._pid)
        total = int(per_second * (window.warm_up_s + window.count_s))
        warm = int(per_second * window.warm_up_s)
        for n in range(total):
            due = began + n / per_second
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            writer = n % len(self._posted)
            now = time.perf_counter()
            self._late.append(now - due)
            self._posted[writer].append(now)
            post(writer)
            if n == warm:
                for each in (self._there, self._back, self._late):
                    each.clear()
                counted, used = now, cpu_s(self._pid)
        ended = time.perf_counter()
        self._server_share = (cpu_s(self._pid) - used) / (ended - counted)
        self._share = (wanted_s() - own) / (ended - began)

    def latency(self) -> Latency:
        """What was found, once all of them came."""
        there, back, late = (
            [_MS * each for each in quantiles(times, n=100)] for times in (self._there, self._back, self._late)
        )
        delays = there[49], there[98], back[49], back[98], late[98]
        return Latency(self._per_second, *delays, self._server_share, self._share, len(self._there))
