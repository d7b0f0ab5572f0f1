import contextlib
import json
import random

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperkit.errors import MalformedFrameError, OversizedFrameError, PeerError, UsageError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId, UserId
from whisperkit.strategy import Strategy
from whisperkit.sync import codec, frames
from whisperkit.sync import fields as of
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import FRAMES, Direction, EntryKind, FrameSpec
from whisperkit.testing.samples import mutated, sample_frame

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
CONV = ConversationId("chat")
ID = MessageId(bytes(range(16)))
SEND = frames.Send(CONV, 1, 2, ID, EntryKind.MESSAGE, None, (BOB,), None, b"shared", {BOB: b"own"})
ENTRY = frames.Entry(
    InboxSeq(5), b"12345678", ID, EntryKind.MESSAGE, CONV, ConversationSeq(9), ConversationSeq(0), ALICE, 1, None, b"x"
)


def wire(*fields: object) -> bytes:
    return msgpack.packb(fields)


def decode(data: codec.Message, direction: Direction = Direction.BOTH) -> list[frames.Frame]:
    return codec.decode(data, direction=direction)


# ---- there and back


@pytest.mark.parametrize("spec", FRAMES, ids=lambda spec: spec.name)
@settings(max_examples=25)  # for each of the frames
@given(rng=st.randoms(use_true_random=False))
def test_a_frame_comes_back_as_it_was_in_both_forms(spec: FrameSpec, rng: random.Random) -> None:
    frame = sample_frame(rng, spec)

    (packed,), (text,) = decode(codec.encode(frame)), decode(codec.encode_json([frame])[0])

    assert packed == text == frame
    assert type(packed) is type(text) is type(frame)


def test_ids_come_back_as_ids() -> None:
    (send,) = decode(codec.encode(SEND))

    assert isinstance(send, frames.Send)
    assert [type(value) for value in send[:5]] == [ConversationId, int, int, MessageId, EntryKind]
    assert send.own is not None
    assert next(iter(send.own)).user == BOB.user


def test_json_is_what_a_browser_would_write() -> None:
    text = '[17,[3,4,"MTIzNDU2Nzg="]]'

    assert decode(text) == [frames.Ack(Cursor(3, InboxSeq(4), b"12345678"))]
    assert codec.encode_json(decode(text)) == [text]
    assert decode(text.encode()) == decode(text)


def test_several_frames_travel_in_one_message() -> None:
    batch: list[frames.Frame] = [frames.Beat(), SEND, frames.Beat()]

    (packed,), (text,) = codec.encode_many(batch), codec.encode_json(batch)

    assert decode(packed) == decode(text) == batch


@pytest.mark.parametrize("count", [1, 15, 16, 1_024])
def test_any_number_of_frames_up_to_the_limit_is_one_message(count: int) -> None:
    batch: list[frames.Frame] = [frames.Beat()] * count

    (packed,) = codec.encode_many(batch)

    assert decode(packed) == batch


def test_what_is_too_much_for_one_message_becomes_several_in_order() -> None:
    texts = [bytes([number]) * frames.MAX_SHARED_BYTES for number in range(9)]
    batch = [SEND._replace(shared=text) for text in texts]

    packed, json_texts = codec.encode_many(batch), codec.encode_json(batch)

    assert len(packed) == 3
    assert all(len(message) <= codec.MAX_MESSAGE_BYTES for message in packed)
    assert all(len(message) <= codec.MAX_JSON_CHARS for message in json_texts)
    assert [frame for message in packed for frame in decode(message)] == batch
    assert [frame for message in json_texts for frame in decode(message)] == batch
    assert [len(decode(message)) for message in codec.encode_many([frames.Beat()] * 1_025)] == [1_024, 1]


def test_a_frame_that_no_message_can_hold_is_the_callers_fault() -> None:
    too_large = SEND._replace(shared=bytes(codec.MAX_MESSAGE_BYTES))

    with pytest.raises(UsageError):
        codec.encode_many([too_large])


