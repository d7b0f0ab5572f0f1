"""One connection, seen from either end, without a socket: which frame has its place when, and in which form.

    S CHALLENGE ──► C HELLO ──► frames both ways ──► S BYE
                └─► C REGISTER ──► S REGISTERED ──► C HELLO

`TRANSITIONS` is the whole machine, the same for both ends: a frame that is not in it for the present state is
out of turn. Each end walks it with what it sends and with what it receives. The server answers in the form,
msgpack or JSON, of the last message that came; the challenge goes out before any, in msgpack unless the application
knows better (a text WebSocket).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

from whisperkit.errors import OutOfTurnError, UsageError
from whisperkit.ids import DeviceId
from whisperkit.sync import frames
from whisperkit.sync.codec import EncodedFrame, Message, decode, encode_json, encode_many, is_json
from whisperkit.sync.frames import BY_TYPE, FRAMES, Direction, Frame

__all__ = [
    "TRANSITIONS",
    "ClientConnection",
    "ConnectionState",
    "ServerConnection",
    "challenge_message",
    "register_message",
]


class ConnectionState(Enum):
    """Where a connection is."""

    AWAITING_CHALLENGE = "awaiting challenge"
    AWAITING_HELLO = "awaiting hello"
    REGISTERING = "registering"
    ESTABLISHED = "established"
    CLOSED = "closed"

    # It is looked up with every frame, and an enumeration's own hash is slow.
    __hash__ = object.__hash__


_OPENING: Final = (frames.Challenge, frames.Register, frames.Registered, frames.Hello, frames.Bye)

# The whole machine. A pair that is not here is out of turn: the peer's fault if it came, a caller's if it was to go.
# REFUSED and FAILED have no place before HELLO: a server that does not take a REGISTER says BYE.
TRANSITIONS: Final[Mapping[tuple[ConnectionState, type[tuple[Any, ...]]], ConnectionState]] = {
    (ConnectionState.AWAITING_CHALLENGE, frames.Challenge): ConnectionState.AWAITING_HELLO,
    (ConnectionState.AWAITING_CHALLENGE, frames.Bye): ConnectionState.CLOSED,
    (ConnectionState.AWAITING_HELLO, frames.Register): ConnectionState.REGISTERING,
    (ConnectionState.AWAITING_HELLO, frames.Hello): ConnectionState.ESTABLISHED,
    (ConnectionState.AWAITING_HELLO, frames.Bye): ConnectionState.CLOSED,
    (ConnectionState.REGISTERING, frames.Registered): ConnectionState.AWAITING_HELLO,
    (ConnectionState.REGISTERING, frames.Bye): ConnectionState.CLOSED,
    (ConnectionState.ESTABLISHED, frames.Bye): ConnectionState.CLOSED,
    **{
        (ConnectionState.ESTABLISHED, spec.type): ConnectionState.ESTABLISHED
        for spec in FRAMES
        if spec.type not in _OPENING
    },
}


def _frames_of(direction: Direction) -> frozenset[type]:
    return frozenset(spec.type for spec in FRAMES if spec.direction & direction)


# Frames that leave an established connection as it is: nearly all that ever travels. What is encoded is an ENTRY.
_STEADY: Final = frozenset(
    kind for (state, kind), after in TRANSITIONS.items() if state is after is ConnectionState.ESTABLISHED
)


def _are_all(some: Sequence[Frame | EncodedFrame], kinds: frozenset[type]) -> bool:
    for frame in some:  # noqa: SIM110  # a generator costs more than the look
        if type(frame) not in kinds:
            return False
    return True


class _End(NamedTuple):
    """What one end of a connection may read and write.

    Attributes:
        incoming: Which way the frames travel that it reads.
        outgoing: The frames that it may write.
        steady: Those of them that leave an established connection as it is.
    """

    incoming: Direction
    outgoing: frozenset[type]
    steady: frozenset[type]


_TO_CLIENT: Final = _frames_of(Direction.TO_CLIENT)
_TO_SERVER: Final = _frames_of(Direction.TO_SERVER)
_SERVER: Final = _End(Direction.TO_SERVER, _TO_CLIENT, (_STEADY & _TO_CLIENT) | {bytes})
_CLIENT: Final = _End(Direction.TO_CLIENT, _TO_SERVER, _STEADY & _TO_SERVER)


class _Connection:
    """What both ends share: the state, walked by frames; and the form of the messages."""

    def __init__(self, end: _End, *, speaks_json: bool) -> None:
        self._incoming, self._outgoing, self._steady = end
        self._state = ConnectionState.AWAITING_CHALLENGE
        self._speaks_json = speaks_json

    @property
    def state(self) -> ConnectionState:
        """Where the connection is."""
        return self._state

    @property
    def speaks_json(self) -> bool:
        """Whether `encode` writes JSON."""
        return self._speaks_json

    def receive(self, data: Message) -> list[Frame]:
        """Read a message of the peer; all its frames are taken, or none.

        Raises:
            MalformedFrameError: It is not of its form.
            OversizedFrameError: It is too large.
            OutOfTurnError: A frame has no place now; also everything after the end.
        """
        found = decode(data, direction=self._incoming)
        state = self._state
        if state is ConnectionState.ESTABLISHED and _are_all(found, _STEADY):
            return found
        for frame in found:
            after = TRANSITIONS.get((state, type(frame)))
            if after is None:
                raise OutOfTurnError(frame=BY_TYPE[type(frame)].name, state=state.value)
            state = after
        self._state = state
        return found

    def encode(self, outgoing: Iterable[Frame | EncodedFrame]) -> Sequence[Message]:
        """Write frames, in order, into messages for the transport: mostly one, more where the size asks for it.

        Args:
            outgoing: Frames; or frames of an established connection in msgpack already, such as a stored ENTRY.

        Raises:
            UsageError: A frame has no place now, or is larger than a message may be.
        """
        batch = list(outgoing)
        after = self._walk(batch)
        messages = encode_json(batch) if self._speaks_json else encode_many(batch)
        self._state = after
        return messages

    def close(self) -> None:
        """Note that the transport is gone."""
        self._state = ConnectionState.CLOSED

    def _walk(self, batch: Sequence[Frame | EncodedFrame]) -> ConnectionState:
        state = self._state
        if state is ConnectionState.ESTABLISHED and _are_all(batch, self._steady):
            return state
        for frame in batch:
            kind = frames.Entry if isinstance(frame, bytes) else type(frame)
            after = TRANSITIONS.get((state, kind))
            if after is None or kind not in self._outgoing:
                raise UsageError(f"{BY_TYPE[kind].name} cannot be sent in state {state.value}")
            state = after
        return state


class ServerConnection(_Connection):
    """The gateway's end. It begins by sending CHALLENGE.

    Args:
        speaks_json: The form of what is sent before the first message came.
    """

    def __init__(self, *, speaks_json: bool = False) -> None:
        super().__init__(_SERVER, speaks_json=speaks_json)

    def receive(self, data: Message) -> list[Frame]:
        """Read a message of the device, and answer in its form from here on; see the base for errors."""
        found = super().receive(data)
        self._speaks_json = is_json(data)
        return found


class ClientConnection(_Connection):
    """The device's end. It begins by waiting for CHALLENGE.

    Args:
        speaks_json: Whether to speak JSON; the server follows.
    """

    def __init__(self, *, speaks_json: bool = False) -> None:
        super().__init__(_CLIENT, speaks_json=speaks_json)


def challenge_message(nonce: bytes, device: DeviceId, connection_no: int) -> bytes:
    """What a device signs to prove itself in HELLO.

    The nonce is the server's, so a proof cannot be replayed; the first words are of this use only, so a signature
    made for anything else cannot be taken for one.
    """
    return b"whisperkit hello 1\x00" + nonce + connection_no.to_bytes(8, "big") + device.encode()


def register_message(nonce: bytes, device: DeviceId, *, identity_key: bytes, registration_id: int, name: str) -> bytes:
    """What the first device of a new user signs in REGISTER, with the key that it registers."""
    fixed = nonce + identity_key + registration_id.to_bytes(4, "big") + len(device).to_bytes(2, "big")
    return b"whisperkit register 1\x00" + fixed + device.encode() + name.encode()
