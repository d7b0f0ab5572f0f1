"""Frames as bytes: msgpack between programs, JSON for browsers; made from the table in `frames`.

A message of the transport holds one frame, ``[code, ...]``, or several, ``[[code, ...], ...]``. Everything is
checked while it is read: what `decode` returns has the right types, lengths and ranges, and what it raises is
`MalformedFrameError` or `OversizedFrameError`.

What a peer can make us hold is bounded by the size of a message: the depth by the table, since anything
deeper is refused where it begins, and the counts before an element is looked at.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias, TypeVar, cast

import msgpack

from whisperkit.errors import MalformedFrameError, OversizedFrameError, UsageError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId
from whisperkit.sync.fields import REFUSALS, Reader, maker_of, readers_of
from whisperkit.sync.frame_readers import FrameReader, frame_reader
from whisperkit.sync.frames import (
    BY_TYPE,
    CHANGE,
    FRAMES,
    ITEM,
    Direction,
    EntryKind,
    Frame,
    FrameSpec,
    RosterChange,
    SnapshotItem,
)

__all__ = [
    "ENTRY_HEAD_BYTES",
    "MAX_FRAMES",
    "MAX_JSON_CHARS",
    "MAX_MESSAGE_BYTES",
    "EncodedFrame",
    "Message",
    "decode",
    "decode_change",
    "decode_item",
    "encode",
    "encode_change",
    "encode_item",
    "encode_json",
    "encode_many",
    "entry_head",
    "entry_tail",
    "is_json",
    "to_json",
]

MAX_MESSAGE_BYTES: Final = 1 << 20
# Base64 makes bytes a third longer, and the rest of a frame is short.
MAX_JSON_CHARS: Final = 3 << 19
# A peer who fills a message with the smallest frames gets half a million objects out of us without this.
MAX_FRAMES: Final = 1_024
# The widest array of the table has 6,000 members; msgpack refuses longer ones before it makes room for them.
_MAX_ELEMENTS: Final = 8_192

EncodedFrame: TypeAlias = bytes
"""One frame in msgpack, as `encode` and `entry_head` + `entry_tail` make it."""

P = TypeVar("P", bytes, str)

Message: TypeAlias = bytes | str
"""What the transport carries at once: msgpack as bytes, JSON as text."""


# A text would have been taken for JSON before. Any: so its errors are all that it can say of what came.
_unpackb: Final[Any] = msgpack.unpackb


# ---- reading --------------------------------------------------------------------------------------------------------


def is_json(data: Message) -> bool:
    """Whether a message is in the JSON form. ``[`` begins no message in msgpack: there it is the number 91."""
    return isinstance(data, str) or data[:1] == b"["


def decode(data: Message, *, direction: Direction) -> list[Frame]:
    """Read a message, one frame or several.

    Args:
        data: msgpack as bytes; JSON as text, or as bytes that begin with ``[``.
        direction: Which way it travels: frames that the other side never sends are refused.

    Raises:
        MalformedFrameError: It is no message, or a frame in it is unknown, of the other direction or not of its form.
        OversizedFrameError: It is larger than `MAX_MESSAGE_BYTES`, or `MAX_JSON_CHARS`.
    """
    if is_json(data):
        raw, decoders = _parse_json(data), _JSON[direction]
    else:
        raw, decoders = _parse_msgpack(data), _MSGPACK[direction]
    elements: Any = raw  # whatever it is
    if type(raw) is not list or not elements:
        raise MalformedFrameError("not an array, or an empty one")
    if type(elements[0]) is not list:
        return [_decode_one(elements, decoders)]
    if len(elements) > MAX_FRAMES:
        raise MalformedFrameError(f"{len(elements)} frames in one message, at most {MAX_FRAMES} are allowed")
    return [_decode_one(element, decoders) for element in elements]


class _Decoder(NamedTuple):
    """What it takes to read one type of frame: made from a line of the table when the module loads."""

    spec: FrameSpec
    size: int
    read: FrameReader
    readers: tuple[Reader, ...]


_Decoders: TypeAlias = dict[object, _Decoder]


def _decode_one(raw: Any, decoders: _Decoders) -> Frame:  # Any: what a peer sent
    elements = raw
    if type(raw) is not list or not elements:
        raise MalformedFrameError("not an array, or an empty one")
    code = elements[0]
    decoder = decoders.get(code) if type(code) is int else None
    if decoder is None:
        raise MalformedFrameError("there is no such frame in this direction")
    spec, size, read, _ = decoder
    if len(elements) != size:
        raise MalformedFrameError(f"{len(elements) - 1} fields came, {size - 1} belong there", frame=spec.name)
    try:
        frame: Frame = read(elements)
    except REFUSALS:
        _explain(decoder, elements)
    return frame


def _explain(decoder: _Decoder, elements: list[Any]) -> NoReturn:
    """Say which field it was: looked up again here, so that good frames need no bookkeeping."""
    for field, read, value in zip(decoder.spec.fields, decoder.readers, elements[1:], strict=True):
        try:
            read(value)
        except REFUSALS as error:
            raise MalformedFrameError(f"{field.name}: {error}", frame=decoder.spec.name) from None
    raise AssertionError("a field was refused and then accepted")  # pragma: no cover


def _parse_msgpack(data: Message) -> Any:  # whatever it is
    if len(data) > MAX_MESSAGE_BYTES:
        raise OversizedFrameError(found=len(data), limit=MAX_MESSAGE_BYTES)
    try:
        return _unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_array_len=_MAX_ELEMENTS,
            max_map_len=_MAX_ELEMENTS,
            max_ext_len=0,
        )
    # The library reports damage in many classes, and extension types that we never use in some more.
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        raise MalformedFrameError("not msgpack, or too deep") from None


def _parse_json(data: Message) -> Any:  # whatever it is
    if len(data) > MAX_JSON_CHARS:
        raise OversizedFrameError(found=len(data), limit=MAX_JSON_CHARS)
    try:
        text = data if isinstance(data, str) else data.decode()
        return json.loads(text, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise MalformedFrameError("not JSON, or too deep") from None


def _refuse(text: str) -> NoReturn:
    raise ValueError("no frame has fractions in it")


def _msgpack_decoder(spec: FrameSpec) -> _Decoder:
    read = frame_reader(spec.name, spec.type, spec.fields)
    return _Decoder(spec, len(spec.fields) + 1, read, readers_of(spec.fields, is_json=False))


def _json_decoder(spec: FrameSpec) -> _Decoder:
    readers, make = readers_of(spec.fields, is_json=True), maker_of(spec.type)

    def read(elements: list[Any]) -> Any:  # as in `FrameReader`
        return make([read(value) for read, value in zip(readers, elements[1:], strict=True)])

    return _Decoder(spec, len(spec.fields) + 1, read, readers)


def _by_direction(decoders: Iterable[_Decoder]) -> Sequence[_Decoders]:
    """Indexed by the direction, a number of 0 to 3: an enumeration hashes slowly."""
    some = list(decoders)
    return [{its.spec.code: its for its in some if its.spec.direction & Direction(number)} for number in range(4)]


_MSGPACK: Final = _by_direction(map(_msgpack_decoder, FRAMES))
_JSON: Final = _by_direction(map(_json_decoder, FRAMES))


# ---- writing --------------------------------------------------------------------------------------------------------

# Frames are tuples, ids are `str` and `bytes`, enumerations are `int`: both libraries write them as they are.
_CODES: Final = {kind: spec.code for kind, spec in BY_TYPE.items()}
_pack: Final = msgpack.Packer(autoreset=True, use_bin_type=True).pack


def encode(frame: Frame) -> EncodedFrame:
    """Write one frame in msgpack: a whole message, or a part for `encode_many`."""
    return _pack((_CODES[type(frame)], *frame))


def encode_many(frames: Iterable[Frame | EncodedFrame]) -> list[bytes]:
    """Write frames, and join frames that were written before, into as few messages as their size allows.

    Raises:
        UsageError: A single frame is larger than `MAX_MESSAGE_BYTES`.
    """
    parts = [frame if isinstance(frame, bytes) else encode(frame) for frame in frames]
    room = MAX_MESSAGE_BYTES - 3
    if len(parts) == 1 and len(parts[0]) <= room:
        return parts
    is_one = 0 < len(parts) <= MAX_FRAMES and sum(map(len, parts)) <= room  # as nearly always
    messages = [parts] if is_one else _split(parts, room=room)
    return [group[0] if len(group) == 1 else _array_header(len(group)) + b"".join(group) for group in messages]


def encode_json(frames: Iterable[Frame | EncodedFrame]) -> list[str]:
    """As `encode_many`, in JSON."""
    parts = [to_json(frame) for frame in frames]
    messages = _split(parts, room=MAX_JSON_CHARS - 2, separator=1)
    return [group[0] if len(group) == 1 else f"[{','.join(group)}]" for group in messages]


def to_json(frame: Frame | EncodedFrame) -> str:
    """Write one frame in JSON; a frame in msgpack, such as a stored ENTRY, is rewritten without being checked."""
    raw = msgpack.unpackb(frame, strict_map_key=False) if isinstance(frame, bytes) else (_CODES[type(frame)], *frame)
    return json.dumps(raw, default=_to_base64, separators=(",", ":"), ensure_ascii=False)


def _to_base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _array_header(count: int) -> bytes:
    return bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


def _split(parts: Sequence[P], *, room: int, separator: int = 0) -> list[list[P]]:
    """Group parts, in order, so that no group is longer than `room` or has more than `MAX_FRAMES`."""
    groups: list[list[P]] = []
    used = 0
    for part in parts:
        size = len(part) + separator
        if size > room:
            raise UsageError(
                f"a frame of {len(part)} bytes cannot be sent; the limit is {room}", code="usage.too-large"
            )
        if not groups or used + size > room or len(groups[-1]) == MAX_FRAMES:
            groups.append([])
            used = 0
        groups[-1].append(part)
        used += size
    return groups


# ---- the two halves of an ENTRY -------------------------------------------------------------------------------------

_HEAD_START: Final = b"\x9c\x10\xcf"  # an array of 12, code 16, a number of 64 bits
_HEAD_TAG: Final = b"\xc4\x08"  # 8 bytes
ENTRY_HEAD_BYTES: Final = 21


def entry_head(seq: InboxSeq, tag: bytes) -> bytes:
    """Write the part of an ENTRY that differs from inbox to inbox: always `ENTRY_HEAD_BYTES` long."""
    return _HEAD_START + seq.to_bytes(8, "big") + _HEAD_TAG + tag


def entry_tail(
    *,
    message_id: MessageId,
    kind: EntryKind,
    conv: ConversationId,
    conv_seq: ConversationSeq,
    pull_upto: ConversationSeq,
    sender: DeviceId | None,
    at_ms: int,
    own: bytes | None,
    shared: bytes | None,
) -> bytes:
    """Write the rest of an ENTRY: made once per post, unless it carries a copy for one device alone."""
    return _pack((message_id, kind, conv, conv_seq, pull_upto, sender, at_ms, own, shared))[1:]


# ---- what ROSTER entries carry --------------------------------------------------------------------------------------

_read_change: Final = CHANGE.reader(is_json=False)
_read_item: Final = ITEM.reader(is_json=False)


def encode_change(change: RosterChange) -> bytes:
    """Write a roster change as the `shared` part of a ROSTER entry."""
    return _pack(change)


def decode_change(data: bytes) -> RosterChange:
    """Read what `encode_change` wrote.

    Raises:
        MalformedFrameError: It is something else.
        OversizedFrameError: It is larger than `MAX_MESSAGE_BYTES`.
    """
    try:
        return cast("RosterChange", _read_change(_parse_msgpack(data)))
    except REFUSALS as error:
        raise MalformedFrameError(str(error), frame="ROSTER") from None


def encode_item(item: SnapshotItem) -> bytes:
    """Write the state of a conversation as of a ROSTER entry, as its `own` part for those whom the entry brings in."""
    return _pack(item)


def decode_item(data: bytes) -> SnapshotItem:
    """Read what `encode_item` wrote.

    Raises:
        MalformedFrameError: It is something else.
        OversizedFrameError: It is larger than `MAX_MESSAGE_BYTES`.
    """
    try:
        return cast("SnapshotItem", _read_item(_parse_msgpack(data)))
    except REFUSALS as error:
        raise MalformedFrameError(str(error), frame="ROSTER") from None
