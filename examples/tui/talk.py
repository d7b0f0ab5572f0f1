"""The open conversation: what of it is shown, what of it was seen, and what the others hear of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from examples.tui.feed import Changed, Item, Said
from examples.tui.room import Room
from examples.tui.words import Words, entitle
from whisperkit.client.history import Record
from whisperkit.ids import ConversationId, ConversationSeq
from whisperkit.sync.frames import MAX_USERS

if TYPE_CHECKING:
    from examples.tui.app import ChatApp

__all__ = ["BLOCKED", "Talk"]

BLOCKED: Final = "Nothing is sent until you choose: {verify} compares, /accept NAME goes on without"
# Members hear that somebody types; it is shown to them for five seconds.
TYPING_EVERY_MS: Final = 3_000


class Talk:
    """Holds the open conversation, if there is one.

    Args:
        app: The application.
        wall_ms: The clock.

    Attributes:
        room: What is loaded of it.
        has_focus: Whether the person looks at this window.
        last_unsent: What was written and then taken back.
    """

    def __init__(self, app: ChatApp, *, wall_ms: Callable[[], int]) -> None:
        self.room: Room | None = None
        self.has_focus = True
        self.last_unsent = ""
        self._app = app
        self._wall_ms = wall_ms
        self._seen = ConversationSeq(0)
        self._begun: dict[ConversationId, str] = {}
        self._typing_told_ms = 0
        self._is_trust_known = False
        self._is_blocked = False
        self._is_verified = False

    # ---- opening ----

    async def open(self, conv: ConversationId) -> None:
        """Open a conversation."""
        app = self._app
        self.close()
        app.desk.here = conv
        app.composer.put(self._begun.pop(conv, ""))  # first: what is typed meanwhile is behind it
        await app.client.open_chat(conv)
        self.room = room = Room(app.client, conv)
        self._seen = ConversationSeq(0)
        await room.open()
        await app.desk.look_at(conv)
        self.trust_moved()
        await self._watch()

    def close(self) -> None:
        """Leave it; what was begun in it is kept."""
        if self.room is None:
            return
        self._app.client.close_chat(self.room.conv)
        if self._app.composer.text:
            self._begun[self.room.conv] = self._app.composer.text
        self.room = None

    async def _watch(self) -> None:
        """Hear of the presence of the others."""
        own = self._app.client.device.user
        try:
            others = [user for user in await self._app.desk.members() if user != own]
        except ValueError:  # a group that was left
            others = []
        self._app.client.watch(others[:MAX_USERS])

    # ---- what happens ----

    def take(self, record: Record, *, is_new: bool) -> None:
        """Something was recorded, here or elsewhere."""
        if self.room is not None and record.conv == self.room.conv:
            self.room.take(record)
            if is_new and record.sender == self._app.client.device:
                self._app.view.to_bottom()

    def ticks_moved(self, conv: ConversationId) -> None:
        """Somebody has received or read more of a conversation."""
        if self.room is not None and conv == self.room.conv:
            self.room.ticks_moved()

    def trust_moved(self) -> None:
        """Numbers may have changed, or been compared: it is looked at with the next drawing."""
        self._is_trust_known = False

    async def reload(self) -> None:
        """Nobody knows what has happened."""
        self.trust_moved()
        if self.room is not None:
            await self.room.reload()

    # ---- drawing ----

    async def show(self) -> None:
        """Draw it anew."""
        app, room = self._app, self.room
        if room is None:
            app.view.show([])
            entitle(app.view, f"{app.key('new')} writes to somebody, {app.key('keys')} shows all keys")
            return
        if not self._is_trust_known:
            await self._look_at_trust(room)
        app.view.show(self._items(room))
        await self.look()
        app.main_screen.query_one("#blocked").set_class(self._is_blocked, "-shown")

    def _items(self, room: Room) -> list[Item]:
        desk = self._app.desk
        sending = self._app.transfers.shown_in(room.conv)
        changed = desk.notices_in(room.conv)
        return self._app.feed.items(room, is_group=desk.is_group(room.conv), sending=sending, changed=changed)

    async def _look_at_trust(self, room: Room) -> None:
        self._is_trust_known = True
        self._is_blocked = await self._app.desk.is_blocked(room.conv)
        other = await self._app.desk.other_in(room.conv)
        self._is_verified = other is not None and await self._app.client.are_verified(other)
        await self._app.desk.look_at(room.conv)

    def show_title(self) -> None:
        """Say whose conversation this is, and how they are now."""
        app, room = self._app, self.room
        if room is not None:
            verified = f"{app.glyphs.verified} verified" if self._is_verified else ""
            parts = (app.desk.title_of(room.conv), app.desk.presence_of(room.conv), verified)
            entitle(app.view, "  ".join(filter(None, parts)))

    # ---- what is in view ----

    async def look(self) -> None:
        """Note what is in view: ask how far it has come, tell the others that it was read, count what is below."""
        app, room = self._app, self.room
        if room is None:
            return
        in_view = app.view.in_view()
        if await room.look_at_ticks(item.record for item in in_view if isinstance(item, Said)) and self.room is room:
            app.view.show(self._items(room))
        if self.is_shown:
            await app.desk.seen([item for item in in_view if isinstance(item, Changed)])
        self._show_new(room)
        if app.view.is_at_top and room.has_earlier and not app.view.is_at_bottom:
            await room.load_earlier()
            app.draw()
        if app.settings.receipts == "view":
            await self.mark_read()

    def _show_new(self, room: Room) -> None:
        """How many messages of others are below what was looked at."""
        view = self._app.view
        self._seen = max(self._seen, room.last_of_others if view.is_at_bottom else view.seen_upto())
        count = room.count_above(self._seen)
        new = self._app.main_screen.query_one("#new", Words)
        new.set_class(bool(count), "-shown")
        new.show(f"{self._app.glyphs.down} {count} new  (End)" if count else "")

    async def mark_read(self) -> None:
        """Say what was read: what was on the screen while the person was there."""
        app, room = self._app, self.room
        if room is None or not self.has_focus or not self.is_shown or len(app.screen_stack) > 1:
            return
        seen = room.of_others_upto(app.view.seen_upto())
        if seen > room.read_upto and seen >= (room.first_unread or 0):
            room.read_upto = seen
            await app.client.mark_read(room.conv, seen)
            app.changed([room.conv])

    @property
    def is_shown(self) -> bool:
        """Whether the messages are on the screen, which has one pane only where it is narrow."""
        screen = self._app.main_screen
        return not screen.has_class("-narrow") or screen.has_class("-in-room")

    # ---- writing ----

    def typed(self, text: str) -> None:
        """Tell the others now and then that the person is typing."""
        now = self._wall_ms()
        if self.room is None or not text or text.startswith("/") or now - self._typing_told_ms < TYPING_EVERY_MS:
            return
        self._typing_told_ms = now
        self._app.client.set_typing(self.room.conv)
