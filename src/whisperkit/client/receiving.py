"""What comes over the link: each read is decrypted, written into the history and acknowledged in one commit.

That commit carries the cursor, the ratchet records, the history rows and what became of the messages sent; what
follows from it, acknowledgements first, leaves only afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from whisperkit.client import history
from whisperkit.client.arrivals import put_arrival
from whisperkit.client.audience import note_change, note_members, what_changed
from whisperkit.client.drafts import DraftKind, put_draft
from whisperkit.client.events import (
    ConnectionState,
    Event,
    PresenceChanged,
    Recorded,
    TicksMoved,
    TypingHeard,
)
from whisperkit.client.greeting import Greeter
from whisperkit.client.history import Note, Record
from whisperkit.client.opening import Opener
from whisperkit.client.people import People
from whisperkit.client.records import Turn
from whisperkit.client.sealing import Sealer
from whisperkit.client.standing import Follows, Standing, members_of
from whisperkit.client.ticks import raise_marks
from whisperkit.errors import LinkClosedError
from whisperkit.ids import ConversationId, ConversationSeq, UserId
from whisperkit.partitions import Row
from whisperkit.sync import frames, mirror, outbox
from whisperkit.sync.chat import chat_of, chat_spans
from whisperkit.sync.codec import decode_change, encode_change
from whisperkit.sync.frames import EntryKind, Frame, PresenceState
from whisperkit.sync.mirror import LostTail, Phase, Synced
from whisperkit.sync.outbox import Outbox

__all__ = ["Receiver"]


class Receiver:
    """Takes what comes.

    Args:
        standing: What it shares with the rest of the client.
        people: Forgets lists of devices that turned out stale, and looks at those of whoever is new.
        opener: Decrypts.
        sealer: Renews this device's sender keys.
        greeter: Answers the challenge.
        keeps_unhandled: Whether messages of others wait for whoever handles them.
    """

    def __init__(
        self,
        standing: Standing,
        people: People,
        opener: Opener,
        sealer: Sealer,
        greeter: Greeter,
        *,
        keeps_unhandled: bool,
    ) -> None:
        self.presences: dict[UserId, PresenceChanged] = {}
        self._at = standing
        self._people = people
        self._opener = opener
        self._sealer = sealer
        self._greeter = greeter
        self._keeps_unhandled = keeps_unhandled

    async def take(self, batch: Sequence[Frame]) -> None:
        """Take what one read brought: one commit, then the answers.

        Raises:
            LinkClosedError: What came shows that the device has to connect again; it is saved.
        """
        for frame in batch:
            if isinstance(frame, frames.Challenge):
                await self._greeter.greet(frame)
            elif isinstance(frame, frames.Registered):
                await self._greeter.hello()
        synced, follows = await self._at.settle(partial(self._save_batch, batch))
        self._at.take_over(synced.state)
        self._at.say(synced.send)
        self._at.take_on(follows)
        self._after(batch)
        if synced.reconnect and self._at.session is not None:
            raise LinkClosedError(reason="LOST", retry_after_s=0.0)

    async def _save_batch(self, batch: Sequence[Frame], turn: Turn, follows: Follows) -> Synced:
        events, boxes = follows.events, follows.boxes
        # First: what comes of a change of this device, as a MODE row, may be in the same read behind its SENT.
        for frame in batch:
            if isinstance(frame, frames.Sent):
                self._at.heard_of[frame.conv] = self._at.runtime.now()
                events += await self._sent(turn, frame, boxes)
        rows = await turn.load(mirror.rows_for(self._at.mirror, batch))
        synced = mirror.receive(self._at.mirror, batch, rows, now=self._at.runtime.now())
        for conv, chat in synced.chats.items():
            before = chat_of(conv, rows).membership
            if chat.membership is None and before is not None:
                note_members(turn, conv, before.members)
        self._at.put(turn, synced)
        for arrived in synced.arrived:
            events += await self._opener.open(turn, arrived)
        for lost in synced.lost:
            await self._send_again(turn, lost)
        if self._keeps_unhandled:
            await self._queue(turn, events)
        for frame in batch:
            match frame:
                case frames.Refused():
                    self._at.heard_of[frame.conv] = self._at.runtime.now()
                    events += await self._refused(turn, frame, boxes)
                case frames.Mark(conv, user, kind, upto):
                    if await raise_marks(turn, conv, user, kind, upto):
                        events.append(TicksMoved(conv))
                case _:
                    pass
        return synced

    def _after(self, batch: Sequence[Frame]) -> None:
        """What follows once the batch is saved."""
        for frame in batch:
            match frame:
                case frames.Welcome():
                    self._greeter.welcomed()
                case frames.Presence(user, state, last_seen_ms, is_certain):
                    self.presences[user] = PresenceChanged(user, PresenceState(state), last_seen_ms, is_certain)
                    self._at.tell(self.presences[user])
                case frames.Typing(conv, user):
                    self._at.tell(TypingHeard(conv, user))
                case _:
                    pass
        if self._people.has_heard_unlisted:
            self._greeter.keep_up()
        if self._at.mirror.phase is Phase.LIVE:
            self._at.now_is(ConnectionState.LIVE)
        elif self._at.session is not None and self._at.session.is_established:
            self._at.now_is(ConnectionState.CATCHING_UP)
        self._at.wake()

    async def _seal_again(self, turn: Turn, before: Outbox, after: Outbox, *, first: int) -> Outbox:
        """Let pending messages from a number on be encrypted afresh; until then they are held."""
        held = set(after.held)
        for send in after.pending:
            if send.kind is EntryKind.MESSAGE and send.outbox_seq >= first:
                held.add(send.outbox_seq)
                if send.outbox_seq not in before.held or first == 1:
                    await put_draft(turn, DraftKind.MESSAGE, send.message_id, conv=send.conv)
        return after._replace(held=frozenset(held))

    async def _send_again(self, turn: Turn, lost: LostTail) -> None:
        """The server has lost the end of a conversation: what this device had posted there becomes pending again."""
        span = history.above(lost.conv, lost.above)
        rows = await turn.load([span])
        for place in sorted(key for key in rows if span.start <= key < span.stop):
            record = history.read(Row(place, rows[place]))
            if record.sender != self._at.device:
                continue
            turn.delete([place])
            if record.note is Note.ROSTER:
                change = decode_change(record.content)
                await put_draft(turn, DraftKind.ROSTER, record.message_id, conv=lost.conv, change=change)
            else:
                draft = await put_draft(turn, DraftKind.MESSAGE, record.message_id, conv=lost.conv)
                history.write(turn, record._replace(seq=ConversationSeq(0)), order=draft.order)

    async def _queue(self, turn: Turn, events: Sequence[Event]) -> None:
        """Let messages of others wait for whoever handles them, in the order in which they could be read."""
        for event in events:
            if isinstance(event, Recorded) and event.record.what is not None:
                sender = event.record.sender
                if sender is not None and sender.user != self._at.device.user:
                    await put_arrival(turn, event.record)

    async def _sent(self, turn: Turn, sent: frames.Sent, boxes: dict[ConversationId, Outbox]) -> list[Event]:
        box = boxes.get(sent.conv) or self._at.box(sent.conv)
        send = box.find(sent.message_id)
        step = outbox.answered(box, sent)
        boxes[sent.conv] = step.state
        turn.put(step.put)
        turn.delete(step.delete)
        if send is None or not isinstance(step.answer, outbox.Answered):
            return []
        if send.change is not None and sent.conv_seq:
            if send.change.removed:
                await self._sealer.renew(turn, sent.conv)
            rows = await turn.load(chat_spans(sent.conv))
            membership = chat_of(sent.conv, rows).membership
            change = what_changed(send.change, membership)
            note_change(turn, sent.conv, sent.conv_seq, change)
            if membership is not None and self._at.device.user in send.change.removed:
                note_members(turn, sent.conv, membership.members)
            posted = mirror.posted(self._at.mirror, send, sent, rows, now=self._at.runtime.now())
            turn.put(posted.put)
            turn.delete(posted.delete)
            record = Record(
                sent.conv,
                sent.message_id,
                self._at.device,
                sent.conv_seq,
                sent.at_ms,
                Note.ROSTER,
                encode_change(change),
            )
            history.write(turn, record)
            return [Recorded(record, is_new=True)]
        found = await history.find(turn, sent.conv, sent.message_id, self._at.device)
        if found is None:
            return []
        place, record = found
        if sent.conv_seq:
            # One that was given up may have got through before its VOID.
            record = record._replace(seq=sent.conv_seq, at_ms=sent.at_ms or record.at_ms, failed="")
            history.forget_pending_place(turn, place)
            history.write(turn, record)
        return [Recorded(record, is_new=False)]

    async def _refused(self, turn: Turn, refused: frames.Refused, boxes: dict[ConversationId, Outbox]) -> list[Event]:
        box = boxes.get(refused.conv) or self._at.box(refused.conv)
        step = outbox.refused(box, refused)
        boxes[refused.conv] = step.state
        turn.put(step.put)
        turn.delete(step.delete)
        match step.answer:
            case outbox.EncryptAgain(send, why):
                self._people.forget_lists({*send.devices, *(send.own or {}), *why.missing, *why.extra})
                self._people.forget_users(await members_of(turn, refused.conv))
                # All that is behind it, too: a key that is given now would not open what was sealed before.
                boxes[refused.conv] = await self._seal_again(turn, box, step.state, first=send.outbox_seq)
            case outbox.Renumbered():
                # This device went on from an old copy of itself, so its ratchets did, too: what is pending is sealed
                # again, in new sessions and under a new sender key, and no key is used for two texts.
                for device in sorted({one for send in step.state.pending for one in send.own or {}}):
                    rows = await turn.load(self._at.ratchet.records_for(device))
                    turn.save(self._at.ratchet.archive_session(rows, remote=device).save)
                await self._sealer.renew(turn, refused.conv)
                boxes[refused.conv] = await self._seal_again(turn, box, step.state, first=1)
            case outbox.GaveUp(message_id, reason):
                words = reason.name.lower().replace("_", " ")
                record = await history.fail(turn, refused.conv, message_id, self._at.device, words)
                return [] if record is None else [Recorded(record, is_new=False)]
            case outbox.Wait(wait_ms):
                self._at.not_before[refused.conv] = self._at.runtime.now() + wait_ms / 1_000
            case _:
                pass
        return []
