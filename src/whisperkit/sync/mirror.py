"""The device's copy of what the server has: checks every link of the inbox, asks for what is missing, drops repeats.

    OFFLINE ──attach──► CATCHING_UP ──frontier at head──► LIVE
                          │      ▲
                          ▼      │ last part
                         SNAPSHOT

A `Mirror` is a value. `receive` takes what came in one read of the link, with the rows of the device's partition that
`rows_for` names, and answers with a `Synced`: the next mirror, the rows to put and delete, the entries that arrived,
and the frames to send. The caller decrypts what arrived, commits ratchet records, history rows, these rows and the head
(`encode_mirror`) in *one* commit, and only then takes over `state` and sends `send`. If it crashes before, nothing
happened, and the server sends the same again.

The cursor is the contiguous frontier, never the newest thing seen. What arrives twice is dropped by sender and
message id before it is decrypted, for as long as the history that it would double.

The wire may drop, repeat and reorder: entries behind a gap are not kept but asked for again, since a link that
loses frames is rare, and a link in order costs nothing this way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from whisperkit.errors import UsageError
from whisperkit.ids import ConversationId, ConversationSeq
from whisperkit.partitions import Span
from whisperkit.sync import frames
from whisperkit.sync.chat import MEMBERSHIPS, PROGRESSES, chat_spans
from whisperkit.sync.frames import ASIDES, Frame
from whisperkit.sync.mirror_state import (
    TRANSITIONS,
    Arrived,
    Attached,
    LostTail,
    Mirror,
    Phase,
    Synced,
    TimePassed,
    deadline,
    decode_mirror,
    encode_mirror,
    has_welcome,
    seen_key,
)
from whisperkit.sync.mirror_turn import Turn

__all__ = [
    "MEMBERSHIPS",
    "PROGRESSES",
    "Arrived",
    "LostTail",
    "Mirror",
    "Phase",
    "Synced",
    "attach",
    "close_chat",
    "deadline",
    "decode_mirror",
    "detach",
    "encode_mirror",
    "handle_timer",
    "open_chat",
    "posted",
    "read",
    "receive",
    "rows_for",
    "seen_key",
]

# ---- the link -------------------------------------------------------------------------------------------------------


def attach(mirror: Mirror, *, followed: Collection[ConversationId] = (), now: float) -> Mirror:
    """Note that HELLO went out with `mirror.cursor`.

    Args:
        mirror: The mirror, offline.
        followed: All conversations of the device whose rows are pulled (`Chat.is_pulled`).
        now: Seconds, on any monotonic clock.

    Raises:
        UsageError: It is attached already.
    """
    phase = TRANSITIONS.get((mirror.phase, Attached))
    if phase is None:
        raise UsageError(f"detach before attaching again: the mirror is {mirror.phase.value}")
    return Mirror(mirror.device, mirror.cursor, phase, since=now, opened=mirror.opened, followed=frozenset(followed))


def detach(mirror: Mirror) -> Mirror:
    """Note that the link is gone, and forget what was under way on it; harmless when offline."""
    return Mirror(mirror.device, mirror.cursor, opened=mirror.opened, followed=mirror.followed)


def handle_timer(mirror: Mirror, rows: Mapping[bytes, bytes], *, now: float) -> Synced:
    """Ask again for what should have come.

    Args:
        mirror: The mirror.
        rows: Those of `rows_for(mirror, [])`.
        now: Seconds, on the clock of the other calls.
    """
    due = deadline(mirror)
    if due is None or now < due or (mirror.phase, TimePassed) not in TRANSITIONS:
        return Synced(mirror)
    if not has_welcome(mirror):
        return Synced(mirror, reconnect=True)
    turn = Turn(mirror, rows, now)
    turn.ask_again()
    return turn.result()


# ---- the person -----------------------------------------------------------------------------------------------------


def open_chat(mirror: Mirror, conv: ConversationId, rows: Mapping[bytes, bytes], *, now: float) -> Synced:
    """Fetch what is pulled in a conversation, now and as long as it is on screen; `rows`: those of `chat_spans`."""
    turn = Turn(mirror._replace(opened=mirror.opened | {conv}), rows, now)
    turn.fetch_head(conv)
    return turn.result()


def close_chat(mirror: Mirror, conv: ConversationId) -> Mirror:
    """Note that a conversation is off the screen."""
    return mirror._replace(opened=mirror.opened - {conv})


def read(
    mirror: Mirror, conv: ConversationId, upto: ConversationSeq, rows: Mapping[bytes, bytes], *, now: float
) -> Synced:
    """Note that the person has read up to here; `rows`: those of `chat_spans`."""
    turn = Turn(mirror, rows, now)
    before = turn.chat(conv)
    turn.chats[conv] = before.read(upto)
    if turn.chats[conv] != before:
        turn.send.append(frames.Read(conv, upto))
    return turn.result()


def posted(mirror: Mirror, send: frames.Send, sent: frames.Sent, rows: Mapping[bytes, bytes], *, now: float) -> Synced:
    """Work in what this device posted itself, which never comes to its inbox; `rows`: those of `chat_spans`."""
    turn = Turn(mirror, rows, now)
    if send.change is not None and sent.conv_seq:
        turn.change_roster(send.conv, sent.conv_seq, send.change)
    return turn.result()


# ---- the server -----------------------------------------------------------------------------------------------------


def rows_for(mirror: Mirror, batch: Sequence[Frame]) -> tuple[Span, ...]:
    """Which rows of the device's partition `receive` needs; those that are not there are new."""
    convs: dict[ConversationId, None] = {}
    keys: dict[bytes, None] = {}
    for conv, seen in _named(mirror, batch):
        convs[conv] = None
        for key in seen:
            keys[key] = None
    convs.pop(ASIDES, None)
    spans = [span for conv in convs for span in chat_spans(conv)]
    spans += [Span(key, key + b"\x00") for key in keys]
    if any(isinstance(frame, frames.Snapshot) and frame.is_last for frame in batch):
        spans += (PROGRESSES, MEMBERSHIPS)
    return tuple(spans)


def _named(mirror: Mirror, batch: Sequence[Frame]) -> Iterator[tuple[ConversationId, tuple[bytes, ...]]]:
    """Conversations whose rows a batch may touch, with the keys of messages in it that may be repeats."""
    for conv in (*mirror.fetching, *mirror.opened):
        yield conv, ()
    for frame in (*mirror.held, *batch):
        match frame:
            case frames.Entry():
                yield frame.conv, (seen_key(frame.sender, frame.message_id),)
            case frames.Rows():
                yield frame.conv, tuple(seen_key(row.sender, row.message_id) for row in frame.rows)
            case frames.Snapshot():
                yield from ((item.conv, ()) for item in frame.items)
            case frames.Head():
                yield from ((conv, ()) for conv in frame.conversations if conv in mirror.followed)
            case frames.Mark():
                yield frame.conv, ()
            case _:
                pass


def receive(mirror: Mirror, batch: Sequence[Frame], rows: Mapping[bytes, bytes], *, now: float) -> Synced:
    """Take what came in one read of the link.

    Args:
        mirror: The mirror as it is saved.
        batch: Frames, in order; those that are not the mirror's are left alone.
        rows: The device's rows in `rows_for(mirror, batch)`, by key.
        now: Seconds, on the clock of the other calls.
    """
    turn = Turn(mirror, rows, now)
    for frame in batch:
        turn.take(frame)
    turn.acknowledge()
    return turn.result()
