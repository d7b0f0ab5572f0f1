"""Decrypting what arrived, and writing it into the history: all within the turn that moves the cursor.

What cannot be read is never dropped: it becomes an UNREADABLE record, its sender's device is asked to send it again
to this one, and the answer replaces the record in place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

from whisperkit.client import history
from whisperkit.client.audience import audience_of, is_let_in, note_change
from whisperkit.client.content import AskAgain, KeyGift, Resend, ResendRequest, decode_content, encode_content, unbind
from whisperkit.client.drafts import DraftKind, put_draft
from whisperkit.client.history import Note, Record
from whisperkit.client.notices import Notice
from whisperkit.client.records import Turn
from whisperkit.client.sealing import Sealer, is_pairwise
from whisperkit.client.trust import Trust
from whisperkit.client.unread import Unread
from whisperkit.errors import (
    ActionRequiredError,
    InvalidMessageError,
    NoSenderKeyError,
    PeerError,
    UntrustedIdentityError,
)
from whisperkit.ids import ConversationId, DeviceId, MessageId
from whisperkit.ratchet import (
    CiphertextMessage,
    Device,
    MessageType,
    SenderKeyDistributionMessage,
    distribution_id,
)
from whisperkit.sync.chat import chat_of, chat_spans
from whisperkit.sync.codec import decode_change
from whisperkit.sync.frames import EntryKind, StoredRow
from whisperkit.sync.mirror import Arrived

__all__ = ["Opened", "Opener", "Recorded"]


class Recorded(NamedTuple):
    """A record was written: a new one, or one that replaces another in place."""

    record: Record
    is_new: bool


Opened: TypeAlias = Recorded | Notice


class Opener:
    """Opens what arrived.

    Args:
        ratchet: This device's.
        sealer: For gifts of keys.
        trust: Whose keys are which.
        unread: What could not be read.
        wall_ms: The clock.
        mint: Makes message ids for asides.
        prekey_used: Told when a first message used up one of this device's prekeys.
    """

    def __init__(
        self,
        ratchet: Device,
        sealer: Sealer,
        trust: Trust,
        unread: Unread,
        *,
        wall_ms: Callable[[], int],
        mint: Callable[[], MessageId],
        prekey_used: Callable[[Turn], Awaitable[None]],
    ) -> None:
        self._ratchet = ratchet
        self._sealer = sealer
        self._trust = trust
        self._unread = unread
        self._wall_ms = wall_ms
        self._mint = mint
        self._prekey_used = prekey_used

    async def open(self, turn: Turn, arrived: Arrived) -> list[Opened]:
        """Decrypt one row and write down what it says."""
        conv, row = arrived
        match row.kind:
            case EntryKind.ASIDE:
                return await self._aside(turn, row)
            case EntryKind.ROSTER:
                await self._roster(turn, conv, row)
                return [self._record(turn, conv, row, Note.ROSTER, row.shared or b"")]
            case EntryKind.MESSAGE | EntryKind.PLACEHOLDER:
                return await self._message(turn, conv, row)
            case _:
                return []

    async def _message(self, turn: Turn, conv: ConversationId, row: StoredRow) -> list[Opened]:
        events: list[Opened] = []
        try:
            content = await self._decrypt(turn, conv, row, events)
        except (NoSenderKeyError, UntrustedIdentityError):
            return [*events, *await self._unreadable(turn, conv, row, is_broken=False)]
        except (PeerError, ActionRequiredError):
            # Also one that counts as read before: what came twice was dropped by its id, so this is another
            # message under a used key, from a device that went on from an old copy of itself.
            return [*events, *await self._unreadable(turn, conv, row, is_broken=bool(row.own))]
        if content is None:
            return [*events, *await self._unreadable(turn, conv, row, is_broken=False)]
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
                content = unbind(plaintext, conv, row.message_id)
        if row.shared is not None:
            content = unbind(await self._open_shared(turn, row.sender, row.shared), conv, row.message_id)
        return content

    async def _open_own(self, turn: Turn, sender: DeviceId, data: bytes, events: list[Opened]) -> bytes:
        message = _ciphertext(data, MessageType.WHISPER, MessageType.PREKEY)
        rows = await turn.load(self._ratchet.records_for(sender, message))
        peer = self._ratchet.peer(rows, sender)
        try:
            opened = self._ratchet.decrypt(rows, message, sender=sender, wall_ms=self._wall_ms())
        except UntrustedIdentityError as error:
            accepted = self._ratchet.accept_identity(rows, error.found, remote=sender, wall_ms=self._wall_ms())
            # Anybody can write a key into a first message; it counts only if the message opens with it.
            trusting = {key: value for key, value in {**rows, **accepted.save}.items() if value is not None}
            opened = self._ratchet.decrypt(trusting, message, sender=sender, wall_ms=self._wall_ms())
            is_trusted, news = await self._trust.changed(turn, sender, error.found)
            events += news
            if not is_trusted:
                raise
        turn.save(opened.save)
        if peer is None:
            assert opened.identity_key is not None  # of a message between two devices it is known
            events += await self._trust.met(turn, sender, opened.identity_key)
        if opened.one_time_prekey is not None:
            await self._prekey_used(turn)
        return opened.plaintext

    async def _open_shared(self, turn: Turn, sender: DeviceId, data: bytes) -> bytes:
        message = _ciphertext(data, MessageType.SENDER_KEY)
        rows = await turn.load(self._ratchet.records_for_sender_key(message, sender=sender))
        opened = self._ratchet.group_decrypt(rows, message, sender=sender)
        turn.save(opened.save)
        return opened.plaintext

    async def _take_gift(self, turn: Turn, sender: DeviceId, gift: KeyGift) -> None:
        message = SenderKeyDistributionMessage.decode(gift.distribution)
        if message.distribution_id != distribution_id(gift.conv):
            raise InvalidMessageError("a sender key came for another conversation than it says")
        rows = await turn.load(self._ratchet.records_for_sender_key(message, sender=sender))
        turn.save(self._ratchet.process_distribution(rows, message, sender=sender).save)

    # ---- what could not be read ----

    async def _unreadable(self, turn: Turn, conv: ConversationId, row: StoredRow, *, is_broken: bool) -> list[Opened]:
        record = self._record(turn, conv, row, Note.UNREADABLE, b"")
        if row.sender is not None:
            await self._unread.note(turn, conv, row.message_id, row.sender, is_broken=is_broken)
        return [record]

    async def _roster(self, turn: Turn, conv: ConversationId, row: StoredRow) -> None:
        """Work in who came and went: after somebody went, the next message is under a new key."""
        try:
            change = decode_change(row.shared or b"")
        except PeerError:
            return  # the server wrote it; what cannot be read must not stop the inbox
        note_change(turn, conv, row.conv_seq, change)
        if change.removed:
            await self._sealer.renew(turn, conv)

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
                case AskAgain():
                    await self._unread.ask_all(turn, sender)
                case _:
                    pass
        except UntrustedIdentityError:
            pass  # a person has to decide first; then both sides ask again
        except (PeerError, ActionRequiredError):
            # Only of a device that this one has met: strangers could make it open sessions without end.
            rows = await turn.load(self._ratchet.records_for(sender))
            if self._ratchet.peer(rows, sender) is not None:
                await self._unread.invite(turn, sender)
        return events

    async def _send_again(self, turn: Turn, asking: DeviceId, request: ResendRequest) -> None:
        """Give a message of this device to one that could not read it, with the key it lacks."""
        found = await history.find(turn, request.conv, request.message_id, self._ratchet.device_id)
        if found is None or not found[1].content or not found[1].seq:
            return
        chat = chat_of(request.conv, await turn.load(chat_spans(request.conv)))
        is_for_them = chat.is_pulled or asking.user in await audience_of(turn, chat, found[1].seq)
        if not is_for_them or (chat.is_pulled and not await is_let_in(turn, chat, asking.user)):
            return
        answers = [encode_content(Resend(request.conv, request.message_id, found[1].content))]
        is_group = chat.membership is not None and not is_pairwise(chat.membership)
        if is_group and await is_let_in(turn, chat, asking.user):
            # The key reads from here on: nothing in it is for those who have gone.
            answers.insert(0, await self._sealer.gift(turn, request.conv))
        for content in answers:
            await put_draft(turn, DraftKind.ASIDE, self._mint(), to=asking, content=content)

    async def _replace(self, turn: Turn, sender: DeviceId, answer: Resend) -> list[Opened]:
        """Put what came again in the place of what could not be read."""
        found = await history.find(turn, answer.conv, answer.message_id, sender)
        if found is None or found[1].note is not Note.UNREADABLE:
            return []
        decode_content(answer.content)
        record = found[1]._replace(note=Note.MESSAGE, content=answer.content)
        history.write(turn, record)
        self._unread.found(turn, record.message_id, sender)
        return [Recorded(record, is_new=False)]

    def _record(self, turn: Turn, conv: ConversationId, row: StoredRow, note: Note, content: bytes) -> Recorded:
        record = Record(conv, row.message_id, row.sender, row.conv_seq, row.at_ms, note, content)
        history.write(turn, record)
        return Recorded(record, is_new=True)


def _ciphertext(data: bytes, *kinds: MessageType) -> CiphertextMessage:
    """Read the form in which a ciphertext travels, if it is of a kind that has its place there."""
    message = CiphertextMessage.of(data[0] if data else 0, data[1:])
    if message.type not in kinds:
        raise InvalidMessageError(f"a message of type {message.type.name} has no place here")
    return message
