"""Sealing drafts and handing what is due to the link.

A message is durable as a draft at once; it is encrypted and numbered in one commit with the ratchet records, before
its first byte leaves, and repeated until it is answered.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from whisperkit.client import history
from whisperkit.client.blobs import Uploads
from whisperkit.client.content import Attachment
from whisperkit.client.drafts import DRAFTS, Draft, DraftKind, read_draft
from whisperkit.client.events import Event, Recorded
from whisperkit.client.history import Record
from whisperkit.client.people import People
from whisperkit.client.records import Turn
from whisperkit.client.sealing import MissingSessionsError, SealedPost, Sealer, is_pairwise
from whisperkit.client.standing import Standing, load_chat
from whisperkit.errors import BlobGoneError, StoreError, TransportError, WhisperError
from whisperkit.ids import ConversationId, DeviceId, MessageId
from whisperkit.partitions import Row
from whisperkit.sync import codec, frames, outbox
from whisperkit.sync.chat import Chat
from whisperkit.sync.frames import MAX_OWN_COPIES, EntryKind, RosterChange
from whisperkit.sync.mirror_state import has_welcome
from whisperkit.sync.outbox import Outbox

__all__ = ["FIRST_RETRY_S", "Sender"]

log = logging.getLogger("whisperkit.client")

FIRST_RETRY_S: Final = 0.25
# Longer than a server that is busy takes to finish a row.
UNANSWERED_S: Final = 20.0
# Numbers grow when a post is numbered.
_ROOM_BYTES: Final = 64


class Sender:
    """Seals and sends.

    Args:
        standing: What it shares with the rest of the client.
        people: Lists of devices, and sessions.
        sealer: Encrypts.
        uploads: Keeps attachments alive.
    """

    def __init__(self, standing: Standing, people: People, sealer: Sealer, uploads: Uploads) -> None:
        self._at = standing
        self._people = people
        self._sealer = sealer
        self._uploads = uploads

    async def run(self) -> None:
        """Seal drafts and send what is due, for ever."""
        while True:
            await self._at.wait_due(5.0)
            try:
                await self._seal_all()
            except (TransportError, StoreError):
                await self._at.runtime.sleep(FIRST_RETRY_S)
            except WhisperError:
                log.exception("a draft could not be sealed")
                await self._at.runtime.sleep(FIRST_RETRY_S)

    async def _seal_all(self) -> None:
        """First what is in conversations: asides wait for an answer each, and nobody waits for them."""
        await self._send_due()
        drafts = await self._at.records.read(_drafts)
        stuck: set[ConversationId] = set()
        for draft in drafts:
            if draft.kind is not DraftKind.ASIDE and draft.conv not in stuck and not await self._seal(draft):
                stuck.add(draft.conv)
        await self._send_due()
        for draft in drafts:
            if draft.kind is DraftKind.ASIDE:
                await self._seal_aside(draft)

    async def _seal(self, draft: Draft) -> bool:
        """Seal one draft, if what it needs can be had. False: it waits, and what is behind it, too."""
        if draft.kind is DraftKind.ROSTER:
            await self._enqueue_roster(draft)
            return True
        try:
            return await self._seal_message(draft)
        except TransportError:
            return False

    async def _seal_aside(self, draft: Draft) -> None:
        assert draft.to is not None  # an aside is for a device
        if draft.is_fresh:
            await self._people.renew_session(draft.to)
        if not await self._people.ensure_sessions([draft.to]):
            # Nobody there to answer. What it owes stays noted, and is asked for when it is heard of again.
            await self._forget_draft(draft)
            return

        async def seal(turn: Turn) -> bytes:
            assert draft.to is not None  # as above
            return await self._sealer.copy(turn, draft.to, draft.content)

        own = await self._at.records.run(seal)
        await self._at.ask(draft.message_id, frames.Aside(draft.message_id, {draft.to: own}))
        await self._forget_draft(draft)

    async def _forget_draft(self, draft: Draft) -> None:
        async def forget(turn: Turn) -> None:
            turn.delete([draft.key])

        await self._at.records.run(forget)

    async def _enqueue_roster(self, draft: Draft) -> None:
        send = frames.Send(draft.conv, 1, 1, draft.message_id, EntryKind.ROSTER, None, (), draft.change, None, None)
        await self._enqueue(draft, send)

    async def _seal_message(self, draft: Draft) -> bool:
        chat = await self._at.records.read(partial(load_chat, conv=draft.conv))
        if chat.membership is None:
            return await self._without_members(draft)
        # A mega group's members are too many to be named, as they are to be known.
        users = () if chat.is_pulled else chat.membership.members
        devices = [device for device in await self._people.devices_of(users) if device != self._at.device]
        unreachable = {device for device in devices if self._people.is_unreachable(device)}
        while True:
            try:
                if not chat.is_pulled and not is_pairwise(chat.membership):
                    await self._give_ahead(draft.conv, devices, unreachable)
                await self._encrypt(draft, chat, devices, unreachable)
            except MissingSessionsError as missing:
                unreachable |= set(missing.devices) - await self._people.ensure_sessions(missing.devices)
            else:
                return True

    async def _give_ahead(
        self, conv: ConversationId, devices: Sequence[DeviceId], unreachable: Collection[DeviceId]
    ) -> None:
        """Give this device's key to all but as many devices as the post itself can carry copies for."""

        async def lacking(turn: Turn) -> list[DeviceId]:
            found = await self._sealer.lacking(turn, conv, devices)
            return [device for device in found if device not in unreachable]

        while len(wanting := await self._at.records.run(lacking)) > MAX_OWN_COPIES:
            some = wanting[:MAX_OWN_COPIES]
            gifts = await self._at.records.run(partial(self._sealer.gifts, conv=conv, devices=some))
            message_id = self._at.mint()
            await self._at.ask(message_id, frames.Aside(message_id, gifts.own))
            await self._at.records.run(partial(self._sealer.note_given, conv=conv, gifts=gifts))

    async def _without_members(self, draft: Draft) -> bool:
        """A conversation that this device is not in: one of two is made now, any other is not ours."""
        box = self._at.outboxes.get(draft.conv)
        if box is not None and any(send.change is not None for send in box.pending):
            return False
        other = await self._people.find_direct(draft.conv)
        if other is not None:
            change = RosterChange((self._at.device.user, other))
            send = frames.Send(draft.conv, 1, 1, self._at.mint(), EntryKind.ROSTER, None, (), change, None, None)
            await self._enqueue(None, send)
            return False
        events: list[Event] = []

        async def fail(turn: Turn) -> None:
            await self._fail(turn, draft.conv, draft.message_id, "not member", events)
            turn.delete([draft.key])

        await self._at.records.run(fail)
        for event in events:
            self._at.tell(event)
        return True

    async def _encrypt(
        self, draft: Draft, chat: Chat, devices: Sequence[DeviceId], unreachable: Collection[DeviceId]
    ) -> None:
        """Encrypt, number and save a message in one commit; or encrypt one afresh that was refused."""
        boxes: dict[ConversationId, Outbox] = {}
        membership = chat.membership
        assert membership is not None  # looked at by the caller
        events: list[Event] = []

        async def work(turn: Turn) -> None:
            boxes.clear()
            turn.delete([draft.key])
            found = await history.find(turn, draft.conv, draft.message_id, self._at.device)
            if found is None or found[1].failed or found[1].seq:
                return  # given up, or answered meanwhile
            box = self._at.outboxes.get(draft.conv, Outbox(draft.conv))
            old = box.find(draft.message_id)
            sealed = await self._sealer.seal(
                turn,
                draft.conv,
                draft.message_id,
                found[1].content,
                membership,
                devices,
                unreachable=unreachable,
                ungiven=(old.own or {}) if old is not None else (),
            )
            send = _send_of(draft, sealed)
            if len(codec.encode(send)) > codec.MAX_MESSAGE_BYTES - _ROOM_BYTES:
                await self._fail(turn, draft.conv, draft.message_id, "too large for so many devices", events)
                return
            step = outbox.enqueue(box, send) if old is None else outbox.encrypted_again(box, send)
            boxes[draft.conv] = step.state
            turn.put(step.put)

        await self._at.records.run(work)
        self._at.outboxes.update(boxes)
        for event in events:
            self._at.tell(event)

    async def _fail(
        self, turn: Turn, conv: ConversationId, message_id: MessageId, reason: str, events: list[Event]
    ) -> None:
        record = await history.fail(turn, conv, message_id, self._at.device, reason)
        events[:] = [] if record is None else [Recorded(record, is_new=False)]

    async def _enqueue(self, draft: Draft | None, send: frames.Send) -> None:
        boxes: dict[ConversationId, Outbox] = {}

        async def work(turn: Turn) -> None:
            step = outbox.enqueue(self._at.outboxes.get(send.conv, Outbox(send.conv)), send)
            boxes[send.conv] = step.state
            turn.put(step.put)
            if draft is not None:
                turn.delete([draft.key])

        await self._at.records.run(work)
        self._at.outboxes.update(boxes)

    async def _send_due(self) -> None:
        """Hand what is due to the link; before a message that names an attachment, that is kept alive."""
        if not self._at.is_established or not has_welcome(self._at.mirror):
            return
        for conv in list(self._at.outboxes):
            try:
                for send in outbox.next_to_send(self._at.outboxes[conv]).answer:
                    await self._keep_attachment(send)
            except TransportError:
                continue  # the attachments' server is away: the others need not wait
            # Answers may have come meanwhile, or the link have gone: what is due is decided without a wait.
            if not self._at.is_established:
                return
            step = outbox.next_to_send(self._at.outboxes[conv])
            self._at.outboxes[conv] = step.state
            if step.answer:
                self._at.heard_of[conv] = self._at.runtime.now()
                self._at.say(step.answer)

    def repeat_unanswered(self) -> None:
        """Send again what has no answer for long: a frame may be lost though its link lives."""
        oldest = self._at.runtime.now() - UNANSWERED_S
        for conv, box in self._at.outboxes.items():
            if box.in_flight and self._at.heard_of.get(conv, 0.0) < oldest:
                self._at.outboxes[conv] = box._replace(sent_upto=0, in_flight=frozenset())
                self._at.wake()

    async def _keep_attachment(self, send: frames.Send) -> None:
        """Keep what a message names alive; if it is gone, the message is given up: upload it again."""

        async def look(turn: Turn) -> Record | None:
            found = await history.find(turn, send.conv, send.message_id, self._at.device)
            return None if found is None else found[1]

        record = await self._at.records.read(look)
        content = None if record is None else record.what
        if not isinstance(content, Attachment) or send.kind is not EntryKind.MESSAGE:
            return
        try:
            await self._uploads.keep(content.blob)
        except BlobGoneError:
            await self._give_up(send)

    async def _give_up(self, send: frames.Send) -> None:
        boxes: dict[ConversationId, Outbox] = {}
        events: list[Event] = []

        async def work(turn: Turn) -> None:
            step = outbox.give_up(self._at.outboxes[send.conv], send.message_id)
            boxes[send.conv] = step.state
            turn.put(step.put)
            await self._fail(turn, send.conv, send.message_id, "the attachment is gone", events)

        await self._at.records.run(work)
        self._at.outboxes.update(boxes)
        for event in events:
            self._at.tell(event)


async def _drafts(turn: Turn) -> list[Draft]:
    rows = await turn.load([DRAFTS])
    return [read_draft(Row(key, rows[key])) for key in sorted(rows) if key.startswith(DRAFTS.start)]


def _send_of(draft: Draft, sealed: SealedPost) -> frames.Send:
    return frames.Send(
        draft.conv,
        1,
        1,
        draft.message_id,
        EntryKind.MESSAGE,
        sealed.if_roster,
        sealed.devices,
        None,
        sealed.shared,
        sealed.own,
    )
