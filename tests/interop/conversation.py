"""Two sides and a bad wire between them, which loses, reorders, repeats and damages what they write.

Each delivery is held to what the protocol promises: a message opens exactly once, and to what was written, as long as
the receiver still keeps the chain that it belongs to. It keeps the last five; a message of an older one must be
refused, and so must a repeated or a damaged one. The model for that is a list of five ratchet keys for each receiver.
"""

from __future__ import annotations

from collections import Counter, deque
from random import Random
from typing import Final, NamedTuple

from tests.interop.sides import DUPLICATE, REFUSED, Side
from whisperkit.errors import PeerError
from whisperkit.ratchet import MAX_RECEIVING_CHAINS, CiphertextMessage, MessageType
from whisperkit.ratchet.messages import PreKeySignalMessage, SignalMessage

__all__ = ["Conversation", "Letter", "damaged", "header_of", "pick_plaintext"]

_LOSS: Final = 0.1
_REORDERING: Final = 0.25
_WINDOW: Final = 12
_REPEATS: Final = 0.02
_DAMAGES: Final = 0.02
_STRAGGLERS: Final = 0.02
_KEPT_FOR_REPEATS: Final = 40
_RESTARTS: Final = 0.01


class Letter(NamedTuple):
    """A message on its way.

    Attributes:
        plaintext: What it says.
        message: The bytes of the wire.
        chain: The ratchet key in its header.
    """

    plaintext: bytes
    message: CiphertextMessage
    chain: bytes


class _Direction:
    """What is on its way to one side, and which chains that side keeps."""

    def __init__(self, sender: Side, receiver: Side) -> None:
        self.sender, self.receiver = sender, receiver
        self.on_the_way: list[Letter] = []
        self.stragglers: list[Letter] = []
        self.delivered: deque[Letter] = deque(maxlen=_KEPT_FOR_REPEATS)
        self.chains: deque[bytes] = deque(maxlen=MAX_RECEIVING_CHAINS)
        self.chains_seen: set[bytes] = set()


