"""What the screen shows beside the open conversation: the list of conversations, the connection, who is typing.

It stands where the plain client has its `Screen`, so the commands of the plain client work here, too: what they say
is collected, and what happens is handed on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from examples.chat.lines import last_seen
from examples.chat.names import Names, group_label
from examples.chat.screen import Screen
from examples.tui.feed import Changed, Feed
from examples.tui.glyphs import Glyphs
from examples.tui.keys import KeyNames
from examples.tui.timeline import Timeline
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
    TypingHeard,
)
from whisperkit.client.history import Record
from whisperkit.errors import TransportError
from whisperkit.ids import ConversationId, DeviceId, UserId
from whisperkit.sync.chat import Chat

__all__ = ["ChatLine", "Desk"]

TYPING_MS: Final = 5_000
# Of the end of a conversation, kept for what is said of it in the list: what was last said, what waits, what failed.
_TAIL: Final = 30
_MAX_TITLE_NAMES: Final = 3
# Members whose keys are looked at when a conversation is opened.
MAX_LOOKED_AT: Final = 50


class ChatLine(NamedTuple):
    """A conversation in the list.

    Attributes:
        conv: Which one.
        title: What it is called.
        at_ms: When something was last said there.
        last: What that was.
        badge: How many messages wait to be read.
        failed: How many were not sent.
        waiting: How many wait to be sent.
        is_changed: Somebody there has another safety number, and the person has not chosen yet.
    """

    conv: ConversationId
    title: str
    at_ms: int
    last: str
    badge: int
    failed: int
    waiting: int
    is_changed: bool


class Desk(Screen):
    """Keeps what is shown.

    Args:
        client: The device.
        names: Who is called what.
        glyphs: The marks.
        feed: Puts records in words.
        wall_ms: The clock.
        key: Which key does what.

    Attributes:
        chats: The conversations, the last one first.
        said: What a command said.
        linked: New devices of people, of which the person has been told, or will be.
        devices: How many devices this user has; 0 until it is known.
        on_event: Told of what happens, after it was noted here.
    """

    def __init__(
        self, client: Client, names: Names, *, glyphs: Glyphs, feed: Feed, wall_ms: Callable[[], int], key: KeyNames
    ) -> None:
        self.said: list[str] = []
        super().__init__(client, names, say=self.said.append, wall_ms=wall_ms)
        self.devices = 0
        self.linked: dict[DeviceId, DeviceLinked] = {}
        self.on_event: Callable[[Event], Awaitable[None]] | None = None
        self._glyphs = glyphs
        self._feed = feed
        self._key = key
        self._lines: dict[ConversationId, ChatLine] = {}
        # As they were when they were looked at last, and what was recorded since.
        self._chats: dict[ConversationId, Chat] = {}
        self._tails: dict[ConversationId, Timeline] = {}
        self._typing: dict[tuple[ConversationId, UserId], int] = {}
        self._caught_up_from: int | None = None
        self._retry_at_ms = 0
        self._note_all()

    # ---- what happens ----

    async def hear(self, event: Event) -> None:
        """Note what happens, and hand it on."""
        match event:
            case ConnectionChanged(_, retry_in_s):
                await super().hear(event)
                self._typing.clear()  # whoever was typing may have stopped unheard
                self._retry_at_ms = self.wall_ms() + int((retry_in_s or 0.0) * 1_000)
                self._caught_up_from = None
            case IdentityChanged() | DeviceLinked():
                self._note(event)
            case EventsLost():
                self._note_all()
            case TypingHeard(conv, user):
                self._typing[conv, user] = self.wall_ms() + TYPING_MS
            case Recorded(record, _):
                self._note_record(record)
            case _:
                pass
        self.said.clear()  # what the plain client would print
        if self.on_event is not None:
            await self.on_event(event)

    def _note_all(self) -> None:
        for notice in self._client.notices:
            self._note(notice)

    def _note(self, notice: Notice) -> None:
        """Keep what is to be told of a device until the person has seen it and chosen."""
        match notice:
            case IdentityChanged(device):
                self.changed[device] = notice
            case DeviceLinked(device):
                self.linked[device] = notice

    def _note_record(self, record: Record) -> None:
        if record.conv in self._tails:
            self._tails[record.conv].take(record)
            self._tails[record.conv].trim(_TAIL)
        if record.sender is not None:
            self.note_people(record.conv, (record.sender.user,))
            self._typing.pop((record.conv, record.sender.user), None)

    # ---- the list ----

    @property
    def chats(self) -> list[ChatLine]:
        """The conversations, the last one first."""
        return sorted(self._lines.values(), key=lambda line: (-line.at_ms, line.title))

    async def look_at_all(self) -> None:
        """Look at all conversations, and read the ends of their histories."""
        self._tails.clear()
        for chat in await self._client.chats():
            await self._look(chat)

    async def look_at(self, conv: ConversationId) -> None:
        """Look at a conversation again: at what may have changed without a record."""
        await self._look(await self._client.chat(conv))

    async def read_again(self, conv: ConversationId) -> None:
        """Something of the history is not there any more."""
        self._tails.pop(conv, None)
        await self.look_at(conv)

    async def _look(self, chat: Chat) -> None:
        conv = chat.conv
        self._chats[conv] = chat
        tail = self._tails.get(conv)
        if tail is None:
            meanwhile = self._tails[conv] = Timeline()
            found = await self._client.history(conv, limit=_TAIL)
            tail = self._tails[conv] = Timeline([*found, *meanwhile.records])
        self.note_people(conv, chat.membership.members if chat.membership is not None else ())
        for record in tail.records:
            if record.sender is not None:
                self.note_people(conv, (record.sender.user,))
        last = self._first_shown(reversed(tail.records))
        # What was not sent is told until the person has done something about it, whatever comes after it.
        told = self._first_shown(tail.failed) or last
        self._lines[conv] = ChatLine(
            conv,
            self.title_of(conv),
            last[0].at_ms if last is not None else 0,
            self._preview(*told, is_group=self.is_group(conv)) if told is not None else "",
            chat.badge,
            len(tail.failed),
            len(tail.waiting),
            bool(self.notices_in(conv)),
        )

    def _first_shown(self, records: Iterable[Record]) -> tuple[Record, str] | None:
        for record in records:
            if (words := self._feed.words(record)) is not None:
                return record, words
        return None

    def _preview(self, record: Record, words: str, *, is_group: bool) -> str:
        words = " ".join(words.split())
        if record.failed:
            return f"not sent: {words}"
        sender = None if record.sender is None else record.sender.user
        if sender == self._client.device.user:
            return f"you: {words}"
        return f"{self._names.name_of(sender)}: {words}" if is_group and sender is not None else words

    def title_of(self, conv: ConversationId) -> str:
        """What a conversation is called: the other one, or a group's label and the first of its members."""
        other = self._others.get(conv)
        if other is not None:
            return self._names.name_of(other)
        members = self._members(conv)
        if not members:
            return f"{group_label(conv)}, left"
        others = [self._names.name_of(one) for one in members if one != self._client.device.user]
        more = f" +{len(others) - _MAX_TITLE_NAMES}" if len(others) > _MAX_TITLE_NAMES else ""
        return f"{group_label(conv)} {', '.join(others[:_MAX_TITLE_NAMES])}{more}"

    def is_group(self, conv: ConversationId) -> bool:
        """Whether a conversation that was looked at is none of two."""
        return conv not in self._others

    def _members(self, conv: ConversationId) -> tuple[UserId, ...]:
        chat = self._chats.get(conv)
        return chat.membership.members if chat is not None and chat.membership is not None else ()

    # ---- the people in a conversation ----

    async def is_blocked(self, conv: ConversationId) -> bool:
        """Whether nothing is to be sent there until the person has chosen: a number that was verified has changed.

        The device is asked, which knows it also after a restart.
        """
        is_blocked = False
        for user in self._people_in(conv)[:MAX_LOOKED_AT]:
            undecided = {event.device: event for event in await self._client.undecided(user)}
            for device in [one for one in self.changed if one.user == user and one not in undecided]:
                if self.changed[device].was_verified or await self._client.is_verified(device):
                    del self.changed[device]  # the person has chosen, or compared the new one
            self.changed.update(undecided)
            is_blocked = is_blocked or bool(undecided)
        return is_blocked

    def _people_in(self, conv: ConversationId) -> list[UserId]:
        """The others, those first of whom there is something to tell."""
        other = self._others.get(conv)
        if other is not None:
            return [other]
        changed = {device.user for device in self.changed}
        others = (user for user in self._members(conv) if user != self._client.device.user)
        return sorted(others, key=lambda user: user not in changed)

    def notices_in(self, conv: ConversationId) -> list[Changed]:
        """What is to be told of the devices of those who are in a conversation."""
        if not self.changed and not self.linked:
            return []
        here = set(self._people_in(conv))
        notices: list[Notice] = [*self.linked.values(), *self.changed.values()]
        return [self._item(one) for one in notices if one.device.user in here]

    def words_of(self, notice: Notice) -> str:
        """What there is to tell of a device."""
        words = self._linked(notice) if isinstance(notice, DeviceLinked) else self._changed(notice)
        return f"{self._glyphs.changed} {words.removeprefix('! ')}"

    def _item(self, notice: Notice) -> Changed:
        choice = "all right" if isinstance(notice, DeviceLinked) else "go on without"
        keys = f"{self._key('compare')} compare the safety number · {self._key('accept')} {choice}"
        return Changed(notice, self.words_of(notice), keys)

    async def seen(self, items: Sequence[Changed]) -> None:
        """The person has these before them: they need not be told again after a restart."""
        unseen = [*self._client.notices]
        for item in items:
            if any(type(one) is type(item.event) and one == item.event for one in unseen):
                await self._client.noticed(item.event)

    async def settle(self, notice: Notice) -> None:
        """The person has chosen to go on."""
        match notice:
            case DeviceLinked(device):
                self.linked.pop(device, None)
            case IdentityChanged(device):
                if notice.was_verified:
                    await self._client.accept_identity(device, notice.identity_key)
                self.changed.pop(device, None)

    async def look_at_devices(self) -> None:
        """Ask how many devices this user has."""
        with suppress(TransportError):  # asked again with the next connection
            self.devices = len(await self._client.devices_of([self._client.device.user]))

    def presence_of(self, conv: ConversationId) -> str:
        """How those are who are in a conversation: presence, typing, how many they are."""
        other = self._others.get(conv)
        parts: list[str] = []
        if other is None:
            chat = self._chats.get(conv)
            if chat is not None and chat.membership is not None and chat.membership.is_whole:
                parts.append(f"{len(chat.membership.members):,} people")
        elif self._client.state is ConnectionState.LIVE:
            seen = last_seen(self._client.presence(other), now_ms=self.wall_ms())
            if seen != "not known":
                parts.append(f"{self._glyphs.online} online" if seen == "online" else seen)
        if typing := self._typing_in(conv):
            names = "" if other is not None else ", ".join(map(self._names.name_of, typing)) + " "
            parts.append(f"{names}typing {self._glyphs.more}")
        return f" {self._glyphs.dot} ".join(parts)

    def _typing_in(self, conv: ConversationId) -> list[UserId]:
        now = self.wall_ms()
        self._typing = {key: until for key, until in self._typing.items() if until > now}
        return [user for (where, user) in self._typing if where == conv]

    # ---- the connection ----

    def connection(self) -> str:
        """How the device stands with the server, in words behind a mark."""
        client, state = self._client, self._client.state
        return f"{self._glyphs.states[state]} {self._connection_words(client, state)}"

    def _connection_words(self, client: Client, state: ConnectionState) -> str:
        match state:
            case ConnectionState.LIVE:
                many = f" {self._glyphs.dot} {self.devices} devices" if self.devices > 1 else ""
                return f"live{many}"
            case ConnectionState.CATCHING_UP:
                return f"catching up{self._how_far(client)}"
            case ConnectionState.OFFLINE if self.is_waiting_for_link:
                return "waits to be linked"
            case ConnectionState.OFFLINE:
                return self._offline_words()
            case ConnectionState.REPLACED:
                return "replaced by another connection, /connect takes it back"
            case ConnectionState.REFUSED:
                return "refused: this device was taken out of the account"

    def _how_far(self, client: Client) -> str:
        if client.cursor is None:
            return ""
        if self._caught_up_from is None:  # at the latest when the server says where the end is
            self._caught_up_from = client.cursor.seq
        total = 0 if client.head is None else client.head.seq - self._caught_up_from
        return f" {client.cursor.seq - self._caught_up_from:,} of {total:,}" if total > 0 else ""

    def _offline_words(self) -> str:
        waiting = sum(line.waiting for line in self.chats)
        parts = [
            "offline" if self.offline_since_ms is None else f"offline since {self._feed.clock(self.offline_since_ms)}"
        ]
        if waiting:
            parts.append(f"{waiting} waiting")
        if (left := self._retry_at_ms - self.wall_ms()) > 0:
            parts.append(f"next try {-(-left // 1_000)} s")
        return ", ".join(parts)
