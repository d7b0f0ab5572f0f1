"""Stories that nobody has thought of: a device under dice, and parts of the wire alone, many of them damaged."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from tests.examples.web.player import Player, Step
from tests.examples.web.stories import Story, attach, receive, roster
from tests.fuzz.damage import damage
from tests.sync.test_mirror import BOB, CAROL, CONVS, Server
from whisperkit.errors import PeerError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId
from whisperkit.strategy import Strategy
from whisperkit.sync import codec, frames
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.fields import MAX_NUMBER
from whisperkit.sync.frames import BY_TYPE, FRAMES, Direction, EntryKind, Frame, MarkKind, StoredRow
from whisperkit.sync.mirror import Phase
from whisperkit.testing.samples import mutated, sample, sample_frame

__all__ = ["Dice", "dice", "parts"]


class Dice:
    """Bob's device, Alice's posts, and a wire between them that drops, repeats, reorders and damages."""

    MOVES: Final = (
        *("post", "post", "post", "deliver", "deliver", "deliver", "serve", "serve", "connect", "connect", "beat"),
        *("wait", "switch", "change_roster", "look", "read", "mark", "drop", "repeat", "reorder", "damage", "cut"),
        *("crash", "trim", "lose_tail"),
    )

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.server = Server()
        self.player = Player(BOB)
        self.steps: list[Step] = []
        self.down: list[Frame] = []
        self.now = 0
        self.shown: ConversationId | None = None

    def throw(self, count: int) -> list[Step]:
        while len(self.steps) < count:
            getattr(self, self.rng.choice(self.MOVES))()
        return self.steps

    def take(self, step: Step) -> None:
        self.steps.append(step)
        if self.player.take(step).get("reconnect"):
            self.cut()

    @property
    def is_online(self) -> bool:
        return self.player.mirror.phase is not Phase.OFFLINE

    # -- life

    def post(self) -> None:
        self.push(self.server.post(self.rng.choice(CONVS), EntryKind.MESSAGE, b"x"))

    def push(self, row: StoredRow) -> None:
        if self.is_online and self.server.inbox and self.server.inbox[-1][2].row is row:
            self.down.append(self.server.entry(len(self.server.inbox)))

    def switch(self) -> None:
        conv = self.rng.choice(CONVS)
        strategy = Strategy.SMALL if self.server.strategy[conv] is Strategy.MEGA else Strategy.MEGA
        self.push(self.server.post(conv, EntryKind.MODE, bytes([strategy])))

    def change_roster(self) -> None:
        conv = self.rng.choice(CONVS)
        is_in = CAROL in self.server.roster(conv)[1]
        change = roster(removed=[CAROL]) if is_in else roster(CAROL)
        self.push(self.server.post(conv, EntryKind.ROSTER, change))

    def connect(self) -> None:
        if not self.is_online:
            followed = [conv for conv in CONVS if self.rng.random() < 0.3]
            self.down = self.server.sync(self.player.mirror.cursor)
            self.take(attach(*followed, now=self.now))

    def deliver(self) -> None:
        count = self.rng.randint(1, 6)
        batch, self.down = self.down[:count], self.down[count:]
        if batch:
            crash = self.rng.choice(("before", "after")) if self.rng.random() < 0.05 else None
            self.take(receive(*batch, now=self.now, crash=crash))

    def serve(self) -> None:
        for frame in self.player.sent:
            self.down += self.server.take(frame)

    def beat(self) -> None:
        self.down.append(self.server.heads())

    def wait(self) -> None:
        self.now += self.rng.randint(1, 12)
        self.take({"do": "timer", "now": self.now})

    def look(self) -> None:
        """At one conversation at a time: which of two is fetched first is nobody's business, but shows."""
        if self.shown is not None:
            self.take({"do": "close", "conv": self.shown})
        self.shown = self.rng.choice(CONVS)
        self.take({"do": "open", "conv": self.shown, "now": self.now})

    def read(self) -> None:
        conv = self.rng.choice(CONVS)
        self.take({"do": "read", "conv": conv, "upto": self.rng.randint(0, 9), "now": self.now})

    def mark(self) -> None:
        upto = ConversationSeq(self.rng.randint(0, 9))
        self.down.append(frames.Mark(self.rng.choice(CONVS), BOB.user, MarkKind.READ, upto))

    # -- faults

    def drop(self) -> None:
        if self.down:
            self.down.pop(self.rng.randrange(len(self.down)))

    def repeat(self) -> None:
        if self.down:
            self.down.insert(self.rng.randrange(len(self.down)), self.rng.choice(self.down))

    def reorder(self) -> None:
        if self.down:
            self.down.insert(0, self.down.pop(self.rng.randrange(len(self.down))))

    def damage(self) -> None:
        for at, frame in enumerate(self.down):
            if isinstance(frame, frames.Entry):
                self.down[at] = frame._replace(tag=self.rng.randbytes(8))
                return

    def cut(self) -> None:
        self.down = []
        self.take({"do": "detach"})

    def crash(self) -> None:
        self.down, self.shown = [], None
        self.take({"do": "restart"})

    def trim(self) -> None:
        self.server.floor = self.rng.randint(self.server.floor, len(self.server.inbox))

    def lose_tail(self) -> None:
        del self.server.inbox[max(self.server.floor, len(self.server.inbox) - 2) :]


