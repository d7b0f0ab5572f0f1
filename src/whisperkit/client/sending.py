"""Sealing drafts and handing what is due to the link.

A message is durable as a draft at once; it is encrypted and numbered in one commit with the ratchet records, before
its first byte leaves, and repeated until it is answered.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

from whisperkit.client import history
from whisperkit.client.blobs import Uploads
from whisperkit.client.content import Attachment
from whisperkit.client.drafts import DRAFTS, Draft, DraftKind, read_draft
from whisperkit.client.events import Recorded
from whisperkit.client.history import Record
from whisperkit.client.people import People
from whisperkit.client.records import Turn
from whisperkit.client.sealing import Gifts, MissingSessionsError, SealedPost, Sealer, is_pairwise
from whisperkit.client.standing import FIRST_RETRY_S, Follows, Standing, load_chat
from whisperkit.errors import (
    ActionRequiredError,
    BlobGoneError,
    NoSuchUserError,
    StoreError,
    TransportError,
    UsageError,
)
from whisperkit.ids import ConversationId, DeviceId, MessageId, UserId
from whisperkit.partitions import Row
from whisperkit.sync import codec, frames, outbox
from whisperkit.sync.chat import Chat
from whisperkit.sync.frames import MAX_OWN_COPIES, EntryKind, RosterChange
from whisperkit.sync.mirror_state import has_welcome
from whisperkit.sync.outbox import MAX_IN_FLIGHT, Outbox

__all__ = ["Sender", "in_order"]

log = logging.getLogger("whisperkit.client")

LOOK_S: Final = 5.0
# Longer than a server that is busy takes to finish a row.
UNANSWERED_S: Final = 20.0
# As the server's refusal says it.
NO_SUCH_USER: Final = "no such user"
# Numbers grow when a post is numbered.
_ROOM_BYTES: Final = 64


class MembersMovedError(Exception):
    """Members came or went since they were looked at: who has gone must be given nothing any more."""


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
            await self._at.wait_due(self._next_look_s())
            try:
                await self._seal_all()
            except TransportError:
                await self._at.runtime.sleep(FIRST_RETRY_S)
            except StoreError:
                log.exception("the device's store failed; beginning again from what it holds")
                if not self._at.is_sure and self._at.session is not None:
                    await self._at.session.close()
                await self._at.runtime.sleep(FIRST_RETRY_S)

    def _next_look_s(self) -> float:
        now = self._at.runtime.now()
        waits = [at - now for at in self._at.not_before.values() if at > now]
        return min([LOOK_S, *waits])

    async def _seal_all(self) -> None:
        """First what is in conversations: asides wait for an answer each, and nobody waits for them."""
        await self._send_due()
        drafts = await self._at.records.read(_drafts)
        stuck: set[ConversationId] = set()
        for number, draft in enumerate(in_order(drafts, self._at.outboxes), start=1):
            if draft.kind is not DraftKind.ASIDE and draft.conv not in stuck and not await self._seal(draft):
                stuck.add(draft.conv)
            if number % MAX_IN_FLIGHT == 0:
                await self._send_due()  # what was answered meanwhile makes room, and need not wait for all the others
        await self._send_due()
        for draft in drafts:
            if draft.kind is DraftKind.ASIDE:
                await self._seal_aside(draft)

    async def _seal(self, draft: Draft) -> bool:
        """Seal one draft, if what it needs can be had. False: it waits, and what is behind it, too."""
        try:
            if draft.kind is DraftKind.ROSTER:
                await self._enqueue_roster(draft)
                return True
            return await self._seal_message(draft)
        except MembersMovedError:
            self._at.wake()
        except TransportError:
            pass
        except ActionRequiredError as error:
            log.warning("a draft waits", extra={"code": error.code})
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
                    await self._give_ahead(chat, devices, unreachable)
                await self._encrypt(draft, chat, devices, unreachable)
            except MissingSessionsError as missing:
                unreachable |= set(missing.devices) - await self._people.ensure_sessions(missing.devices)
            except NoSuchUserError as nobody:
                return await self._fail_for_nobody(draft, nobody.user)
            else:
                return True

    async def _give_ahead(self, chat: Chat, devices: Sequence[DeviceId], unreachable: Collection[DeviceId]) -> None:
        """Give this device's key to all but as many devices as the post itself can carry copies for."""

        async def lacking(turn: Turn) -> list[DeviceId]:
            found = await self._sealer.lacking(turn, chat.conv, devices)
            return [device for device in found if device not in unreachable]

        async def gifts_for(turn: Turn) -> Gifts | None:
            await _check_members(turn, chat)
            wanting = await lacking(turn)
            if len(wanting) <= MAX_OWN_COPIES:
                return None
            return await self._sealer.gifts(turn, chat.conv, wanting[:MAX_OWN_COPIES])

        while (gifts := await self._at.records.run(gifts_for)) is not None:
            message_id = self._at.mint()
            await self._at.ask(message_id, frames.Aside(message_id, gifts.own))
            await self._at.records.run(partial(self._sealer.note_given, conv=chat.conv, gifts=gifts))

    async def _without_members(self, draft: Draft) -> bool:
        """A conversation that this device is not in: one of two is made now, any other is not ours."""
        box = self._at.outboxes.get(draft.conv)
        if box is not None and any(send.change is not None for send in box.pending):
            return False
        other = await self._people.find_direct(draft.conv)
        if other is not None:
            if other != self._at.device.user and not await self._people.devices_of([other]):
                return await self._fail_for_nobody(draft, other)
            change = RosterChange((self._at.device.user, other))
            send = frames.Send(draft.conv, 1, 1, self._at.mint(), EntryKind.ROSTER, None, (), change, None, None)
            await self._enqueue(None, send)
            return False
        if (await self._at.records.read(partial(load_chat, conv=draft.conv))).membership is not None:
            raise MembersMovedError  # the answer to the change that made the group came since it was looked at
        return await self._fail_draft(draft, "not member")

    async def _fail_for_nobody(self, draft: Draft, user: UserId) -> bool:
        self._people.forget_users([user])  # who sends again, knows better: it is asked again at once
        return await self._fail_draft(draft, NO_SUCH_USER)

    async def _fail_draft(self, draft: Draft, reason: str) -> bool:
        """Give a message up. If it has a number already, no other message gets that; what is behind goes on."""

        async def fail(turn: Turn, follows: Follows) -> None:
            step = outbox.give_up(self._at.box(draft.conv), draft.message_id)
            if step.put:
                follows.boxes[draft.conv] = step.state
                turn.put(step.put)
            await self._fail(turn, draft.conv, draft.message_id, reason, follows)
            turn.delete([draft.key])

        await self._run(fail)
        return True

    async def _encrypt(
        self, draft: Draft, chat: Chat, devices: Sequence[DeviceId], unreachable: Collection[DeviceId]
    ) -> None:
        """Encrypt, number and save a message in one commit; or encrypt one afresh that was refused."""

        async def work(turn: Turn, follows: Follows) -> None:
            await _check_members(turn, chat)
            turn.delete([draft.key])
            found = await history.find(turn, draft.conv, draft.message_id, self._at.device)
            if found is None or found[1].failed or found[1].seq:
                return  # given up, or answered meanwhile
            box = self._at.box(draft.conv)
            old = box.find(draft.message_id)
            assert chat.membership is not None  # looked at by the caller
            sealed = await self._sealer.seal(
                turn,
                draft.conv,
                draft.message_id,
                found[1].content,
                chat.membership,
                devices,
                unreachable=unreachable,
                ungiven=(old.own or {}) if old is not None else (),
            )
            send = _send_of(draft, sealed)
            if len(codec.encode(send)) > codec.MAX_MESSAGE_BYTES - _ROOM_BYTES:
                await self._fail(turn, draft.conv, draft.message_id, "too large for so many devices", follows)
                return
            step = outbox.enqueue(box, send) if old is None else outbox.encrypted_again(box, send)
            follows.boxes[draft.conv] = step.state
            turn.put(step.put)

        await self._run(work)

    async def _run(self, work: Callable[[Turn, Follows], Awaitable[None]]) -> None:
        _, follows = await self._at.settle(work)
        self._at.take_on(follows)

    async def _fail(
        self, turn: Turn, conv: ConversationId, message_id: MessageId, reason: str, follows: Follows
    ) -> None:
        record = await history.fail(turn, conv, message_id, self._at.device, reason)
        if record is not None:
            follows.events.append(Recorded(record, is_new=False))

    async def _enqueue(self, draft: Draft | None, send: frames.Send) -> None:
        async def work(turn: Turn, follows: Follows) -> None:
            step = outbox.enqueue(self._at.box(send.conv), send)
            follows.boxes[send.conv] = step.state
            turn.put(step.put)
            if draft is not None:
                turn.delete([draft.key])

        await self._run(work)

    async def _send_due(self) -> None:
        """Hand what is due to the link; before a message that names an attachment, that is kept alive."""
        if not self._at.is_established or not has_welcome(self._at.mirror):
            return
        for conv in list(self._at.outboxes):
            if self._at.not_before.get(conv, 0.0) > self._at.runtime.now():
                continue
            try:
                for send in outbox.next_to_send(self._at.outboxes[conv]).answer:
                    await self._keep_attachment(send)
            except TransportError:
                continue  # the attachments' server is away: the others need not wait
            except UsageError:
                log.exception("an attachment cannot be sent")
                continue
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
        async def work(turn: Turn, follows: Follows) -> None:
            step = outbox.give_up(self._at.box(send.conv), send.message_id)
            follows.boxes[send.conv] = step.state
            turn.put(step.put)
            await self._fail(turn, send.conv, send.message_id, "the attachment is gone", follows)

        await self._run(work)


async def _drafts(turn: Turn) -> list[Draft]:
    rows = await turn.load([DRAFTS])
    return [read_draft(Row(key, rows[key])) for key in sorted(rows) if key.startswith(DRAFTS.start)]


def in_order(drafts: Sequence[Draft], outboxes: Mapping[ConversationId, Outbox]) -> list[Draft]:
    """Drafts in the order in which they are sealed: what was refused and has its number comes before what has none.

    A key that is given in one message opens what was sealed after it.
    """

    def is_unnumbered(draft: Draft) -> bool:
        box = outboxes.get(draft.conv)
        return box is None or box.find(draft.message_id) is None

    return sorted(drafts, key=is_unnumbered)


async def _check_members(turn: Turn, chat: Chat) -> None:
    if (await load_chat(turn, chat.conv)).membership != chat.membership:
        raise MembersMovedError


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
