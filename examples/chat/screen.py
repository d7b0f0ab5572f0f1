"""What a plain chat shows: each event as one line, when it happens, and nothing is drawn twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from examples.chat.lines import clock, own_line, what_it_says
from examples.chat.names import Names, group_label
from whisperkit.client import Client
from whisperkit.client.events import (
    ConnectionChanged,
    ConnectionState,
    DeviceLinked,
    Event,
    EventsLost,
    IdentityChanged,
    Notice,
    Recorded,
)
from whisperkit.client.history import Note, Record
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, UserId

__all__ = ["Screen"]

# Catching up is told only when it takes longer: most of the time it is over before it could be read.
_SLOW_S: Final = 1.0


class Screen:
    """Shows what happens.

    Args:
        client: The device.
        names: Who is called what.
        say: Shows a line.
        wall_ms: The clock.
        columns: How much room there is for a code to be scanned; 0 where none can be drawn.

    Attributes:
        here: The open conversation.
        changed: Devices that have another identity key than before, as they were told of.
        is_showing: An event was heard of and is being shown.
        is_over: The server does not let this device in, and never has: there is nothing to stay for.
    """

    def __init__(
        self,
        client: Client,
        names: Names,
        *,
        say: Callable[[str], None],
        wall_ms: Callable[[], int],
        columns: Callable[[], int] = lambda: 0,
    ) -> None:
        self.here: ConversationId | None = None
        self.changed: dict[DeviceId, IdentityChanged] = {}
        self.is_over = False
        self.is_showing = False
        self.say = say
        self.wall_ms = wall_ms
        self.columns = columns
        self.offline_since_ms: int | None = None
        self.retry_in_s: float | None = None
        self._client = client
        self._names = names
        self._others: dict[ConversationId, UserId] = {}
        self._shown: dict[ConversationId, ConversationSeq] = {}
        self._is_slow = False
        # From the start: what comes before anybody listens is kept.
        self._events = client.events()

    async def listen(self) -> None:
        """Show what happens, until the device is refused for good."""
        while not self.is_over:
            may_be_slow = self._client.state is ConnectionState.CATCHING_UP and not self._is_slow
            event = await self._events.get(timeout_s=_SLOW_S if may_be_slow else None)
            if event is not None:
                self.is_showing = True
                await self.hear(event)
                self.is_showing = False
            elif self._client.state is ConnectionState.CATCHING_UP:
                self._is_slow = True
                self.say("◐ catching up")

    @property
    def is_hearing(self) -> bool:
        """Whether more has happened than was heard of."""
        return bool(len(self._events))

    async def hear(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Recorded(record, is_new):
                await self._recorded(record, is_new=is_new)
            case ConnectionChanged(state, retry_in_s):
                self._connection(state, retry_in_s)
            case DeviceLinked() | IdentityChanged():
                await self._notice(event)
            case EventsLost():
                self.say("! too much at once: some of it was not shown; /history shows the rest")
                for notice in self._client.notices:
                    await self._notice(notice)
            case _:
                pass  # ticks, presence and typing are shown when they are asked for

    # ---- conversations ----

    def opened(self) -> ConversationId:
        """The open conversation.

        Raises:
            ValueError: None is.
        """
        if self.here is None:
            raise ValueError("to whom? /to NAME opens a conversation")
        return self.here

    async def members(self) -> tuple[UserId, ...]:
        """Who is in the open conversation.

        Raises:
            ValueError: None is open, or this user is not in it.
        """
        membership = (await self._client.chat(self.opened())).membership
        if membership is not None:
            return membership.members
        other = await self.other_in(self.opened())
        if other is None:
            raise ValueError("you are not in this group")
        return (other, self._client.device.user)

    async def other_in(self, conv: ConversationId) -> UserId | None:
        """The other one in a conversation of two; `None` for a group."""
        if conv not in self._others:
            membership = (await self._client.chat(conv)).membership
            self.note_people(conv, membership.members if membership is not None else ())
        return self._others.get(conv)

    def note_people(self, conv: ConversationId, users: tuple[UserId, ...]) -> None:
        """These users are, or may be, in a conversation: one of two is known by that."""
        own = self._client.device.user
        for user in users[:2]:
            if user != own and conv == ConversationId.direct(own, user):
                self._others[conv] = user

    async def place_of(self, conv: ConversationId) -> str:
        """What a conversation is called here: the name of the other one, or "group" and its label."""
        other = await self.other_in(conv)
        return f"group {group_label(conv)}" if other is None else self._names.name_of(other)

    async def mark_of(self, user: UserId | None) -> str:
        """What stands behind the name of somebody with whom all safety numbers were compared."""
        return ", ✔ verified" if user is not None and await self._client.are_verified(user) else ""

    async def from_whom(self, sender: DeviceId | None, conv: ConversationId) -> str:
        """Who says something, and where if that does not follow."""
        name = "the server" if sender is None else self._names.name_of(sender.user)
        place = await self.place_of(conv)
        is_own = sender is not None and sender.user == self._client.device.user
        if await self.other_in(conv) is None:
            return f"{name} in {place}"
        return f"{name} to {place}" if is_own else name

    async def show_history(self, conv: ConversationId, limit: int) -> None:
        """Show the last records of a conversation, with a line where the unread ones begin."""
        progress = (await self._client.chat(conv)).progress
        is_divided = not progress.unread
        for record in await self._client.history(conv, limit=limit):
            if not is_divided and record.seq >= progress.unread[0]:
                self.say(f"--- {len(progress.unread)} unread ---")
                is_divided = True
            await self.show(record)

    async def show(self, record: Record) -> bool:
        """Show a record; false if there is nothing to show of it."""
        if record.sender is not None:
            self.note_people(record.conv, (record.sender.user,))
        other = await self.other_in(record.conv)
        words = what_it_says(record, self._names.name_of)
        if words is None or (record.note is Note.ROSTER and other is not None):
            return False
        at = clock(record.at_ms, now_ms=self.wall_ms())
        place = await self.place_of(record.conv)
        if record.note is Note.ROSTER:
            self.say(f"{at} {place}: {words}")
        elif record.sender is not None and record.sender.user == self._client.device.user:
            to = "" if record.conv == self.here else f" {place}" if other is None else f" to {place}"
            self.say(own_line(record, words, to=to, at=at))
        else:
            self.say(f"{at} {await self.from_whom(record.sender, record.conv)}: {words}")
        self._shown[record.conv] = max(self._shown.get(record.conv, ConversationSeq(0)), record.seq)
        return True

    async def mark_read(self, conv: ConversationId) -> None:
        """Say that the person has read what was shown of a conversation."""
        if shown := self._shown.get(conv):
            await self._client.mark_read(conv, shown)

    # ---- events ----

    async def _recorded(self, record: Record, *, is_new: bool) -> None:
        is_waiting = record.sender == self._client.device and not record.seq and not record.failed
        if is_waiting and self._client.state is ConnectionState.LIVE:
            return  # its SENT will be here before this could be read
        await self.show(record)

    def _connection(self, state: ConnectionState, retry_in_s: float | None) -> None:
        self.retry_in_s = retry_in_s
        match state:
            case ConnectionState.LIVE:
                self.offline_since_ms = None
                self._is_slow = False
                self.say("● live")
            case ConnectionState.OFFLINE:
                self._offline(retry_in_s)
            case ConnectionState.REPLACED:
                self.say("■ replaced by another connection of this device. /connect takes it back")
            case ConnectionState.REFUSED:
                self._refused()
            case _:
                pass  # see `listen`

    def _offline(self, retry_in_s: float | None) -> None:
        """Once, not at every attempt."""
        if self.offline_since_ms is None and retry_in_s is not None:
            self.offline_since_ms = self.wall_ms()
            if not self.is_waiting_for_link:
                self.say("○ offline, trying again by itself; what you write waits")

    def _refused(self) -> None:
        if self._client.cursor is None:
            self.is_over = True
        else:
            self.say("■ refused: this device was taken out of the account; what it has can still be read")

    @property
    def is_waiting_for_link(self) -> bool:
        """Whether this device has to be linked first."""
        return self._client.device.number > 1 and self._client.cursor is None

    # ---- devices ----

    async def _notice(self, notice: Notice) -> None:
        """Show it, once: what was shown is not told again."""
        if not any(type(one) is type(notice) and one == notice for one in self._client.notices):
            return
        match notice:
            case DeviceLinked():
                self.say(self._linked(notice))
            case IdentityChanged(device):
                self.changed[device] = notice
                self.say(self._changed(notice))
        await self._client.noticed(notice)

    def _linked(self, notice: DeviceLinked) -> str:
        user, number = notice.device.user, notice.device.number
        if user == self._client.device.user:
            return (
                f"! you have a new device ({self._names.own}.{number}), which reads what you write and what is written "
                f"to you. If you did not link it, somebody got into your account: /unlink {number} puts it out"
            )
        name = self._names.name_of(user)
        return (
            f"! {name} has a new device ({name}.{number}). Most of the time that is one that {name} linked; "
            f"it can be somebody in between. /verify {name} shows its safety number, to be compared"
            + (f"; until it is, {name} is not verified any more" if notice.was_verified else "")
        )

    def _changed(self, notice: IdentityChanged) -> str:
        user, number = notice.device.user, notice.device.number
        is_own = user == self._client.device.user
        name = self._names.own if is_own else self._names.name_of(user)
        whose = (
            f"your device {name}.{number} has a new safety number. "
            if is_own
            else (f"{name} has a new safety number ({name}.{number}). ")
        )
        return (
            f"! {whose}"
            "Most of the time that is a new phone, or the program set up anew; it can be somebody in between. "
            + (
                f"You had compared the old one, so {name} is not verified any more, "
                f"and nothing is sent to it until you type /accept {name}"
                if notice.was_verified
                else f"/verify {name} shows it, to be compared"
            )
        )