# ---- the two halves of an ENTRY


def test_the_head_of_an_entry_has_a_fixed_width_and_the_tail_is_shared() -> None:
    tail = codec.entry_tail(
        message_id=ID,
        kind=EntryKind.MESSAGE,
        conv=CONV,
        conv_seq=ConversationSeq(9),
        pull_upto=ConversationSeq(0),
        sender=ALICE,
        at_ms=1,
        own=None,
        shared=b"x",
    )
    head = codec.entry_head(InboxSeq(5), b"12345678")

    assert head == b"\x9c\x10\xcf" + bytes(7) + b"\x05\xc4\x0812345678"
    assert len(head) == len(codec.entry_head(InboxSeq(2**53 - 1), b"12345678")) == codec.ENTRY_HEAD_BYTES
    assert decode(head + tail) == [ENTRY]
    assert decode(codec.encode(ENTRY)) == [ENTRY]
    assert decode(codec.encode_json([head + tail])[0]) == [ENTRY]
    assert [frame for message in codec.encode_many([head + tail, frames.Beat()]) for frame in decode(message)] == [
        ENTRY,
        frames.Beat(),
    ]


# ---- what is refused


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x91\x90",
        b"\x91\x91\xc0",
        b"\x92\x91\x07\x07",
        b"\x91\x07\x07",
        b"\x07",
        b"\x81\xa1a\x01",
        b"\x91\xa1a",
        b"\x91\xc3",
        b"\x91\xcb" + bytes(8),
        b"\xd4\x01\x01",
        b"\x91\xd6\xff" + bytes(4),
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        "",
        "[",
        "[]",
        "[[]]",
        "[null]",
        "[true]",
        "[7.0]",
        "[NaN]",
        "{}",
        '["7"]',
        "[" * 100_000,
        b"[\xff",
        "[1e999]",
        "[" + "9" * 5_000 + "]",
    ],
)
def test_what_is_no_frame_is_malformed(data: codec.Message) -> None:
    with pytest.raises(MalformedFrameError):
        decode(data)


def test_too_large_a_message_is_not_even_parsed() -> None:
    with pytest.raises(OversizedFrameError) as packed:
        decode(bytes(codec.MAX_MESSAGE_BYTES + 1))
    with pytest.raises(OversizedFrameError):
        decode("[" * (codec.MAX_JSON_CHARS + 1))

    assert (packed.value.found, packed.value.limit) == (codec.MAX_MESSAGE_BYTES + 1, codec.MAX_MESSAGE_BYTES)


def test_too_many_frames_in_one_message_are_refused() -> None:
    with pytest.raises(MalformedFrameError, match="1025 frames"):
        decode(b"\xdc\x04\x01" + b"\x91\x07" * 1_025)


def test_a_frame_of_the_other_direction_is_refused() -> None:
    with pytest.raises(MalformedFrameError, match="no such frame"):
        decode(codec.encode(SEND), Direction.TO_CLIENT)
    with pytest.raises(MalformedFrameError, match="no such frame"):
        decode(codec.encode(ENTRY), Direction.TO_SERVER)


def test_one_bad_frame_spoils_its_message() -> None:
    with pytest.raises(MalformedFrameError):
        decode(b"\x92\x91\x07\x92\x07\x07")