class Conversation:
    """Two sides that have begun a session, and the wire between them.

    Args:
        one: A side.
        other: The other side.
        rng: Makes all choices.

    Attributes:
        counts: What happened how often: sent, lost, opened, repeated, damaged, too late, restarted.
        epochs: For each side, the highest epoch of the post-quantum ratchet that one of its messages named.
    """

    def __init__(self, one: Side, other: Side, *, rng: Random) -> None:
        self._rng = rng
        self._directions = (_Direction(one, other), _Direction(other, one))
        self.counts: Counter[str] = Counter()
        self.epochs = {one.id: 0, other.id: 0}

    def first_contact(self) -> None:
        """Let the first side write until something arrives, in any order."""
        there = self._directions[0]
        for _ in range(5):
            self._write(there)
        there.on_the_way.pop(self._rng.randrange(5))
        self.counts["lost"] += 1
        self._deliver(there)

    def run(self, messages: int) -> None:
        """Write so many messages, alternately most of the time, sometimes in bursts, and let them arrive or not."""
        while self.counts["sent"] < messages:
            there, back = self._rng.sample(self._directions, 2)
            self._talk(there, self._rng.choices((1, self._rng.randint(2, 12), 60), (85, 14, 1))[0])
            self._talk(back, self._rng.choices((0, 1, self._rng.randint(2, 6)), (5, 85, 10))[0])
            if self._rng.random() < _RESTARTS:
                there.sender.restart()
                self.counts["restarted"] += 1

    def settle(self) -> None:
        """Let everything arrive, and exchange a few messages in order."""
        for direction in self._directions * 2:
            self._write(direction)
            while direction.on_the_way:
                self._deliver(direction)
            while direction.stragglers:
                self._deliver_letter(direction, direction.stragglers.pop())

    def _talk(self, direction: _Direction, messages: int) -> None:
        for _ in range(messages):
            self._write(direction)
            if self._rng.random() < _LOSS:
                direction.on_the_way.pop()
                self.counts["lost"] += 1
            elif self._rng.random() < _STRAGGLERS:
                direction.stragglers.append(direction.on_the_way.pop())
        held = self._rng.randint(1, _WINDOW) if self._rng.random() < _REORDERING else 0
        while len(direction.on_the_way) > held:
            self._deliver(direction)

    def _write(self, direction: _Direction) -> None:
        plaintext = pick_plaintext(self._rng)
        message = direction.sender.encrypt(plaintext, remote=direction.receiver.id)
        header = header_of(message)
        direction.on_the_way.append(Letter(plaintext, message, header.ratchet_key))
        self.counts["sent"] += 1
        self.epochs[direction.sender.id] = max(self.epochs[direction.sender.id], epoch_of(header))

    def _deliver(self, direction: _Direction) -> None:
        """Deliver one of the oldest messages on their way; now and then damage it first, or repeat another one."""
        if self._rng.random() < _REPEATS and direction.delivered:
            self._repeat(direction, self._rng.choice(direction.delivered))
        if self._rng.random() < _STRAGGLERS and direction.stragglers:
            self._deliver_letter(direction, direction.stragglers.pop(self._rng.randrange(len(direction.stragglers))))
        is_in_turn = self._rng.random() < 0.5
        index = 0 if is_in_turn else self._rng.randrange(min(_WINDOW, len(direction.on_the_way)))
        self._deliver_letter(direction, direction.on_the_way.pop(index))

    def _deliver_letter(self, direction: _Direction, letter: Letter) -> None:
        if self._rng.random() < _DAMAGES and letter.message.type == MessageType.WHISPER:
            self._refuse(direction, damaged(letter.message, self._rng))
            self.counts["damaged"] += 1
        if letter.chain in direction.chains_seen and letter.chain not in direction.chains:
            self._refuse(direction, letter.message)
            self.counts["too late"] += 1
            return
        assert direction.receiver.decrypt(letter.message, sender=direction.sender.id) == letter.plaintext
        self.counts["opened"] += 1
        direction.delivered.append(letter)
        if letter.chain not in direction.chains_seen:
            direction.chains_seen.add(letter.chain)
            direction.chains.append(letter.chain)

    def _repeat(self, direction: _Direction, letter: Letter) -> None:
        """A repeated message is refused; while its chain is kept, for the reason that it is repeated."""
        expected = DUPLICATE if letter.chain in direction.chains else REFUSED
        self._refuse(direction, letter.message, expected=expected)
        self.counts["repeated"] += 1

    def _refuse(
        self, direction: _Direction, message: CiphertextMessage, *, expected: tuple[type[Exception], ...] = REFUSED
    ) -> None:
        try:
            direction.receiver.decrypt(message, sender=direction.sender.id)
        except expected:
            return
        raise AssertionError(f"{direction.receiver.id} opened what it had to refuse")


def pick_plaintext(rng: Random) -> bytes:
    """Something to say: nothing, a line, or some pages."""
    return rng.randbytes(rng.choices((0, rng.randint(1, 80), rng.randint(81, 3_000)), (2, 88, 10))[0])


def damaged(message: CiphertextMessage, rng: Random) -> CiphertextMessage:
    """The message with one bit turned."""
    body = bytearray(message.body)
    body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return CiphertextMessage(message.type, bytes(body))


def header_of(message: CiphertextMessage) -> SignalMessage:
    """What a message says about its keys, be it a first one or not."""
    if message.type == MessageType.PREKEY:
        return SignalMessage.decode(PreKeySignalMessage.decode(message.body).message)
    return SignalMessage.decode(message.body)


def epoch_of(header: SignalMessage) -> int:
    """The epoch of the post-quantum ratchet that a message names, read by the rule for its bytes."""
    epoch = shift = 0
    for byte in header.pq_ratchet[1:]:
        epoch |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return epoch
    raise PeerError("a message of the post-quantum ratchet is cut short")
