"""What a device still has to send, conversation by conversation: numbered once, repeated until answered.

Rules on the device's own partition. A conversation's outbox is one row ``o/<conv>`` with the outbox epoch and the next
number, and one row ``p/<conv>/<number>`` for each message that has no answer yet: the SEND frame itself, ciphertext and
all, saved before its first byte leaves. What is in flight on the present link is not saved; after `disconnected`
everything that is pending is sent again, and the conversation recognises it.

A number belongs to one message id for good. A message that is given up becomes a VOID under its number and id,
repeated like any other until it is answered: only then is it known whether an earlier copy got through. When the
conversation knows the numbers better than the device, as after a restored backup or with a second process of the
device, a higher epoch is opened and all that is pending is numbered from 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

import msgpack

from whisperkit.errors import CorruptStateError, OutboxFullError, PeerError
from whisperkit.ids import ConversationId, ConversationSeq, MessageId
from whisperkit.partitions import Row, Span, Step, prefix, seq_key
from whisperkit.sync import codec
from whisperkit.sync.frames import Direction, EntryKind, RefusalReason, Refused, Send, Sent
from whisperkit.sync.window import MAX_RECENT

__all__ = [
    "MAX_IN_FLIGHT",
    "MAX_PENDING",
    "Answered",
    "EncryptAgain",
    "GaveUp",
    "Ignored",
    "Outbox",
    "OutboxStatus",
    "Refusal",
    "Renumbered",
    "SendAgain",
    "Wait",
    "answered",
    "disconnected",
    "encrypted_again",
    "enqueue",
    "give_up",
    "load_outboxes",
    "next_to_send",
    "outbox_spans",
    "refused",
]

# A conversation recognises the last 32 ids of a device: what is unanswered must be well within them, or a repeat
# would be told to open a new epoch and be posted twice.
MAX_IN_FLIGHT: Final = 16
# What a person writes in one conversation during a flight; beyond it the application has to say that it waits.
MAX_PENDING: Final = 1_000


class OutboxStatus(IntEnum):
    """What the sender shows: there is nothing between "not answered" and these."""

    PENDING = 1
    SENT = 2
    FAILED = 3


class Outbox(NamedTuple):
    """One conversation's outbox.

    Attributes:
        conv: Which conversation.
        epoch: The outbox epoch, from 1.
        next_seq: The number of the next message.
        pending: SENDs without an answer, in order.
        sent_upto: Not saved: the last number that was handed to the present link.
        in_flight: Not saved: numbers handed to the present link and not answered.
        held: Not saved: numbers that wait for fresh encryption, and all behind them.
    """

    conv: ConversationId
    epoch: int = 1
    next_seq: int = 1
    pending: tuple[Send, ...] = ()
    sent_upto: int = 0
    in_flight: frozenset[int] = frozenset()
    held: frozenset[int] = frozenset()

    def find(self, message_id: MessageId) -> Send | None:
        """The pending SEND of a message; `None` if there is none."""
        return next((send for send in self.pending if send.message_id == message_id), None)


# ---- what became of it ----------------------------------------------------------------------------------------------


class Answered(NamedTuple):
    """A message has its answer: SENT with its place, or FAILED once its VOID was taken."""

    message_id: MessageId
    status: OutboxStatus
    conv_seq: ConversationSeq
    at_ms: int


class Renumbered(NamedTuple):
    """A higher epoch was opened; everything pending has a new number, and goes out again."""

    epoch: int


class SendAgain(NamedTuple):
    """Sending goes on from an earlier number."""

    outbox_seq: int


class EncryptAgain(NamedTuple):
    """Encrypt the message afresh, after catching up, then `encrypted_again`; what is behind it waits."""

    send: Send
    refused: Refused


class GaveUp(NamedTuple):
    """The message can never be taken. A VOID goes out in its place; its answer says what became of it."""

    message_id: MessageId
    reason: RefusalReason


class Wait(NamedTuple):
    """The server is busy: call `next_to_send` after this many milliseconds."""

    wait_ms: int


class Ignored(NamedTuple):
    """An answer to a number or message that is not pending: late, or a repeat."""


Refusal: TypeAlias = Renumbered | SendAgain | EncryptAgain | GaveUp | Wait | Ignored


# ---- loading --------------------------------------------------------------------------------------------------------


def outbox_spans(conv: ConversationId | None = None) -> tuple[Span, Span]:
    """The rows of one outbox, or of all: numbers and pending messages."""
    if conv is None:
        return prefix(b"o/"), prefix(b"p/")
    key = _numbers_key(conv)
    return Span(key, key + b"\x00"), prefix(_pending_prefix(conv))


def load_outboxes(rows: Iterable[Row]) -> dict[ConversationId, Outbox]:
    """Read the rows of `outbox_spans`, in the order of their keys.

    Raises:
        CorruptStateError: They are not what the rules wrote.
    """
    found: dict[ConversationId, Outbox] = {}
    for key, value in rows:
        if key.startswith(b"o/"):
            outbox = _read_numbers(key, value)
            found[outbox.conv] = outbox
        else:
            send = _read_pending(value)
            if send.conv not in found:
                raise CorruptStateError(kind="outbox", reason="a pending message without numbers")
            outbox = found[send.conv]
            found[send.conv] = outbox._replace(pending=(*outbox.pending, send))
    return found


# ---- rules ----------------------------------------------------------------------------------------------------------


def enqueue(outbox: Outbox, send: Send) -> Step[Send, Outbox]:
    """Number a message; commit this together with the ratchet records that encrypted it.

    Args:
        outbox: Of the message's conversation.
        send: The message. Its epoch and number are given here, whatever they were.

    Returns:
        The SEND with its number: an earlier one if the message is pending already.

    Raises:
        OutboxFullError: `MAX_PENDING` messages wait in this conversation.
    """
    found = outbox.find(send.message_id)
    if found is not None:
        return Step(found, outbox)
    if len(outbox.pending) >= MAX_PENDING:
        raise OutboxFullError(conversation=outbox.conv, limit=MAX_PENDING)
    numbered = send._replace(conv=outbox.conv, outbox_epoch=outbox.epoch, outbox_seq=outbox.next_seq)
    after = outbox._replace(next_seq=outbox.next_seq + 1, pending=(*outbox.pending, numbered))
    return Step(numbered, after, put=(_numbers_row(after), _pending_row(numbered)))


def next_to_send(outbox: Outbox, *, window: int = MAX_IN_FLIGHT) -> Step[tuple[Send, ...], Outbox]:
    """Take what may go out now, in order; at most `window` are unanswered, and none `MAX_RECENT` above the oldest.

    After a refusal nothing goes out until everything in flight has its answer: what was behind the refused message
    is refused as well, and would be sent once more for each of those answers.
    """
    if any(number > outbox.sent_upto for number in outbox.in_flight):
        return Step((), outbox)
    due: list[Send] = []
    for send in outbox.pending:
        if send.outbox_seq in outbox.held or len(outbox.in_flight) + len(due) >= window:
            break
        # However many behind it were answered: the oldest has to stay among the ids that the conversation remembers.
        if send.outbox_seq - outbox.pending[0].outbox_seq >= MAX_RECENT:
            break
        if send.outbox_seq > outbox.sent_upto:
            due.append(send)
    if not due:
        return Step((), outbox)
    numbers = frozenset(send.outbox_seq for send in due)
    after = outbox._replace(sent_upto=due[-1].outbox_seq, in_flight=outbox.in_flight | numbers)
    return Step(tuple(due), after)


def answered(outbox: Outbox, sent: Sent) -> Step[Answered | Ignored, Outbox]:
    """Note a SENT; commit this together with the new status of the message.

    The message id decides, not the number: an answer from before a renumbering is as good.
    """
    send = outbox.find(sent.message_id)
    if send is None:
        return Step(Ignored(), _landed(outbox, sent.outbox_epoch, sent.outbox_seq))
    number = send.outbox_seq
    after = outbox._replace(
        pending=tuple(one for one in outbox.pending if one is not send),
        in_flight=outbox.in_flight - {number},
        held=outbox.held - {number},
    )
    # A VOID that finds its message posted is answered with the message's place: it did get through.
    status = OutboxStatus.SENT if sent.conv_seq else OutboxStatus.FAILED
    answer = Answered(sent.message_id, status, sent.conv_seq, sent.at_ms)
    return Step(answer, after, delete=(_pending_key(send),))


def refused(outbox: Outbox, refusal: Refused) -> Step[Refusal, Outbox]:
    """Note a REFUSED: the message keeps its number and id, whatever comes of it."""
    send = outbox.find(refusal.message_id)
    if send is None or (send.outbox_epoch, send.outbox_seq) != (refusal.outbox_epoch, refusal.outbox_seq):
        return Step(Ignored(), _landed(outbox, refusal.outbox_epoch, refusal.outbox_seq))
    landed = _landed(outbox, send.outbox_epoch, send.outbox_seq)
    match refusal.reason:
        case RefusalReason.STALE_OUTBOX:
            return _renumber(landed, above=refusal.number)
        case RefusalReason.SEND_FIRST:
            if all(one.outbox_seq != refusal.number for one in outbox.pending):
                # It was answered long ago: the server has lost it, and this device has it no more.
                return _renumber(landed, above=outbox.epoch)
            first = min(refusal.number, send.outbox_seq)
            return Step(SendAgain(first), _back_to(landed, first))
        case RefusalReason.TRY_LATER:
            return Step(Wait(refusal.number), _back_to(landed, send.outbox_seq))
        case RefusalReason.ROSTER_MOVED | RefusalReason.STALE_DEVICES if send.kind is not EntryKind.VOID:
            back = _back_to(landed, send.outbox_seq)
            return Step(EncryptAgain(send, refusal), back._replace(held=back.held | {send.outbox_seq}))
        case _:
            step = give_up(_back_to(landed, send.outbox_seq), refusal.message_id)
            return Step(GaveUp(refusal.message_id, refusal.reason), step.state, put=step.put)


def encrypted_again(outbox: Outbox, send: Send) -> Step[None, Outbox]:
    """Replace what is sent under a message's number; commit this together with the ratchet records."""
    old = outbox.find(send.message_id)
    if old is None or old.kind is EntryKind.VOID:
        return Step(None, outbox)
    return _replace(outbox, old, send._replace(conv=old.conv, outbox_epoch=old.outbox_epoch, outbox_seq=old.outbox_seq))


