"""How a stretch of work is timed: process CPU time, in slices between looks at a yardstick, the collector left on.

The machine is shared, so a figure in microseconds says as much about the neighbours as about the code. CPU time does
not count waiting, but it does count the caches that a neighbour has emptied, and the half of a core that one has taken
who runs on its other thread. Each slice of work therefore stands between two looks at what one X25519 agreement costs
just then. The ratio of the two bears comparison with other machines; beside a busy neighbour it does not quite, because
an agreement suffers less than Python does. Slices between two fast looks in which nobody else got the core tell what
a quiet machine would have said.

Before a stretch begins everything that is garbage is collected, and then the collector runs as it does in an
application: what the work leaves behind is part of its price. The Node.js program does the same; there a collection
also throws compiled code away, so it first lets devices that are not measured talk until that is there again.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from time import process_time_ns
from typing import Final, NamedTuple, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

if sys.platform != "win32":
    import resource

__all__ = ["Stretch", "Yardstick", "timed"]

T = TypeVar("T")
R = TypeVar("R")

# One millisecond: long against what reading the clock costs.
_AGREEMENTS: Final = 25


class Stretch(NamedTuple):
    """What one stretch of work cost, slice by slice.

    Attributes:
        items: How many items each slice had.
        us: Microseconds of CPU time for each item of a slice.
        looks: What one agreement cost before the first slice, between any two, and after the last one.
        switches: How often another process took the core in a slice or the two looks beside it: caches are cold then.
    """

    items: tuple[int, ...]
    us: tuple[float, ...]
    looks: tuple[float, ...]
    switches: tuple[int, ...]


class Yardstick:
    """One X25519 agreement, with keys that are loaded already: what this machine can do just now."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self._public = X25519PrivateKey.generate().public_key()

    def look(self) -> float:
        """Microseconds for one agreement."""
        exchange, public = self._private.exchange, self._public
        began = process_time_ns()
        for _ in range(_AGREEMENTS):
            exchange(public)
        return round((process_time_ns() - began) / _AGREEMENTS / 1_000, 3)


def timed(
    work: Callable[[Sequence[T]], list[R]],
    items: Sequence[T],
    *,
    slice_items: int,
    yardstick: Yardstick,
    collect: Callable[[], object] = gc.collect,
) -> tuple[Stretch, list[R]]:
    """Do work on items, slice by slice.

    Args:
        work: Takes a slice, and makes one thing of each item.
        items: What it is done on, at least one.
        slice_items: How many of them stand between two looks at the yardstick.
        yardstick: What it is held against.
        collect: Collects garbage before the clock starts.

    Returns:
        What it cost, and what was made, to be checked now that the clock has stopped.
    """
    slices = [items[start : start + slice_items] for start in range(0, len(items), slice_items)]
    made: list[R] = []
    us: list[float] = []
    collect()
    starts, looks, ends = [_switches()], [yardstick.look()], [_switches()]
    for each in slices:
        began = process_time_ns()
        done = work(each)
        us.append(round((process_time_ns() - began) / len(each) / 1_000, 3))
        starts.append(_switches())
        looks.append(yardstick.look())
        ends.append(_switches())
        made += done
    switches = tuple(after - before for before, after in zip(starts, ends[1:], strict=False))
    return Stretch(tuple(map(len, slices)), tuple(us), tuple(looks), switches), made


def _switches() -> int:
    if sys.platform == "win32":
        return 0  # nobody says, so every slice counts as undisturbed
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