REFUSED: list[tuple[tuple[object, ...], str]] = [
    ((33,), "0 fields came, 6 belong there"),
    ((7, 1), "1 fields came"),
    ((17, [1, 2]), "cursor: 2 elements, expected 3"),
    ((17, [0, 2, bytes(8)]), "cursor: not a number of 1"),
    ((17, [1, 2, bytes(7)]), "cursor: not 8 bytes"),
    ((17, 5), "cursor: not an array"),
    ((64, "chat", -1), "upto: not a number"),
    ((64, "chat", 2**53), "upto: not a number"),
    ((64, "chat", True), "upto: not a number"),
    ((64, "no such id!", 1), "conv: a conversation id is"),
    ((64, ["chat"], 1), "conv: not text"),
    ((64, 1, 1), "conv: not text"),
    ((69, "chat", "Alice"), "user: a user id is"),
    ((35, bytes(15), {}), "message_id: not a message id"),
    ((35, bytes(16), []), "own: not a map"),
    ((35, bytes(16), {"x": b""}), "own: a device id is"),
    ((20, ["chat"] * 1_025), "convs: 1025 elements, at most 1024"),
    ((20, "chat"), "convs: not an array"),
    ((21, "chat", 1, 2, 257), "limit: not a number of 1 to 256"),
    ((57, bytes(16), 99, ""), "reason: not a known FailureReason"),
    ((57, bytes(16), 1, "x" * 201), "detail: not text of at most 200"),
    ((68, UserId.named("a"), 1, None, 1), "is_certain: not true or false"),
    ((51, bytes(16), ALICE, [1]), "keys: 1 elements, expected 6"),
    ((51, bytes(16), ALICE, 1), "keys: not an array"),
]


@pytest.mark.parametrize(("fields", "reason"), REFUSED)
def test_a_field_that_is_not_of_its_kind_is_named(fields: tuple[object, ...], reason: str) -> None:
    with pytest.raises(MalformedFrameError) as caught:
        decode(wire(*fields))

    assert reason in str(caught.value)
    assert caught.value.frame in str(caught.value)


def test_too_many_pairs_are_refused() -> None:
    own = {f"{UserId.named(str(number))}.1": b"" for number in range(frames.MAX_OWN_COPIES + 1)}

    with pytest.raises(MalformedFrameError, match="257 pairs, at most 256"):
        decode(wire(35, bytes(16), own))


@pytest.mark.parametrize("text", ["!!!!", "AAA", "AA==AA==", "AAAA=", "AAAA====", 5, None])
def test_json_bytes_are_strict_base64(text: object) -> None:
    with pytest.raises(MalformedFrameError, match="base64"):
        decode(json.dumps([36, text]))


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(MalformedFrameError, match="detail"):
        decode('[57,"AAAAAAAAAAAAAAAAAAAAAA==",1,"\\ud800"]')


def test_fresh_ids_do_not_fill_the_memory() -> None:
    kind = of.Id("conversation", ConversationId)
    read = kind.reader(is_json=False)
    limit = 16_384

    for number in range(limit + 10):
        read(f"c{number}")

    assert len(kind.known) == 10


# ---- roster changes and states


def test_a_roster_change_comes_back() -> None:
    change = frames.RosterChange((ALICE.user,), (BOB.user,))

    assert codec.decode_change(codec.encode_change(change)) == change


def test_the_state_of_a_conversation_comes_back() -> None:
    seq = ConversationSeq(4)
    item = frames.SnapshotItem(CONV, seq, seq, Strategy.MID, (ALICE.user,), ConversationSeq(0))

    assert codec.decode_item(codec.encode_item(item)) == item


@pytest.mark.parametrize("data", [b"", b"\x90", b"\xc1", b"\x92\x90\x91\xa1x"])
def test_what_is_no_roster_change_or_state_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedFrameError):
        codec.decode_change(data)
    with pytest.raises(MalformedFrameError):
        codec.decode_item(data)


# ---- anything at all


@pytest.mark.fuzz
@given(data=st.binary(max_size=200) | st.text(max_size=200))
def test_random_input_raises_peer_errors_only(data: codec.Message) -> None:
    with contextlib.suppress(PeerError):
        decode(data)


@pytest.mark.fuzz
@given(rng=st.randoms(use_true_random=False), is_json=st.booleans())
def test_damaged_frames_are_refused_or_survive_being_written_again(rng: random.Random, is_json: bool) -> None:
    frame = sample_frame(rng)
    data = codec.to_json(frame).encode() if is_json else codec.encode(frame)
    damaged = mutated(data, rng)

    try:
        found = decode(damaged)
    except PeerError:
        return

    assert [frame for message in codec.encode_many(found) for frame in decode(message)] == found
