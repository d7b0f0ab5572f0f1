"""Decrypting what arrived, and writing it into the history: all within the turn that moves the cursor.

What cannot be read is never dropped: it becomes an UNREADABLE record, its sender's device is asked to send it again
to this one, and the answer replaces the record in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from whisperkit.client import history
from whisperkit.client.content import KeyGift, Resend, ResendRequest, decode_content, encode_content
from whisperkit.client.drafts import DraftKind, put_draft
from whisperkit.client.history import Note, Record
from whisperkit.client.records import Turn
from whisperkit.client.sealing import Sealer
from whisperkit.errors import ActionRequiredError, DuplicateMessageError, PeerError, UntrustedIdentityError
from whisperkit.ids import ConversationId, DeviceId, MessageId, UserId
from whisperkit.ratchet import CiphertextMessage, Device, MessageType, SenderKeyDistributionMessage
from whisperkit.sync.chat import chat_of, chat_spans
from whisperkit.sync.codec import decode_change
from whisperkit.sync.frames import EntryKind, StoredRow
from whisperkit.sync.mirror import Arrived

__all__ = ["IdentityChanged", "Opened", "Opener", "Recorded", "is_member"]

# Records of a mega group that are searched for a change of members.
MAX_LOOKED_AT: Final = 10_000


class Recorded(NamedTuple):
    """A record was written: a new one, or one that replaces another in place."""

    record: Record
    is_new: bool


class IdentityChanged(NamedTuple):
    """A device has another identity key than before.

    Attributes:
        device: Which one.
        was_verified: Whether a person had compared the old one: then nothing is sent until they choose.
    """

    device: DeviceId
    was_verified: bool


Opened: TypeAlias = Recorded | IdentityChanged


class Opener:
    """Opens what arrived.

    Args:
        ratchet: This device's.
        sealer: For gifts of keys.
        wall_ms: The clock.
        mint: Makes message ids for asides.
    """

    def __init__(
        self, ratchet: Device, sealer: Sealer, *, wall_ms: Callable[[], int], mint: Callable[[], MessageId]
    ) -> None:
        self._ratchet = ratchet
        self._sealer = sealer
        self._wall_ms = wall_ms
        self._mint = mint

    async def open(self, turn: Turn, arrived: Arrived) -> list[Opened]:
        """Decrypt one row and write down what it says."""
        conv, row = arrived
        match row.kind:
            case EntryKind.ASIDE:
                return await self._aside(turn, row)
            case EntryKind.ROSTER:
                return [self._record(turn, conv, row, Note.ROSTER, row.shared or b"")]
            case EntryKind.MESSAGE | EntryKind.PLACEHOLDER:
                return await self._message(turn, conv, row)
            case _:
                return []

    async def _message(self, turn: Turn, conv: ConversationId, row: StoredRow) -> list[Opened]:
        events: list[Opened] = []
        try:
            content = await self._decrypt(turn, conv, row, events)
        except DuplicateMessageError:
            return events
        except (PeerError, ActionRequiredError):
            return [*events, *await self._unreadable(turn, conv, row)]
        if content is None:
            return [*events, *await self._unreadable(turn, conv, row)]
        return [*events, self._record(turn, conv, row, Note.MESSAGE, content)]

    async def _decrypt(self, turn: Turn, conv: ConversationId, row: StoredRow, events: list[Opened]) -> bytes | None:
        """What is inside, checked; `None` if there is nothing for this device."""
        if row.sender is None:
            return None
        content: bytes | None = None
        if row.own:
            plaintext = await self._open_own(turn, row.sender, row.own, events)
            inner = decode_content(plaintext)
            if isinstance(inner, KeyGift):
                await self._take_gift(turn, row.sender, inner)
            else:
                content = plaintext
        if row.shared is not None:
            content = await self._open_shared(turn, row.sender, row.shared)
            decode_content(content)
        return content

    async def _open_own(self, turn: Turn, sender: DeviceId, data: bytes, events: list[Opened]) -> bytes:
        message = CiphertextMessage.of(data[0], data[1:])
        rows = await turn.load(self._ratchet.records_for(sender, message))
        try:
            opened = self._ratchet.decrypt(rows, message, sender=sender, wall_ms=self._wall_ms())
        except UntrustedIdentityError as error:
            peer = self._ratchet.peer(rows, sender)
            is_verified = peer is not None and peer.verified_at_ms is not None
            events.append(IdentityChanged(sender, is_verified))
            if is_verified:
                raise
            accepted = self._ratchet.accept_identity(rows, error.found, remote=sender, wall_ms=self._wall_ms())
            turn.save(accepted.save)
            opened = self._ratchet.decrypt(turn.rows, message, sender=sender, wall_ms=self._wall_ms())
        turn.save(opened.save)
        return opened.plaintext

    async def _open_shared(self, turn: Turn, sender: DeviceId, data: bytes) -> bytes:
        message = CiphertextMessage.of(data[0], data[1:]) if data else CiphertextMessage.of(MessageType.SENDER_KEY, b"")
        rows = await turn.load(self._ratchet.records_for_sender_key(message, sender=sender))
        opened = self._ratchet.group_decrypt(rows, message, sender=sender)
        turn.save(opened.save)
        return opened.plaintext

    async def _take_gift(self, turn: Turn, sender: DeviceId, gift: KeyGift) -> None:
        message = SenderKeyDistributionMessage.decode(gift.distribution)
        rows = await turn.load(self._ratchet.records_for_sender_key(message, sender=sender))
        turn.save(self._ratchet.process_distribution(rows, message, sender=sender).save)

    # ---- what could not be read ----

    async def _unreadable(self, turn: Turn, conv: ConversationId, row: StoredRow) -> list[Opened]:
        record = self._record(turn, conv, row, Note.UNREADABLE, b"")
        if row.sender is not None and row.sender != self._ratchet.device_id:
            content = encode_content(ResendRequest(conv, row.message_id))
            await put_draft(turn, DraftKind.ASIDE, self._mint(), to=row.sender, content=content)
        return [record]

    async def _aside(self, turn: Turn, row: StoredRow) -> list[Opened]:
        events: list[Opened] = []
        sender = row.sender
        if sender is None or not row.own:
            return events
        try:
            content = decode_content(await self._open_own(turn, sender, row.own, events))
            match content:
                case KeyGift():
                    await self._take_gift(turn, sender, content)
                case ResendRequest():
                    await self._send_again(turn, sender, content)
                case Resend():
                    events += await self._replace(turn, sender, content)
                case _:
                    pass
        except (PeerError, ActionRequiredError):
            # An aside that cannot be read is lost: what it was for is asked for again when it is missed again.
            return events
        return events

    async def _send_again(self, turn: Turn, asking: DeviceId, request: ResendRequest) -> None:
        """Give a message of this device to one that could not read it, with the key it lacks."""
        found = await history.find(turn, request.conv, request.message_id)
        if found is None or found[1].sender != self._ratchet.device_id or not found[1].content:
            return
        if not await is_member(turn, request.conv, asking.user):
            return
        gift = await self._sealer.gift(turn, request.conv)
        answer = encode_content(Resend(request.conv, request.message_id, found[1].content))
        for content in (gift, answer):
            await put_draft(turn, DraftKind.ASIDE, self._mint(), to=asking, content=content)

    async def _replace(self, turn: Turn, sender: DeviceId, answer: Resend) -> list[Opened]:
        """Put what came again in the place of what could not be read."""
        found = await history.find(turn, answer.conv, answer.message_id)
        if found is None or found[1].note is not Note.UNREADABLE or found[1].sender != sender:
            return []
        decode_content(answer.content)
        record = found[1]._replace(note=Note.MESSAGE, content=answer.content)
        history.write(turn, record)
        return [Recorded(record, is_new=False)]

    def _record(self, turn: Turn, conv: ConversationId, row: StoredRow, note: Note, content: bytes) -> Recorded:
        record = Record(conv, row.message_id, row.sender, row.conv_seq, row.at_ms, note, content)
        history.write(turn, record)
        return Recorded(record, is_new=True)


async def is_member(turn: Turn, conv: ConversationId, user: UserId) -> bool:
    """Whether a user is in a conversation, as far as this device knows: nobody else is given a message again."""
    chat = chat_of(conv, await turn.load(chat_spans(conv)))
    if chat.membership is None:
        return False
    if chat.membership.is_whole and not chat.is_pulled:
        return user in chat.membership.members
    # A mega group lists nobody; the changes that went by say who came and went.
    for row in await turn.last(history.page_span(conv), limit=MAX_LOOKED_AT):
        record = history.read(row)
        if record.note is Note.ROSTER:
            change = decode_change(record.content)
            if user in change.removed:
                return False
            if user in change.added:
                return True
    return False
