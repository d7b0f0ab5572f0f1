"""What the server can see: its own rows of one conversation, read and never written, and put as they lie there.

Bodies are ciphertexts. Of each the view tells what anybody reads who holds it: its size, its first bytes, and the
header of the message, which is not encrypted because the other side needs it to find the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from whisperkit.errors import PeerError
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.partitions import Row
from whisperkit.ratchet.messages import MessageType, PreKeySignalMessage, SenderKeyMessage, SignalMessage
from whisperkit.stores import MarkStore, PartitionStore
from whisperkit.sync import conversation as conversations
from whisperkit.sync import conversation_state, inbox
from whisperkit.sync.codec import decode
from whisperkit.sync.frames import Direction, Entry, EntryKind
from whisperkit.sync.rows import PostRow, decode_row, post_span

__all__ = ["SHOWN_BYTES", "SHOWN_ROWS", "Seen", "look"]

SHOWN_ROWS: Final = 50
SHOWN_BYTES: Final = 32
# An inbox holds entries of other conversations, too, if there are any.
_LOOK_BACK: Final = 4 * SHOWN_ROWS

Json: TypeAlias = dict[str, Any]  # Any: whatever JSON holds
Field: TypeAlias = tuple[str, str]


class Seen(NamedTuple):
    """A store as the server has it open: its partitions, and its marks."""

    partitions: PartitionStore
    marks: MarkStore


class _Body(NamedTuple):
    """One ciphertext.

    Attributes:
        reader: For whom it is; `None`: for all members.
        data: Its type in one byte, and the message.
    """

    reader: DeviceId | None
    data: bytes


class _Post(NamedTuple):
    """What is known of a row of the conversation, from wherever it lies."""

    seq: int
    message_id: bytes
    kind: EntryKind
    sender: DeviceId | None
    at_ms: int
    bodies: tuple[_Body, ...]


async def look(seen: Seen, conv: ConversationId, devices: Sequence[DeviceId]) -> Json:
    """Look at a conversation and the inboxes of these devices.

    Returns:
        The part ``server`` of what the lab tells its page, with ids where that has names.
    """
    where = conversations.partition(conv)
    inboxes = [inbox.partition(device) for device in devices]
    heads = await seen.partitions.heads([where, *inboxes])
    marks = await seen.marks.marks([where, *inboxes])
    head = conversation_state.decode(heads[where].state if where in heads else b"")
    own = marks.get(where, {})
    posts: dict[int, _Post] = {}
    for row in await seen.partitions.rows(
        where, [post_span(max(0, head.seq - SHOWN_ROWS), head.seq)], limit=SHOWN_ROWS
    ):
        post = decode_row(row.value)
        posts[post.seq] = _of_post(post)
    held: list[Json] = []
    for device, name in zip(devices, inboxes, strict=True):
        box = inbox.decode(heads[name].state if name in heads else b"")
        acked = max(marks.get(name, {}).get(inbox.acked_mark(box.epoch), 0), box.floor)
        held.append({"device": device, "held": box.seq - acked, "head": box.seq, "cursor": acked})
        span = inbox.entry_span(max(0, box.seq - _LOOK_BACK), box.seq)
        for entry in _entries(await seen.partitions.rows(name, [span], limit=_LOOK_BACK)):
            if entry.conv == conv and head.seq - SHOWN_ROWS < entry.conv_seq <= head.seq:
                posts[entry.conv_seq] = _with_entry(posts.get(entry.conv_seq), entry, device)
    return {
        "conversation": conv[:4],
        "head": head.seq,
        "fanned_out": max(head.fanned_out, own.get("fanned_out", 0)),
        "rows": [_shown(posts[seq]) for seq in sorted(posts)],
        "inboxes": held,
        "marks": _marks(own),
    }


def _entries(rows: Sequence[Row]) -> list[Entry]:
    """Those that are complete; the others refer to a row of the conversation, which has been read."""
    found: list[Entry] = []
    for row in rows:
        value = inbox.decode_value(row.value)
        if isinstance(value, inbox.OwnValue):
            found += [one for one in decode(value.frame, direction=Direction.TO_CLIENT) if isinstance(one, Entry)]
    return found


def _of_post(post: PostRow) -> _Post:
    shared = () if post.shared is None else (_Body(None, post.shared),)
    own = tuple(_Body(device, data) for device, data in (post.own or {}).items())
    return _Post(post.seq, post.message_id, post.kind, post.sender, post.at_ms, (*shared, *own))


def _with_entry(post: _Post | None, entry: Entry, device: DeviceId) -> _Post:
    """Copies lie in the inboxes only, once all of them are there."""
    if post is None:
        post = _Post(entry.conv_seq, entry.message_id, entry.kind, entry.sender, entry.at_ms, ())
    if entry.kind is not EntryKind.MESSAGE or entry.own is None or any(body.reader == device for body in post.bodies):
        return post
    return post._replace(bodies=(*post.bodies, _Body(device, entry.own)))


def _marks(own: Mapping[str, int]) -> list[Json]:
    users = sorted({name.partition("/")[2] for name in own} - {""})
    return [
        {"user": user, "delivered": own.get(f"delivered/{user}", 0), "read": own.get(f"read/{user}", 0)}
        for user in users
    ]


def _shown(post: _Post) -> Json:
    fields: list[Field] = [
        ("kind", post.kind.name),
        ("message id", post.message_id.hex()),
        ("posted at", f"{post.at_ms} ms since 1970"),
    ]
    for body in post.bodies:
        fields += _header(body)
    return {
        "seq": post.seq,
        "sender": "the server" if post.sender is None else post.sender,
        "bytes": sum(len(body.data) for body in post.bodies),
        "hex": (post.bodies[0].data if post.bodies else b"")[:SHOWN_BYTES].hex(),
        "fields": fields,
    }


def _header(body: _Body) -> list[Field]:
    reader = "all members" if body.reader is None else body.reader
    fields: list[Field] = [("copy for", reader), ("bytes", f"{len(body.data)}")]
    if not body.data:
        return [*fields, ("type", "none: the device has no keys yet, and will ask")]
    try:
        match body.data[0]:
            case MessageType.WHISPER:
                return [*fields, ("type", "WHISPER"), *_session(SignalMessage.decode(body.data[1:]))]
            case MessageType.PREKEY:
                first = PreKeySignalMessage.decode(body.data[1:])
                return [
                    *fields,
                    ("type", "PREKEY: it begins a session"),
                    ("identity key", first.identity_key.hex()),
                    ("one-time prekey", "none was left" if first.pre_key_id is None else f"number {first.pre_key_id}"),
                    ("kyber ciphertext", f"{len(first.kyber_ciphertext)} bytes"),
                    *_session(SignalMessage.decode(first.message)),
                ]
            case MessageType.SENDER_KEY:
                group = SenderKeyMessage.decode(body.data[1:])
                return [
                    *fields,
                    ("type", "SENDER_KEY"),
                    ("chain", f"{group.chain_id}"),
                    ("ratchet counter", f"{group.iteration}"),
                    ("ciphertext", f"{len(group.ciphertext)} bytes"),
                ]
            case _:
                return [*fields, ("type", f"{body.data[0]}")]
    except PeerError as error:
        return [*fields, ("type", f"unreadable: {error}")]


def _session(message: SignalMessage) -> list[Field]:
    return [
        ("ratchet key", message.ratchet_key.hex()),
        ("ratchet counter", f"{message.counter}"),
        ("previous counter", f"{message.previous_counter}"),
        ("post-quantum ratchet", f"{len(message.pq_ratchet)} bytes"),
        ("ciphertext", f"{len(message.ciphertext)} bytes"),
        ("mac", f"{len(message.mac)} bytes"),
    ]
