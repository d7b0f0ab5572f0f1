"""The key agreement: eleven states, in which two sides take turns at owning a key and encapsulating to it.

Theory of operation. In each epoch one side makes a key pair and sends first its header, then the key itself;
the other answers the header with ct1 while the key is still coming, and the key with ct2. Whoever receives
acknowledges by what it sends next, so there is no message without a use. The side with the key knows the
epoch's secret when ct2 is complete, the other as soon as it begins to send ct1; the secret serves from the
next epoch on, when both have it. Then they swap roles.

`TRANSITIONS` says what leads where, `SHAPES` what each state holds and does; the functions at the end, one
for each state, say how it is entered. What is not in the table has no effect: a late or repeated message.

Spec:
    ML-KEM Braid rev. 1, "The ML-KEM Braid Protocol"; the states have the names that they have there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, IntEnum, auto
from types import MappingProxyType
from typing import Final, NamedTuple

from whisperkit._named_tuples import make
from whisperkit.errors import InvalidMessageError
from whisperkit.ratchet.curve import RandomBytes
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.spqr import authenticator
from whisperkit.ratchet.spqr.authenticator import Authenticator
from whisperkit.ratchet.spqr.derivation import EpochSecret, epoch_secret
from whisperkit.ratchet.spqr.encapsulation import (
    CT2_BYTES,
    HEADER_BYTES,
    M_BYTES,
    encapsulate_first,
    encapsulate_second,
    fits_header,
)
from whisperkit.ratchet.spqr.erasure import NOTHING, Collected, add, restore
from whisperkit.ratchet.spqr.kem import Kem
from whisperkit.ratchet.spqr.wire import Message, MessageType

__all__ = ["SHAPES", "TRANSITIONS", "Agreement", "Event", "Shape", "State", "Step", "receive", "send", "start"]


class State(IntEnum):
    """Where the agreement is. The first five are of the side with the key, the others of its peer."""

    KEYS_UNSAMPLED = 0
    KEYS_SAMPLED = 1
    HEADER_SENT = 2
    CT1_RECEIVED = 3
    EK_SENT_CT1_RECEIVED = 4
    NO_HEADER_RECEIVED = 5
    HEADER_RECEIVED = 6
    CT1_SAMPLED = 7
    EK_RECEIVED_CT1_SAMPLED = 8
    CT1_ACKNOWLEDGED = 9
    CT2_SAMPLED = 10


class Event(Enum):
    """What moves the machine. The chunk that completes an object is an event of its own."""

    SENT = auto()
    HEADER = auto()
    HEADER_COMPLETE = auto()
    EK = auto()
    EK_COMPLETE = auto()
    EK_CT1_ACK = auto()
    EK_CT1_ACK_COMPLETE = auto()
    CT1_ACK = auto()
    CT1 = auto()
    CT1_COMPLETE = auto()
    CT2 = auto()
    CT2_COMPLETE = auto()
    NEXT_EPOCH = auto()


# The whole machine. Messages come in the present epoch, but for NEXT_EPOCH: any message of the one after it.
TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(
    {
        (State.KEYS_UNSAMPLED, Event.SENT): State.KEYS_SAMPLED,
        (State.KEYS_SAMPLED, Event.CT1): State.HEADER_SENT,
        (State.HEADER_SENT, Event.CT1): State.HEADER_SENT,
        (State.HEADER_SENT, Event.CT1_COMPLETE): State.CT1_RECEIVED,
        (State.CT1_RECEIVED, Event.CT2): State.EK_SENT_CT1_RECEIVED,
        (State.EK_SENT_CT1_RECEIVED, Event.CT2): State.EK_SENT_CT1_RECEIVED,
        (State.EK_SENT_CT1_RECEIVED, Event.CT2_COMPLETE): State.NO_HEADER_RECEIVED,
        (State.NO_HEADER_RECEIVED, Event.HEADER): State.NO_HEADER_RECEIVED,
        (State.NO_HEADER_RECEIVED, Event.HEADER_COMPLETE): State.HEADER_RECEIVED,
        (State.HEADER_RECEIVED, Event.SENT): State.CT1_SAMPLED,
        (State.CT1_SAMPLED, Event.EK): State.CT1_SAMPLED,
        (State.CT1_SAMPLED, Event.EK_COMPLETE): State.EK_RECEIVED_CT1_SAMPLED,
        (State.CT1_SAMPLED, Event.EK_CT1_ACK): State.CT1_ACKNOWLEDGED,
        (State.CT1_SAMPLED, Event.EK_CT1_ACK_COMPLETE): State.CT2_SAMPLED,
        (State.EK_RECEIVED_CT1_SAMPLED, Event.CT1_ACK): State.CT2_SAMPLED,
        (State.EK_RECEIVED_CT1_SAMPLED, Event.EK_CT1_ACK): State.CT2_SAMPLED,
        (State.CT1_ACKNOWLEDGED, Event.EK): State.CT1_ACKNOWLEDGED,
        (State.CT1_ACKNOWLEDGED, Event.EK_COMPLETE): State.CT2_SAMPLED,
        (State.CT1_ACKNOWLEDGED, Event.EK_CT1_ACK): State.CT1_ACKNOWLEDGED,
        (State.CT1_ACKNOWLEDGED, Event.EK_CT1_ACK_COMPLETE): State.CT2_SAMPLED,
        (State.CT2_SAMPLED, Event.NEXT_EPOCH): State.KEYS_UNSAMPLED,
    }
)


class Shape(NamedTuple):
    """What a state holds and does.

    Attributes:
        holds: The fields of `Agreement` that are filled, besides epoch and authenticator.
        sends: The type of its messages; `None` if sending leads elsewhere.
        carries: The field whose chunks those messages carry, or `None`.
        collects: How many chunks the object has whose chunks it takes in; 0 for none.
        has_secret: Whether the secret of the epoch is in the chain already.
    """

    holds: tuple[str, ...] = ()
    sends: MessageType | None = None
    carries: str | None = None
    collects: int = 0
    has_secret: bool = False


_EK_CHUNKS: Final = 36
_CT1_CHUNKS: Final = 30
_HEADER_CHUNKS: Final = 3
_CT2_CHUNKS: Final = 5

SHAPES: Final[Mapping[State, Shape]] = MappingProxyType(
    {
        State.KEYS_UNSAMPLED: Shape(),
        State.KEYS_SAMPLED: Shape(("seed", "ek", "signed_header"), MessageType.HEADER, "signed_header", _CT1_CHUNKS),
        State.HEADER_SENT: Shape(("seed", "ek"), MessageType.EK, "ek", _CT1_CHUNKS),
        State.CT1_RECEIVED: Shape(("seed", "ek", "ct1"), MessageType.EK_CT1_ACK, "ek", _CT2_CHUNKS),
        State.EK_SENT_CT1_RECEIVED: Shape(("seed", "ct1"), MessageType.CT1_ACK, None, _CT2_CHUNKS),
        State.NO_HEADER_RECEIVED: Shape((), MessageType.NONE, None, _HEADER_CHUNKS),
        State.HEADER_RECEIVED: Shape(("header",)),
        State.CT1_SAMPLED: Shape(("header", "half", "ct1"), MessageType.CT1, "ct1", _EK_CHUNKS, has_secret=True),
        State.EK_RECEIVED_CT1_SAMPLED: Shape(("ek", "half", "ct1"), MessageType.CT1, "ct1", has_secret=True),
        State.CT1_ACKNOWLEDGED: Shape(("header", "half", "ct1"), MessageType.NONE, None, _EK_CHUNKS, has_secret=True),
        State.CT2_SAMPLED: Shape(("signed_ct2",), MessageType.CT2, "signed_ct2", has_secret=True),
    }
)


class Agreement(NamedTuple):
    """A state and what it holds; the fields that `SHAPES` does not name for it are empty.

    Attributes:
        state: Which state.
        epoch: From 1.
        authenticator: The keys of the MACs.
        seed: The key pair, 64 bytes.
        ek: The key without the seed of its matrix, 1,152 bytes.
        header: The seed of the matrix and the hash of the key, 64 bytes.
        signed_header: The header and its MAC, 96 bytes.
        half: What the second half of the encapsulation needs, 64 bytes.
        ct1: The ciphertext without its last part, 960 bytes.
        signed_ct2: The last part, and the MAC of the whole, 160 bytes.
    """

    state: State
    epoch: int
    authenticator: Authenticator
    seed: bytes = b""
    ek: bytes = b""
    header: bytes = b""
    signed_header: bytes = b""
    half: bytes = b""
    ct1: bytes = b""
    signed_ct2: bytes = b""

    @property
    def carried(self) -> bytes | None:
        """The object whose chunks are being sent, or `None`."""
        name = _CARRIED[self.state]
        if name is None:
            return None
        carried: bytes = getattr(self, name)
        return carried

    def __repr__(self) -> str:
        return f"<Agreement {self.state.name}, epoch {self.epoch}>"


class Step(NamedTuple):
    """What a message led to.

    Attributes:
        agreement: The agreement after it: the same object if nothing changed but what is collected.
        collected: The chunks that have come of the object that is being received.
        secret: The secret of the epoch that the agreement was in, if this message brought it.
    """

    agreement: Agreement
    collected: Collected
    secret: EpochSecret | None = None

    def __repr__(self) -> str:
        return redacted(self)


def start(auth_key: bytes, *, is_initiator: bool) -> Agreement:
    """The agreement after the handshake: the initiator owns the first key."""
    state = State.KEYS_UNSAMPLED if is_initiator else State.NO_HEADER_RECEIVED
    return Agreement(state, 1, authenticator.first(auth_key))


def send(agreement: Agreement, *, random_bytes: RandomBytes, kem: Kem) -> tuple[Agreement, EpochSecret | None]:
    """Make ready to send a message of the type that `SHAPES` gives for the state that is returned."""
    after = _AFTER_SENT[agreement.state]
    if after is None:
        return agreement, None
    if after is State.KEYS_SAMPLED:
        return _keys_sampled(agreement, random_bytes, kem), None
    return _ct1_sampled(agreement, random_bytes)


def receive(agreement: Agreement, collected: Collected, message: Message, *, kem: Kem) -> Step:
    """Take in a message.

    Raises:
        InvalidMessageError: It is of a later epoch than can be, or completes a key that does not fit its header.
        AuthenticationError: It completes a header or a ciphertext whose MAC does not fit.
    """
    if message.epoch == agreement.epoch:
        effect = _EFFECTS[agreement.state][message.type]
        if effect is not None:
            return _take(agreement, collected, message, effect, kem)
    elif message.epoch > agreement.epoch:
        after = TRANSITIONS.get((agreement.state, Event.NEXT_EPOCH))
        if after is None or message.epoch != agreement.epoch + 1:
            raise InvalidMessageError(f"epoch {message.epoch} has not begun; the present one is {agreement.epoch}")
        return Step(Agreement(after, message.epoch, agreement.authenticator), NOTHING)
    return make(Step, (agreement, collected, None))


class _Effect(NamedTuple):
    """Where a message leads, and where if it completes an object."""

    to: State
    to_if_complete: State


def _take(agreement: Agreement, collected: Collected, message: Message, effect: _Effect, kem: Kem) -> Step:
    """Take in a message that is in the table."""
    after, completed = effect.to, b""
    wanted = _WANTED[agreement.state]
    if wanted:
        collected = add(collected, message.chunk_index, message.chunk)
        if len(collected.indices) == wanted:
            after, completed, collected = effect.to_if_complete, restore(collected), NOTHING
    if after is agreement.state:
        return make(Step, (agreement, collected, None))
    entered, secret = _ENTER[after](agreement, completed, kem)
    return Step(entered, collected, secret)


def _effect(state: State, type_: MessageType) -> _Effect | None:
    event = Event.__members__.get(type_.name)
    if event is None or (state, event) not in TRANSITIONS:
        return None
    to = TRANSITIONS[state, event]
    completion = Event.__members__.get(f"{type_.name}_COMPLETE", event)
    return _Effect(to, TRANSITIONS.get((state, completion), to))


# The two tables once more, by number: each message asks them, and to look up members of an enumeration in a mapping
# costs as much as to read a small message.
_EFFECTS: Final = tuple(tuple(_effect(state, type_) for type_ in MessageType) for state in State)
_AFTER_SENT: Final = tuple(TRANSITIONS.get((state, Event.SENT)) for state in State)
_CARRIED: Final = tuple(SHAPES[state].carries for state in State)
_WANTED: Final = tuple(SHAPES[state].collects for state in State)


# ---- how each state is entered --------------------------------------------------------------------------------------


def _keys_sampled(before: Agreement, random_bytes: RandomBytes, kem: Kem) -> Agreement:
    keys = kem.generate(random_bytes=random_bytes)
    mac = authenticator.header_mac(before.authenticator, before.epoch, keys.header)
    return before._replace(state=State.KEYS_SAMPLED, seed=keys.seed, ek=keys.ek, signed_header=keys.header + mac)


def _header_sent(before: Agreement, completed: bytes, kem: Kem) -> tuple[Agreement, None]:
    return before._replace(state=State.HEADER_SENT, signed_header=b""), None


def _ct1_received(before: Agreement, completed: bytes, kem: Kem) -> tuple[Agreement, None]:
    return before._replace(state=State.CT1_RECEIVED, ct1=completed), None


def _ek_sent_ct1_received(before: Agreement, completed: bytes, kem: Kem) -> tuple[Agreement, None]:
    return before._replace(state=State.EK_SENT_CT1_RECEIVED, ek=b""), None


def _no_header_received(before: Agreement, completed: bytes, kem: Kem) -> tuple[Agreement, EpochSecret]:
    ciphertext = before.ct1 + completed[:CT2_BYTES]
    secret = epoch_secret(before.epoch, kem.decapsulate(before.seed, ciphertext))
    keys = authenticator.updated(before.authenticator, before.epoch, secret)
    expected = authenticator.ciphertext_mac(keys, before.epoch, ciphertext)
    authenticator.verify("ciphertext", expected, completed[CT2_BYTES:])
    return Agreement(State.NO_HEADER_RECEIVED, before.epoch + 1, keys), secret


def _header_received(before: Agreement, completed: bytes, kem: Kem) -> tuple[Agreement, None]:
    header = completed[:HEADER_BYTES]
    expected = authenticator.header_mac(before.authenticator, before.epoch, header)
    authenticator.verify("header", expected, completed[HEADER_BYTES:])
    return before._replace(state=State.HEADER_RECEIVED, header=header), None


def _ct1_sampled(before: Agreement, random_bytes: RandomBytes) -> tuple[Agreement, EpochSecret]:
    first = encapsulate_first(before.header, random_bytes(M_BYTES))
    secret = epoch_secret(before.epoch, first.secret)
    keys = authenticator.updated(before.authenticator, before.epoch, secret)
    return before._replace(state=State.CT1_SAMPLED, authenticator=keys, half=first.half, ct1=first.ct1), secret


def _ek_received_ct1_sampled(before: Agreement, completed: bytes, kem: Kem) -> tuple[Agreement, None]:
    _check_fit(before, completed)
    return before._replace(state=State.EK_RECEIVED_CT1_SAMPLED, header=b"", ek=completed), None


def _ct1_acknowledged(before: Agreement, completed: bytes, kem: Kem) -> tuple[Agreement, None]:
    return before._replace(state=State.CT1_ACKNOWLEDGED), None


def _ct2_sampled(before: Agreement, completed: bytes, kem: Kem) -> tuple[Agreement, None]:
    if not before.ek:
        _check_fit(before, completed)
    ct2 = encapsulate_second(before.half, before.ek or completed)
    mac = authenticator.ciphertext_mac(before.authenticator, before.epoch, before.ct1 + ct2)
    return Agreement(State.CT2_SAMPLED, before.epoch, before.authenticator, signed_ct2=ct2 + mac), None


def _check_fit(before: Agreement, ek: bytes) -> None:
    if not fits_header(before.header, ek):
        raise InvalidMessageError("a post-quantum key does not fit the header that came before it")


# States that a received message leads to. The other two are entered by sending, and KEYS_UNSAMPLED, which holds
# nothing, by `receive` itself.
_ENTER: Final[Mapping[State, Callable[[Agreement, bytes, Kem], tuple[Agreement, EpochSecret | None]]]] = {
    State.HEADER_SENT: _header_sent,
    State.CT1_RECEIVED: _ct1_received,
    State.EK_SENT_CT1_RECEIVED: _ek_sent_ct1_received,
    State.NO_HEADER_RECEIVED: _no_header_received,
    State.HEADER_RECEIVED: _header_received,
    State.EK_RECEIVED_CT1_SAMPLED: _ek_received_ct1_sampled,
    State.CT1_ACKNOWLEDGED: _ct1_acknowledged,
    State.CT2_SAMPLED: _ct2_sampled,
}