def dice(seed: int, *, steps: int = 40) -> Story:
    """A story that nobody has thought of."""
    return Story(f"dice {seed}", Dice(random.Random(seed)).throw(steps))


# ---- parts alone


def parts(rng: random.Random, count: int) -> Story:
    """Messages, cursors and tags, many of them damaged."""
    return Story("parts", [step for _ in range(count) for step in _parts(rng)])


# A page has nothing to do with keys, and with lists of devices.
_OF_A_PAGE: Final = [
    spec
    for spec in FRAMES
    if spec.direction & Direction.TO_CLIENT and spec.type is not frames.Registered and not 48 <= spec.code <= 57
]


def _parts(rng: random.Random) -> Iterable[Step]:
    text = codec.encode_json([sample_frame(rng, rng.choice(_OF_A_PAGE)) for _ in range(rng.randint(1, 3))])[0]
    yield {"do": "decode", "text": text}
    with suppress(UnicodeDecodeError):
        damaged = damage(text.encode(), rng).decode()
        if _is_of_a_page(damaged):
            yield {"do": "decode", "text": damaged}
    change, item = codec.encode_change(sample(frames.CHANGE, rng)), codec.encode_item(sample(frames.ITEM, rng))
    for name, data in (("change", change), ("item", item)):
        for one in (data, damage(data, rng)):
            yield {"do": name, "data": base64.b64encode(one).decode()}
    ids = [MessageId(rng.randbytes(16)) for _ in range(rng.randint(0, 3))]
    number = rng.randint(1, 127)
    yield {"do": "tag", "device": DeviceId(BOB.user, number), "ids": [base64.b64encode(one).decode() for one in ids]}
    cursor = Cursor(rng.randint(1, MAX_NUMBER), InboxSeq(rng.randint(0, MAX_NUMBER)), rng.randbytes(8))
    yield {"do": "cursor", "text": cursor.text()}
    damaged = mutated(cursor.text().encode(), rng).decode("latin-1")
    if _is_exact(damaged):
        yield {"do": "cursor", "text": damaged}


def _is_of_a_page(text: str) -> bool:
    """Whether a page knows the frames in a message, or nobody does."""
    try:
        found = codec.decode(text, direction=Direction.TO_CLIENT)
    except PeerError:
        return True
    return all(BY_TYPE[type(frame)] in _OF_A_PAGE for frame in found)


def _is_exact(text: str) -> bool:
    """Whether JavaScript can hold the numbers of a cursor; it refuses the others."""
    try:
        cursor = Cursor.parse(text)
    except PeerError:
        return True
    return max(cursor.epoch, cursor.seq) <= MAX_NUMBER