def give_up(outbox: Outbox, message_id: MessageId) -> Step[None, Outbox]:
    """Send a VOID in place of a message. It keeps the number and the id; its answer says what became of the message."""
    old = outbox.find(message_id)
    if old is None or old.kind is EntryKind.VOID:
        return Step(None, outbox)
    void = old._replace(kind=EntryKind.VOID, if_roster=None, devices=(), change=None, shared=None, own=None)
    return _replace(outbox, old, void)


def disconnected(outbox: Outbox) -> Outbox:
    """Forget what the link that is gone was handed: all of it is sent again. What was held is tried as it is."""
    return outbox._replace(sent_upto=0, in_flight=frozenset(), held=frozenset())


# ---- parts of rules -------------------------------------------------------------------------------------------------


def _landed(outbox: Outbox, epoch: int, number: int) -> Outbox:
    """Note that a number in flight has an answer."""
    if epoch != outbox.epoch or number not in outbox.in_flight:
        return outbox
    return outbox._replace(in_flight=outbox.in_flight - {number})


def _back_to(outbox: Outbox, number: int) -> Outbox:
    return outbox._replace(sent_upto=min(outbox.sent_upto, number - 1))


def _replace(outbox: Outbox, old: Send, new: Send) -> Step[None, Outbox]:
    if new == old and old.outbox_seq not in outbox.held:
        return Step(None, outbox)
    pending = tuple(new if one is old else one for one in outbox.pending)
    # A copy that left before may still be answered; the new one goes out in any case.
    after = _back_to(outbox, old.outbox_seq)._replace(pending=pending, held=outbox.held - {old.outbox_seq})
    return Step(None, after, put=(_pending_row(new),))


