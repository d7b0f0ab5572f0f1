"""What a peer can send: each input is taken, or refused as the fault of a peer, and a refusal changes nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

from tests.fuzz.target import Target
from whisperkit.client.content import (
    AskAgain,
    Attachment,
    Bound,
    Content,
    KeyGift,
    Resend,
    ResendRequest,
    Text,
    decode_content,
    encode_content,
)
from whisperkit.errors import NoSenderKeyError, NoSessionError, PeerError, UntrustedIdentityError
from whisperkit.ids import BlobId, ConversationId, DeviceId, MessageId, UserId
from whisperkit.ratchet import (
    AttachmentDecryptor,
    AttachmentEncryptor,
    AttachmentPointer,
    CiphertextMessage,
    MessageType,
    PreKeyBundle,
    PublicPreKey,
    SenderKeyDistributionMessage,
    spqr,
)
from whisperkit.ratchet.messages import PreKeySignalMessage, SenderKeyMessage, SignalMessage
from whisperkit.ratchet.spqr import wire as spqr_wire
from whisperkit.sync import codec, frames
from whisperkit.sync import fields as of
from whisperkit.sync.connection import TRANSITIONS, ClientConnection, ServerConnection
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import BY_TYPE, FRAMES, Challenge, Direction, Frame, Hello, Register
from whisperkit.testing.ratchet import Party, seeded_bytes
from whisperkit.testing.samples import sample, sample_frame

__all__ = ["WIRE_TARGETS"]

_PEER: Final = (PeerError,)

# ---- frames and connections -----------------------------------------------------------------------------------------


def _written(batch: list[Frame], rng: random.Random) -> bytes:
    """In either form: connections take both."""
    return codec.encode_many(batch)[0] if rng.random() < 0.5 else codec.encode_json(batch)[0].encode()


def _sample_frames(rng: random.Random) -> bytes:
    return _written([sample_frame(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))], rng)


def _sample_text(rng: random.Random) -> bytes:
    return codec.encode_json([sample_frame(rng)])[0].encode()


def _take_frames(data: bytes) -> None:
    _rewrite(codec.decode(data, direction=Direction.BOTH))


def _take_text(data: bytes) -> None:
    _rewrite(codec.decode(data.decode(errors="surrogateescape"), direction=Direction.BOTH))


def _rewrite(found: list[Frame]) -> None:
    (packed,) = codec.encode_many(found)
    assert codec.decode(packed, direction=Direction.BOTH) == found
    (text,) = codec.encode_json(found)
    assert codec.decode(text, direction=Direction.BOTH) == found


def _new_server() -> ServerConnection:
    server = ServerConnection()
    server.encode([Challenge(1, bytes(32))])
    return server


def _established_server() -> ServerConnection:
    server = _new_server()
    server.receive(codec.encode(sample_frame(random.Random(0), BY_TYPE[Hello])))
    return server


def _challenged_client() -> ClientConnection:
    client = ClientConnection()
    client.receive(codec.encode(Challenge(1, bytes(32))))
    return client


def _registering_client() -> ClientConnection:
    client = _challenged_client()
    client.encode([sample_frame(random.Random(0), BY_TYPE[Register])])
    return client


def _established_client() -> ClientConnection:
    client = _challenged_client()
    client.encode([sample_frame(random.Random(0), BY_TYPE[Hello])])
    return client


def _connection(name: str, make: Callable[[], ServerConnection | ClientConnection], direction: Direction) -> Target:
    """A connection in a state; what is in turn there is told by its table."""
    state = make().state
    specs = [spec for spec in FRAMES if spec.direction & direction and (state, spec.type) in TRANSITIONS]

    def take(data: bytes) -> None:
        connection = make()
        try:
            connection.receive(data)
        except PeerError:
            assert connection.state == state
            raise

    def sample(rng: random.Random) -> bytes:
        return _written([sample_frame(rng, rng.choice(specs))], rng)

    return Target(name, take, sample, _PEER)


def _take_change(data: bytes) -> None:
    change = codec.decode_change(data)
    assert codec.decode_change(codec.encode_change(change)) == change


def _take_item(data: bytes) -> None:
    item = codec.decode_item(data)
    assert codec.decode_item(codec.encode_item(item)) == item


def _take_cursor(data: bytes) -> None:
    cursor = Cursor.parse(data.decode("latin-1"))
    assert Cursor.parse(cursor.text()) == cursor


def _sample_cursor(rng: random.Random) -> bytes:
    cursor: Cursor = sample(of.CURSOR, rng)
    return cursor.text().encode()


def _take_device_id(data: bytes) -> None:
    device = DeviceId.parse(data.decode("latin-1"))
    assert DeviceId.parse(str(device)) == device


def _take_message_id(data: bytes) -> None:
    message_id = MessageId.parse(data.decode("latin-1"))
    assert MessageId.parse(str(message_id)) == message_id


_FRAME_TARGETS: Final = (
    Target("frames", _take_frames, _sample_frames, _PEER),
    Target("text", _take_text, _sample_text, _PEER),
    _connection("server-before-hello", _new_server, Direction.TO_SERVER),
    _connection("server", _established_server, Direction.TO_SERVER),
    _connection("client-before-challenge", ClientConnection, Direction.TO_CLIENT),
    _connection("client-registering", _registering_client, Direction.TO_CLIENT),
    _connection("client", _established_client, Direction.TO_CLIENT),
    Target("roster-change", _take_change, lambda rng: codec.encode_change(sample(frames.CHANGE, rng)), _PEER),
    Target("snapshot-item", _take_item, lambda rng: codec.encode_item(sample(frames.ITEM, rng)), _PEER),
    Target("cursor", _take_cursor, _sample_cursor, _PEER),
    Target("device-id", _take_device_id, lambda rng: str(sample(of.DEVICE, rng)).encode(), _PEER),
    Target("message-id", _take_message_id, lambda rng: str(MessageId(rng.randbytes(16))).encode(), _PEER),
)


# ---- what is inside of frames: read by a device, made by another ----------------------------------------------------

_ALICE, _BOB, _CAROL = (DeviceId(UserId.named(name), 1) for name in ("alice", "bob", "carol"))
_GROUP: Final = ConversationId("group")
_MESSAGE_ID: Final = MessageId(bytes(16))
_WALL_MS: Final = 0
# Where the prekeys lie in the input of `_take_bundle`, behind registration id and identity key.
_PLACES: Final = ((35, 136), (136, 1773), (1773, 1810))
# What has to be done before such a message can be opened is nobody's fault.
_TO_OPEN: Final = (PeerError, NoSessionError, NoSenderKeyError, UntrustedIdentityError)


class _Talk(NamedTuple):
    """Bob as he is before he opens any of these."""

    bob: Party
    messages: tuple[CiphertextMessage, ...]
    distribution: bytes
    bundle: PreKeyBundle


@cache
def _talk() -> _Talk:
    alice, bob, carol = (
        Party(device, random_bytes=seeded_bytes(seed)) for seed, device in enumerate((_ALICE, _BOB, _CAROL))
    )
    alice.meet(bob)
    bob.decrypt(alice.encrypt(b"hello", to=bob), sender=alice)
    alice.decrypt(bob.encrypt(b"hello yourself", to=alice), sender=bob)
    carol.meet(bob)
    distributed = alice.device.create_distribution(alice.records, _GROUP)
    alice.save(distributed.save)
    bob.save(bob.device.process_distribution(bob.records, distributed.message, sender=_ALICE).save)
    messages = (
        alice.encrypt(b"how are you?", to=bob),
        carol.encrypt(b"hello from carol", to=bob),
        alice.device.group_encrypt(alice.records, b"hello all", group=_GROUP).message,
    )
    return _Talk(bob, messages, distributed.message.encode(), PreKeyBundle.of(alice.publish()))


def _opened(number: int) -> Target:
    """A message that Bob can open, in a session or of a group."""
    kind = MessageType(_talk().messages[number].type)
    sender = _CAROL if kind is MessageType.PREKEY else _ALICE

    def take(data: bytes) -> None:
        bob = _talk().bob
        message = CiphertextMessage(kind, data)
        before = dict(bob.records)
        if kind is MessageType.SENDER_KEY:
            bob.device.records_for_sender_key(message, sender=sender)
            bob.device.group_decrypt(bob.records, message, sender=sender)
        else:
            bob.device.records_for(sender, message)
            bob.device.decrypt(bob.records, message, sender=sender, wall_ms=_WALL_MS)
        assert bob.records == before

    return Target(f"open-{kind.name.lower()}", take, lambda _: _talk().messages[number].body, _TO_OPEN)


def _take_bundle(data: bytes) -> None:
    """A bundle as a frame brings it: of the right lengths, and with anything in it."""
    signed, kyber, one_time = (PublicPreKey.decode(data[start:end]) for start, end in _PLACES)
    bundle = PreKeyBundle(int.from_bytes(data[:2], "big"), data[2:35], signed, kyber, one_time)
    bob = _talk().bob
    bob.device.process_bundle(bob.records, bundle, remote=_ALICE, wall_ms=_WALL_MS)


def _sample_bundle(_: random.Random) -> bytes:
    registration_id, identity_key, signed, kyber, one_time, _device = _talk().bundle
    prekeys = b"".join(prekey.encode() for prekey in (signed, kyber, one_time) if prekey is not None)
    return registration_id.to_bytes(2, "big") + identity_key + prekeys


def _take_distribution(data: bytes) -> None:
    message = SenderKeyDistributionMessage.decode(data)
    assert SenderKeyDistributionMessage.decode(message.encode()) == message
    bob = _talk().bob
    bob.device.process_distribution(bob.records, message, sender=_ALICE)


def _take_first_message(data: bytes) -> None:
    message = PreKeySignalMessage.decode(data)
    assert PreKeySignalMessage.decode(message.encode()) == message


def _take_pointer(data: bytes) -> None:
    pointer = AttachmentPointer.decode(data)
    assert AttachmentPointer.decode(pointer.encode()) == pointer


@cache
def _file() -> tuple[AttachmentPointer, bytes]:
    encryptor = AttachmentEncryptor(random_bytes=seeded_bytes(3))
    sealed = encryptor.update(b"a picture of a cat") + encryptor.finalize()
    return encryptor.pointer(name="cat.png", media_type="image/png"), sealed


def _take_file(data: bytes) -> None:
    pointer, sealed = _file()
    decryptor = AttachmentDecryptor(pointer)
    decryptor.update(data)
    decryptor.finalize()
    assert data == sealed


_CONTENTS: Final[tuple[Content, ...]] = (
    Text("hello", _MESSAGE_ID),
    Text("Grüße 👋"),
    Attachment(BlobId("b" * 32), _file()[0], "a cat"),
    KeyGift(_GROUP, b"a key"),
    ResendRequest(_GROUP, _MESSAGE_ID),
    Resend(_GROUP, _MESSAGE_ID, encode_content(Text("again"))),
    AskAgain(),
    Bound(_GROUP, _MESSAGE_ID, encode_content(Text("here"))),
)


def _take_content(data: bytes) -> None:
    content = decode_content(data)
    assert decode_content(encode_content(content)) == content


@cache
def _spqr_talk() -> tuple[spqr.SpqrState, tuple[bytes, ...]]:
    """One side, and what it could be sent next."""
    local, remote = (spqr.initial_state(bytes(32), is_initiator=is_initiator) for is_initiator in (True, False))
    random_bytes = seeded_bytes(4)
    messages: list[bytes] = []
    for _ in range(90):
        sent = spqr.send(local, random_bytes=random_bytes)
        local, remote = sent.state, spqr.receive(remote, sent.message).state
        sent = spqr.send(remote, random_bytes=random_bytes)
        remote = sent.state
        local = spqr.receive(local, sent.message).state
    for _ in range(4):
        sent = spqr.send(remote, random_bytes=random_bytes)
        remote = sent.state
        messages.append(sent.message)
    return local, tuple(messages)


def _take_spqr(data: bytes) -> None:
    state, _ = _spqr_talk()
    spqr.receive(state, data, max_jump=200)


_INNER_TARGETS: Final = (
    *(_opened(number) for number in range(3)),
    Target("distribution", _take_distribution, lambda _: _talk().distribution, _PEER),
    Target("bundle", _take_bundle, _sample_bundle, _TO_OPEN),
    Target("whisper-message", SignalMessage.decode, lambda _: _talk().messages[0].body, _PEER),
    Target("prekey-message", _take_first_message, lambda _: _talk().messages[1].body, _PEER),
    Target("group-message", SenderKeyMessage.decode, lambda _: _talk().messages[2].body, _PEER),
    Target("content", _take_content, lambda rng: encode_content(rng.choice(_CONTENTS)), _PEER),
    Target("attachment-pointer", _take_pointer, lambda _: _file()[0].encode(), _PEER),
    Target("attachment", _take_file, lambda _: _file()[1], _PEER),
    Target("spqr-message", spqr_wire.decode, lambda rng: rng.choice(_spqr_talk()[1]), _PEER),
    Target("spqr", _take_spqr, lambda rng: rng.choice(_spqr_talk()[1]), _PEER),
)

WIRE_TARGETS: Final = (*_FRAME_TARGETS, *_INNER_TARGETS)
