"""What becomes of the frames on their way: one seed decides, and people who press buttons.

The greeting of a connection always passes: whoever loses that has no connection, which is what the flight is for.
All other frames are at the mercy of this module, each for itself, on a connection that stands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from random import Random
from typing import Final

from whisperkit.sync import frames
from whisperkit.sync.frames import BY_TYPE, Frame

__all__ = ["GREETING", "HOUSEKEEPING", "LATENCY_S", "LOSSES", "SLOW_S", "Fate", "Fates", "name_of"]

GREETING: Final = frozenset(
    {
        frames.Challenge,
        frames.Register,
        frames.Registered,
        frames.Hello,
        frames.Welcome,
        frames.Snapshot,
        frames.Bye,
    }
)
# What goes to and fro by the clock: whoever steps through frames by hand wants to step through something.
HOUSEKEEPING: Final = frozenset({frames.Beat, frames.Head, frames.Ack, frames.Presence, frames.Watch, frames.Marks})
LOSSES: Final = (0, 30)
# Of a hundred frames, so many come twice or late while that button is pressed. Not all: a rule that holds for each
# frame is no disorder.
_OFTEN: Final = 30
# How long a frame is on its way, by the speed that is set, and how much longer on a slow line.
LATENCY_S: Final = {1: 0.8, 2: 0.15, 3: 0.0}
SLOW_S: Final = 1.2
# Which frame is worth losing, and which worth doubling: that which carries a message.
_CARRIES: Final = {"up": frames.Send, "down": frames.Entry}


class Fate(Enum):
    """What becomes of a frame."""

    PASSED = "passed"
    LOST = "lost"
    DOUBLED = "doubled"
    LATE = "late"


class Fates:
    """Decides.

    Args:
        random: Makes all decisions that nobody else made.

    Attributes:
        lose: Of a hundred frames, how many are lost.
        double: Whether some come twice.
        reorder: Whether some are overtaken.
        slow: Whether all take long.
        step: Whether each waits for a person to let it pass.
        speed: 1 to 3: how fast frames travel.
    """

    def __init__(self, random: Random, *, speed: int = 2) -> None:
        self.lose = 0
        self.double = False
        self.reorder = False
        self.slow = False
        self.step = False
        self.speed = speed
        self._random = random
        self._armed: dict[tuple[int, str], deque[Fate]] = {}

    @property
    def latency_s(self) -> float:
        """How long a frame that leaves now is on its way."""
        return LATENCY_S[self.speed] + (SLOW_S if self.slow else 0.0)

    def arm(self, phone: int, way: str, fate: Fate) -> None:
        """Let the next frame with a message, of that phone and that way, meet this fate."""
        self._armed.setdefault((phone, way), deque()).append(fate)

    def decide(self, phone: int, way: str, carried: Sequence[Frame]) -> Fate:
        """Say what becomes of what leaves now."""
        kinds = set(map(type, carried))
        if kinds & GREETING:
            return Fate.PASSED
        armed = self._armed.get((phone, way))
        if armed and _CARRIES[way] in kinds:
            return armed.popleft()
        chances = (
            (Fate.LOST, self.lose),
            (Fate.DOUBLED, _OFTEN if self.double else 0),
            (Fate.LATE, _OFTEN if self.reorder else 0),
        )
        for fate, chance in chances:
            if chance and self._random.randrange(100) < chance:
                return fate
        return Fate.PASSED

    def waits(self, carried: Sequence[Frame]) -> bool:
        """Whether what leaves now waits for a person."""
        kinds = set(map(type, carried))
        return self.step and not kinds & GREETING and not kinds <= HOUSEKEEPING


def name_of(carried: Sequence[Frame]) -> str:
    """The names of the frames in one message of the transport, such as ``ENTRY ×3 HEAD``."""
    counts: dict[str, int] = {}
    for frame in carried:
        name = BY_TYPE[type(frame)].name
        counts[name] = counts.get(name, 0) + 1
    return " ".join(name if count == 1 else f"{name} ×{count}" for name, count in counts.items())
