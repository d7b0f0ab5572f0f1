"""What a phone shows of its conversation: it listens, and tells the page of what is different."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from examples.chat.lines import last_seen
from examples.lab.bubbles import Bubbles, Json, message_name
from examples.lab.counter import Counter
from examples.tui.glyphs import GLYPHS
from whisperkit.client import Client
from whisperkit.client.events import (
    ConnectionChanged,
    ConnectionState,
    Event,
    EventsLost,
    IdentityChanged,
    Recorded,
    TicksMoved,
    TypingHeard,
)
from whisperkit.client.history import Note, Record
from whisperkit.errors import NoSessionError, WhisperError
from whisperkit.ids import ConversationId, DeviceId, MessageId, UserId

__all__ = ["Hearing"]

TYPING_S: Final = 5.0
# How often is looked at what time alone changes: who has stopped typing, how long ago somebody was seen.
_LOOK_S: Final = 1.0
_TOLD_EVERY_S: Final = 0.05
# A tick that was lost on its way is asked for: this conversation is always before somebody's eyes.
_ASK_TICKS_S: Final = 5.0
_PAGE: Final = 500
_WORDS: Final = {
    ConnectionState.LIVE: "live",
    ConnectionState.CATCHING_UP: "catching up",
    ConnectionState.OFFLINE: "offline",
    ConnectionState.REPLACED: "replaced by another connection",
    ConnectionState.REFUSED: "refused",
}
_STATES: Final = {
    ConnectionState.LIVE: "live",
    ConnectionState.CATCHING_UP: "catching_up",
    ConnectionState.OFFLINE: "offline",
    ConnectionState.REPLACED: "replaced",
    ConnectionState.REFUSED: "replaced",
}


class Hearing:
    """Listens.

    Args:
        client: The device.
        conv: The conversation.
        phone: Its number.
        users: The two who are in it, by the numbers of their phones.
        names: What they are called.
        counter: Told of what is sent and shown.
        tell: Tells the page.

    Attributes:
        bubbles: The rows.
        in_the_air: Whether the phone is off the net because somebody wants it so.
    """

    def __init__(
        self,
        client: Client,
        conv: ConversationId,
        *,
        phone: int,
        users: tuple[UserId, ...],
        names: tuple[str, ...],
        counter: Counter,
        tell: Callable[[Json], None],
    ) -> None:
        self.in_the_air = False
        self._client = client
        self._conv = conv
        self._phone = phone
        self._users = users
        self._names = names
        self._other = DeviceId(users[1 - phone], 1)
        self._counter = counter
        self._tell = tell
        self.bubbles = Bubbles(client, conv, phone=phone, who=self._who, other=names[1 - phone], wall_ms=_wall_ms)
        self._events = client.events()
        self._is_hearing = False
        self._stale = asyncio.Event()
        self._by_seq: dict[int, str] = {}
        self._typing_until = 0.0
        self._are_ticks_stale = True
        self._asked_ticks_at = 0.0
        self._changes = 0
        self._digits = ""
        self._told: Json = {}

    def _who(self, user: UserId) -> str:
        if user == self._users[self._phone]:
            return "you"
        return self._names[self._users.index(user)] if user in self._users else "somebody"

    # ---- listening ----

    async def run(self) -> None:
        """Listen, and tell, for ever."""
        await self._look_at_all()
        await self._client.open_chat(self._conv)
        self._client.watch([self._other.user])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_telling())
            async for event in self._events:
                self._is_hearing = True
                await self._hear(event)
                self._is_hearing = False

    @property
    def has_heard_all(self) -> bool:
        """Whether all that happened to the device is shown."""
        return not self._is_hearing and not len(self._events)

    async def _hear(self, event: Event) -> None:
        match event:
            case Recorded(record, is_new) if record.conv == self._conv:
                await self._record(record, is_new=is_new)
            case TicksMoved():
                self._are_ticks_stale = True
            case TypingHeard(_, user) if user == self._other.user:
                self._typing_until = time.monotonic() + TYPING_S
            case ConnectionChanged():
                self._typing_until = 0.0  # whoever was typing may have stopped unheard
            case IdentityChanged(device) if device == self._other:
                self._identity_changed(event)
                await self._client.noticed(event)
            case EventsLost():
                await self._look_at_all()
            case _:
                pass
        self.look_again()

    async def _look_at_all(self) -> None:
        """Take in what is in the history and was not heard of."""
        before: Record | None = None
        while True:
            found = await self._client.history(self._conv, before=before, limit=_PAGE)
            for record in found:
                if self.bubbles.records.get(message_name(record.message_id)) != record:
                    await self._record(record, is_new=False)
            before = next((record for record in found if record.seq), None)
            if len(found) < _PAGE or before is None:
                break
        self._are_ticks_stale = True

    async def _record(self, record: Record, *, is_new: bool) -> None:
        name = message_name(record.message_id)
        is_own = record.note is Note.MESSAGE and record.sender == self._client.device
        known = self.bubbles.records.get(name)
        self.bubbles.take(record)
        if record.seq:
            self._by_seq[record.seq] = name
        if is_own and record.seq and (known is None or not known.seq):
            audience = (await self._client.reached_by(self._conv, record.message_id)).audience
            readers = [number for number, user in enumerate(self._users) if user in audience]
            self._counter.acknowledge(name, record.seq, readers)
            if not readers:
                self.bubbles.settled(name)
        elif record.note is Note.MESSAGE and not is_own:
            self._counter.apply(self._phone, name, record.seq, is_new=is_new)
            self._typing_until = 0.0
        elif record.note is Note.UNREADABLE:
            self._counter.seal(self._phone, name, record.seq)
        elif record.seq:
            self._counter.reach(self._phone, record.seq)
        # Only now: it may have come further meanwhile.
        if (row := self.bubbles.row(record)) is not None:
            self._tell(row)

    def _identity_changed(self, event: IdentityChanged) -> None:
        self._changes += 1
        self._digits = ""
        name = self._names[1 - self._phone]
        choice = (
            "You had compared the old one, so nothing is sent until you compare this one"
            if event.was_verified
            else "Compare it, if it matters"
        )
        self._tell(
            self.bubbles.notice(
                f"changed-{self._changes}",
                f"{GLYPHS.changed} {name} has a new safety number. Most of the time that is a new phone; it can be "
                f"somebody in between. {choice}",
            )
        )

    # ---- telling ----

    def look_again(self) -> None:
        """Something may be different now."""
        self._stale.set()

    def trust_moved(self) -> None:
        """The person has chosen what to do about a number."""
        self._digits = ""
        self.look_again()

    async def _keep_telling(self) -> None:
        while True:
            self._stale.clear()
            try:
                await self._look()
            except WhisperError as error:
                self._tell({"kind": "said", "text": f"{self._names[self._phone]}'s phone: {error}", "bad": True})
            # What happens in one go is told once: each look reads a dozen rows.
            await asyncio.sleep(_TOLD_EVERY_S)
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._stale.wait()
            except TimeoutError:
                pass

    async def _look(self) -> None:
        if self._are_ticks_stale:
            self._are_ticks_stale = False
            for row in await self.bubbles.settle():
                self._tell(row)
        if self.bubbles.is_unsettled and time.monotonic() - self._asked_ticks_at > _ASK_TICKS_S:
            self._asked_ticks_at = time.monotonic()
            await self._client.open_chat(self._conv)
        state = await self.state()
        if state != self._told:
            self._told = state
            self._tell(state)

    async def state(self) -> Json:
        """How the phone is: the part ``phone`` of what the page is told."""
        client = self._client
        chat = await client.chat(self._conv)
        unread = chat.progress.unread
        waiting = self.bubbles.waiting
        words = f"{GLYPHS.states[client.state]} {_WORDS[client.state]}"
        if client.state is ConnectionState.OFFLINE and waiting:
            words = f"{words}, {waiting} waiting"
        undecided = await client.undecided(self._other.user)
        return {
            "kind": "phone",
            "phone": self._phone,
            "state": _STATES[client.state],
            "words": words,
            "peer": {"name": self._names[1 - self._phone], "words": self._peer_words()},
            "flight": self.in_the_air,
            "waiting": waiting,
            "unread": len(unread),
            "divider": self._by_seq.get(unread[0]) if unread else None,
            "number": await self._number(),
            "verified": await client.is_verified(self._other),
            "changed": bool(undecided),
            "devices": 1,
            "removed": chat.membership is None,
        }

    def _peer_words(self) -> str:
        if self._client.state is not ConnectionState.LIVE:
            return ""  # nobody knows
        if self._typing_until > time.monotonic():
            return f"typing {GLYPHS.more}"
        seen = last_seen(self._client.presence(self._other.user), now_ms=_wall_ms())
        return "" if seen == "not known" else seen

    async def _number(self) -> str:
        """The safety number; thousands of hashes are in it, so it is kept until it may be another one."""
        if not self._digits:
            try:
                self._digits = (await self._client.safety_number(self._other)).digits
            except NoSessionError:
                return ""
        return self._digits

    def message(self, name: str) -> MessageId | None:
        """The message that the page calls so."""
        record = self.bubbles.records.get(name)
        return None if record is None else record.message_id


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
