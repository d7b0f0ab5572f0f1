"""Plays a story to the mirror of the library, and tells in JSON what came of each step; `player.mjs` is its twin.

A step is a small object whose `do` says what happens; the methods of `Player` are all there is. What is told is what
both mirrors have to agree in: numbers are whole, bytes are base64, and what has no order is sorted.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, Final, TypeAlias

import msgpack

from whisperkit.errors import WhisperError
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId
from whisperkit.partitions import Span, prefix
from whisperkit.sync import codec, frames
from whisperkit.sync import mirror as sync
from whisperkit.sync.chat import Chat, chat_spans
from whisperkit.sync.cursor import Cursor, first_tag, next_tag
from whisperkit.sync.frames import Direction, EntryKind, Frame
from whisperkit.sync.mirror import Mirror, Synced

__all__ = ["Answer", "Player", "Step", "play"]

# Any: JSON.
Step: TypeAlias = dict[str, Any]
Answer: TypeAlias = dict[str, Any]


def play(device: str, steps: Iterable[Step]) -> list[Answer]:
    """Play a story from its beginning."""
    player = Player(DeviceId.parse(device))
    return [player.take(step) for step in steps]


class Player:
    """A device that keeps what a mirror wants kept.

    Attributes:
        mirror: As it is by now.
        sent: What the last step wanted sent.

    Args:
        device: Which one.
    """

    def __init__(self, device: DeviceId) -> None:
        self.mirror = Mirror(device)
        self.sent: tuple[Frame, ...] = ()
        self._saved = sync.encode_mirror(self.mirror)
        self._rows: dict[bytes, bytes] = {}

    def take(self, step: Step) -> Answer:
        """Do a step, and tell what came of it; of a step that is refused, why, and nothing has changed."""
        self.sent = ()
        does: Callable[..., Answer] = getattr(self, f"do_{step['do']}")
        try:
            return does(**{name: value for name, value in step.items() if name != "do"})
        except WhisperError as error:
            return {"error": error.code}

    # ---- the link

    def do_attach(self, now: int, followed: list[str] | None = None) -> Answer:
        self.mirror = sync.attach(self.mirror, followed=[ConversationId(conv) for conv in followed or ()], now=now)
        return {"state": _state(self.mirror)}

    def do_detach(self) -> Answer:
        self.mirror = sync.detach(self.mirror)
        return {"state": _state(self.mirror)}

    def do_restart(self) -> Answer:
        """Begin again from what was saved."""
        self.mirror = sync.decode_mirror(self._saved)
        return {"state": _state(self.mirror)}

    def do_timer(self, now: int) -> Answer:
        spans = sync.rows_for(self.mirror, [])
        return self._commit(sync.handle_timer(self.mirror, self._load(spans), now=now), spans=spans)

    def do_receive(self, text: str, now: int, crash: str | None = None) -> Answer:
        """Take a message; the device may die before it has saved what came of it, or before it has sent anything."""
        batch = codec.decode(text, direction=Direction.TO_CLIENT)
        spans = sync.rows_for(self.mirror, batch)
        synced = sync.receive(self.mirror, batch, self._load(spans), now=now)
        return self._commit(synced, spans=spans, crash=crash)

    # ---- the person

    def do_open(self, conv: str, now: int) -> Answer:
        found = ConversationId(conv)
        return self._commit(sync.open_chat(self.mirror, found, self._load(chat_spans(found)), now=now))

    def do_close(self, conv: str) -> Answer:
        self.mirror = sync.close_chat(self.mirror, ConversationId(conv))
        return {"state": _state(self.mirror)}

    def do_read(self, conv: str, upto: int, now: int) -> Answer:
        found, rows = ConversationId(conv), self._load(chat_spans(ConversationId(conv)))
        return self._commit(sync.read(self.mirror, found, ConversationSeq(upto), rows, now=now))

    def do_posted(self, conv: str, change: list[list[str]] | None, seq: int, now: int) -> Answer:
        """A change of the members that this device posted has its place."""
        found, message_id = ConversationId(conv), MessageId(bytes(16))
        changes = None if change is None else codec.decode_change(msgpack.packb(change))
        send = frames.Send(found, 1, 1, message_id, EntryKind.ROSTER, None, (), changes, None, None)
        sent = frames.Sent(found, 1, 1, message_id, ConversationSeq(seq), 0)
        return self._commit(sync.posted(self.mirror, send, sent, self._load(chat_spans(found)), now=now))

    # ---- parts alone

    def do_decode(self, text: str) -> Answer:
        found = codec.decode(text, direction=Direction.TO_CLIENT)
        return {"frames": [json.loads(codec.to_json(frame)) for frame in found]}

    def do_change(self, data: str) -> Answer:
        return {"change": _plain(codec.decode_change(base64.b64decode(data)))}

    def do_item(self, data: str) -> Answer:
        return {"item": _plain(codec.decode_item(base64.b64decode(data)))}

    def do_cursor(self, text: str) -> Answer:
        cursor = Cursor.parse(text)
        return {"cursor": _plain(cursor), "text": cursor.text()}

    def do_tag(self, device: str, ids: list[str]) -> Answer:
        tag = first_tag(DeviceId.parse(device))
        for one in ids:
            tag = next_tag(tag, MessageId(base64.b64decode(one)))
        return {"tag": _plain(tag)}

    # ---- what is kept

    def _load(self, spans: Iterable[Span]) -> dict[bytes, bytes]:
        return {key: self._rows[key] for span in spans for key in self._rows if span.start <= key < span.stop}

    def _commit(self, synced: Synced, *, spans: tuple[Span, ...] = (), crash: str | None = None) -> Answer:
        answer = {"must_save": synced.must_save(self.mirror), **_told(synced, spans)}
        if crash != "before":
            self._rows.update(synced.put)
            for key in synced.delete:
                self._rows.pop(key, None)
            self._saved = sync.encode_mirror(synced.state)
        if crash is None:
            self.mirror, self.sent = synced.state, synced.send
        else:
            self.mirror = sync.decode_mirror(self._saved)
        return {name: value for name, value in answer.items() if value not in ([], {}, False)}


# ---- in JSON --------------------------------------------------------------------------------------------------------


def _told(synced: Synced, spans: tuple[Span, ...]) -> Answer:
    put = {_key(key): _value(key, value) for key, value in synced.put}
    assert len(put) == len(synced.put), "a key is put twice"
    return {
        "spans": [list(one) for one in sorted({tuple(_span(span)) for span in spans})],
        "state": _state(synced.state),
        "put": put,
        "delete": sorted(map(_key, synced.delete)),
        "arrived": [[conv, _plain(row)] for conv, row in synced.arrived],
        "send": [json.loads(codec.to_json(frame)) for frame in synced.send],
        "chats": {conv: _chat(chat) for conv, chat in synced.chats.items()},
        "lost": _plain(synced.lost),
        "reconnect": synced.reconnect,
    }


def _state(mirror: Mirror) -> list[Any]:
    fields = {name: value for name, value in mirror._asdict().items() if name not in ("device", "held")}
    held = [entry.seq for entry in mirror.held]
    return [_plain(value) for value in (*fields.values(), held, sync.deadline(mirror))]


def _chat(chat: Chat) -> list[Any]:
    membership = chat.membership
    told = [chat.is_pulled, chat.badge]
    return told if membership is None else [*told, list(membership.members), membership.version]


_SEEN: Final = b"i/"


def _key(key: bytes) -> str:
    """A key is text: the message id in it is in base64."""
    if not key.startswith(_SEEN):
        return key.decode()
    at = len(_SEEN)
    return f"i/{_plain(key[at : at + 16])}{key[at + 16 :].decode()}"


def _span(span: Span) -> list[str]:
    """Of all keys with a prefix, or of one key."""
    if span == prefix(span.start):
        return [span.start.decode(), span.start[:-1].decode() + chr(span.start[-1] + 1)]
    assert span.stop == span.start + b"\x00"
    return [_key(span.start), _key(span.start) + "\x00"]


def _value(key: bytes, value: bytes) -> Any:
    return int.from_bytes(value, "big") if key.startswith(_SEEN) else msgpack.unpackb(value)


def _plain(value: object) -> Any:
    """In JSON; what comes in no order is sorted."""
    return json.loads(json.dumps(value, default=_other), parse_float=_whole)


def _other(value: Any) -> object:  # Any: what json does not know
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.value if isinstance(value, Enum) else sorted(value)


def _whole(text: str) -> int:
    assert float(text).is_integer()
    return int(float(text))