def _renumber(outbox: Outbox, *, above: int) -> Step[Refusal, Outbox]:
    epoch = max(outbox.epoch, above) + 1
    pending = tuple(
        send._replace(outbox_epoch=epoch, outbox_seq=number) for number, send in enumerate(outbox.pending, start=1)
    )
    after = Outbox(outbox.conv, epoch, len(pending) + 1, pending)
    put = (_numbers_row(after), *map(_pending_row, pending))
    kept = {row.key for row in put}
    gone = tuple(key for key in map(_pending_key, outbox.pending) if key not in kept)
    return Step(Renumbered(epoch), after, put=put, delete=gone)


# ---- rows -----------------------------------------------------------------------------------------------------------


def _numbers_key(conv: ConversationId) -> bytes:
    return b"o/" + conv.encode()


def _pending_prefix(conv: ConversationId) -> bytes:
    return b"p/" + conv.encode() + b"/"


def _pending_key(send: Send) -> bytes:
    return seq_key(_pending_prefix(send.conv), send.outbox_seq)


def _numbers_row(outbox: Outbox) -> Row:
    return Row(_numbers_key(outbox.conv), msgpack.packb((outbox.epoch, outbox.next_seq)))


def _pending_row(send: Send) -> Row:
    return Row(_pending_key(send), codec.encode(send))


def _read_numbers(key: bytes, value: bytes) -> Outbox:
    try:
        epoch, next_seq = msgpack.unpackb(value)
        if type(epoch) is not int or type(next_seq) is not int:
            raise ValueError("not two numbers")
        return Outbox(ConversationId(key[2:].decode()), epoch, next_seq)
    except (ValueError, TypeError, PeerError) as error:
        raise CorruptStateError(kind="outbox", reason=type(error).__name__) from error


def _read_pending(value: bytes) -> Send:
    try:
        frames: Sequence[object] = codec.decode(value, direction=Direction.TO_SERVER)
    except PeerError as error:
        raise CorruptStateError(kind="outbox", reason=str(error)) from error
    match frames:
        case [Send() as send]:
            return send
        case _:
            raise CorruptStateError(kind="outbox", reason="a pending row holds no SEND")
