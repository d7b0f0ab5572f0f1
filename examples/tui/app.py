"""The application: the panes, what the keys do, and what is drawn anew when something happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import tzinfo
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Final

from textual import events, work
from textual.app import App, ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static, TextArea

from examples.chat.commands import COMMANDS, Commands
from examples.chat.lines import harmless, reason
from examples.chat.names import Names
from examples.device import Phone
from examples.device_outgoing import OutgoingFiles
from examples.device_search import Hit
from examples.tui.attach import Attach
from examples.tui.chat_list import ChatList
from examples.tui.composer import Composer
from examples.tui.desk import Desk
from examples.tui.dialog import Notice
from examples.tui.feed import Feed
from examples.tui.find import Find
from examples.tui.glyphs import GLYPHS, Glyphs
from examples.tui.go_to import GoTo, NewChat
from examples.tui.item_actions import do_with
from examples.tui.keys import APP_KEYS, bindings
from examples.tui.keys_page import KeysPage
from examples.tui.members import Members
from examples.tui.message_view import MessageView
from examples.tui.people import members_of, safety_numbers
from examples.tui.room import Room
from examples.tui.settings import Settings
from examples.tui.slash import run_command
from examples.tui.themes import THEMES
from examples.tui.transfers import Transfers
from examples.tui.verify import Verify
from whisperkit.client.events import (
    ConnectionChanged,
    ConnectionState,
    DeviceLinked,
    Event,
    EventsLost,
    IdentityChanged,
    Recorded,
    TicksMoved,
)
from whisperkit.client.events import (
    Notice as DeviceNotice,
)
from whisperkit.errors import WhisperError
from whisperkit.ids import ConversationId, ConversationSeq, UserId
from whisperkit.ratchet import SafetyNumber
from whisperkit.sync.frames import MAX_USERS

__all__ = ["NARROW_BELOW", "ChatApp"]

NARROW_BELOW: Final = 80
EXIT_REFUSED: Final = 1
TICK_S: Final = 1.0
# Members hear that somebody types; it is shown to them for five seconds.
TYPING_EVERY_MS: Final = 3_000


class ChatApp(App[int]):
    """The terminal client.

    Args:
        phone: The device.
        names: Who is called what.
        folder: Where files are saved.
        spools: Where encrypted files lie that are on their way.
        wall_ms: The clock.
        settings: What the person has set.
        glyphs: The marks.
        zone: Where the person is; `None` for what the system says.
        ticks_itself: Whether it notices by itself that time passes; if not, `tick` has to be called.
        has_no_color: Whether the person wants no colours.

    Attributes:
        first_words: What is said at the beginning.
    """

    TITLE = "whisperkit"
    CSS_PATH = "look.tcss"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [*bindings(APP_KEYS, priority=True)]

    def __init__(
        self,
        phone: Phone,
        names: Names,
        *,
        folder: Path,
        spools: Path,
        wall_ms: Callable[[], int],
        settings: Settings | None = None,
        glyphs: Glyphs = GLYPHS,
        zone: tzinfo | None = None,
        ticks_itself: bool = True,
        has_no_color: bool = False,
    ) -> None:
        super().__init__(ansi_color=True if has_no_color else None)
        self.phone = phone
        self.client = phone.client
        self.settings = settings or Settings()
        self.glyphs = glyphs
        self.feed = Feed(names.name_of, self.client.device.user, glyphs=glyphs, wall_ms=wall_ms, zone=zone)
        self.desk = Desk(self.client, names, glyphs=glyphs, feed=self.feed, wall_ms=wall_ms)
        self.desk.on_event = self._hear
        self.commands = Commands(phone, names, self.desk, folder=folder)
        self.names = names
        self.folder = folder
        self.transfers = Transfers(
            OutgoingFiles(phone, spools), phone.blobs, feed=self.feed, wall_ms=wall_ms, changed=self.draw
        )
        # Copies in clear of what was opened, for as long as this runs.
        self.opened = TemporaryDirectory(prefix="opened-")
        self.room: Room | None = None
        self.first_words: list[str] = []
        self._wall_ms = wall_ms
        self._ticks_itself = ticks_itself
        self._stale: set[ConversationId] = set()
        self._is_draw_due = False
        self._has_focus = True
        self._seen = ConversationSeq(0)
        self._begun: dict[ConversationId, str] = {}
        self._last_unsent = ""
        self._typing_told_ms = 0
        self._hits: list[Hit] = []
        self._hit = 0
        for theme in THEMES.values():
            self.register_theme(theme)
        self.theme = "terminal" if has_no_color else self.settings.theme
        self.set_keymap(dict(self.settings.keys))

    # ---- the panes ----

    def compose(self) -> ComposeResult:
        """Put up the panes."""
        device = self.client.device
        with Horizontal(id="status"):
            yield Static(Content(f"whisperkit  {self.names.own}.{device.number}"), id="status-name")
            yield Static(Content(""), id="status-connection")
        with Horizontal(id="panes"):
            chats = ChatList(self.glyphs, self.feed)
            chats.border_title = "Chats"
            yield chats
            with Vertical(id="room"):
                yield MessageView(self.glyphs)
                yield Static(Content(""), id="new")
                yield Static(Content(""), id="blocked")
                composer = Composer(self.settings.keys)
                composer.border_subtitle = self._hints()
                yield composer

    def _hints(self) -> Content:
        dot = f" {self.glyphs.dot} "
        return Content(dot.join(("F1 keys", "Enter send", "Ctrl+O file", "Ctrl+F find")))

    @property
    def chat_list(self) -> ChatList:
        """The list of conversations."""
        return self.main_screen.query_one(ChatList)

    @property
    def view(self) -> MessageView:
        """The messages."""
        return self.main_screen.query_one(MessageView)

    @property
    def composer(self) -> Composer:
        """Where one writes."""
        return self.main_screen.query_one(Composer)

    @property
    def main_screen(self) -> Screen[object]:
        """The one behind all dialogs."""
        return self.screen_stack[0]

    async def on_mount(self) -> None:
        """Show what there is, and listen."""
        self._fit(self.size.width)
        await self.desk.look_at_all()
        self.chat_list.focus()
        self.draw()
        self.tell("Welcome", self.first_words)
        for notice in self.client.notices:
            await self._tell_of_own(notice)
        await self.transfers.begin()
        self._listen()
        if self._ticks_itself:
            self.set_interval(TICK_S, self.tick)

    def on_unmount(self) -> None:
        """Leave nothing in clear behind."""
        self.transfers.stop()
        self.opened.cleanup()

    @work
    async def _listen(self) -> None:
        await self.desk.listen()
        self.exit(EXIT_REFUSED)

    # ---- what happens ----

    async def _hear(self, event: Event) -> None:
        match event:
            case Recorded(record, is_new):
                self._stale.add(record.conv)
                if self.room is not None and record.conv == self.room.conv:
                    self.room.take(record)
                    if is_new and record.sender == self.client.device:
                        self.view.to_bottom()
            case TicksMoved(conv):
                self._stale.add(conv)
            case IdentityChanged() | DeviceLinked():
                self._stale.update(line.conv for line in self.desk.chats)
                await self._tell_of_own(event)
            case ConnectionChanged(ConnectionState.LIVE, _):
                await self.desk.look_at_devices()
                self.transfers.connected()
            case EventsLost():
                await self.desk.look_at_all()
                if self.room is not None:
                    await self.room.reload()
            case _:
                pass
        self.draw()

    async def _tell_of_own(self, notice: DeviceNotice) -> None:
        """What happened to the devices of this user belongs to no conversation."""
        if notice.device.user == self.client.device.user:
            self.push_screen(Notice("Your devices", [self.desk.words_of(notice)]))
            await self.client.noticed(notice)

    async def tick(self) -> None:
        """Notice that time has passed."""
        await self._show_connection()

    def draw(self) -> None:
        """Draw anew, soon: what happens in one go is drawn once."""
        if not self._is_draw_due:
            self._is_draw_due = True
            self.call_later(self._draw)

    @property
    def is_drawn(self) -> bool:
        """Whether nothing waits to be drawn."""
        return not self._is_draw_due

    async def _draw(self) -> None:
        self._is_draw_due = False
        if not self.screen_stack:
            return
        stale, self._stale = self._stale, set()
        for conv in stale:
            await self.desk.look_at(conv)
        here = None if self.room is None else self.room.conv
        lines = self.desk.chats
        self.chat_list.show(lines, here)
        failed = sum(line.failed for line in lines)
        counts = f"{len(lines)} {'chat' if len(lines) == 1 else 'chats'}"
        self.chat_list.border_subtitle = Content(counts + (f" {self.glyphs.dot} {failed} not sent" if failed else ""))
        await self._show_room()
        await self._show_connection()

    async def _show_room(self) -> None:
        room = self.room
        if room is None:
            self.view.show([])
            self.view.border_title = Content("Ctrl+N writes to somebody, F1 shows all keys")
            return
        await room.look_at_ticks()
        is_group = await self.desk.other_in(room.conv) is None
        notices = await self.desk.notices_in(room.conv)
        sending = self.transfers.shown_in(room.conv)
        self.view.show(self.feed.items(room, is_group=is_group, sending=sending, changed=notices))
        if self._is_room_shown:
            await self.desk.seen(notices)
        self._show_new()
        blocked = self.main_screen.query_one("#blocked", Static)
        is_blocked = await self.desk.is_blocked(room.conv)
        blocked.set_class(is_blocked, "-shown")
        if is_blocked:
            blocked.update(Content("Nothing is sent until you choose: Ctrl+S compares, /accept NAME goes on without"))

    async def _show_connection(self) -> None:
        self.main_screen.query_one("#status-connection", Static).update(Content(self.desk.connection()))
        room = self.room
        if room is None:
            return
        parts = [await self.desk.title_of(room.conv)]
        if how := await self.desk.presence_of(room.conv):
            parts.append(how)
        title = "  ".join(parts)
        other = await self.desk.other_in(room.conv)
        if other is not None and await self.client.are_verified(other):
            title += f"  {self.glyphs.verified} verified"
        self.view.border_title = Content(title)

    def _show_new(self) -> None:
        """How many messages of others are below what was looked at."""
        if self.room is None:
            return
        if self.view.is_at_bottom:
            self._seen = max(self._seen, self.room.last_of_others)
        else:
            self._seen = max(self._seen, self.view.seen_upto())
        own = self.client.device.user
        new = [one for one in self.room.records if one.seq > self._seen and not _is_of(one.sender, own)]
        shown = self.main_screen.query_one("#new", Static)
        shown.set_class(bool(new), "-shown")
        shown.update(Content(f"{self.glyphs.down} {len(new)} new  (End)" if new else ""))

    # ---- reading ----

    async def on_message_view_moved(self) -> None:
        """Other lines are in view: what was new is not any more, and what is above the first has to be loaded."""
        if self.room is None or not self.screen_stack:  # the last ones come when all is over
            return
        self._show_new()
        if self.view.is_at_top and self.room.has_earlier and not self.view.is_at_bottom:
            await self.room.load_earlier()
            self.draw()
        if self.settings.receipts == "view":
            await self._mark_read()

    async def _mark_read(self) -> None:
        """Say what was read: what was on the screen while the person was there."""
        room = self.room
        if room is None or not self._has_focus or not self._is_room_shown or len(self.screen_stack) > 1:
            return
        seen = self.view.seen_upto()
        if seen > (await self.client.chat(room.conv)).progress.read_upto and seen >= (room.first_unread or 0):
            await self.client.mark_read(room.conv, seen)
            self._stale.add(room.conv)
            self.draw()

    @property
    def _is_room_shown(self) -> bool:
        return not self.main_screen.has_class("-narrow") or self.main_screen.has_class("-in-room")

    async def on_app_focus(self, _: events.AppFocus) -> None:
        """The person is back."""
        self._has_focus = True
        await self.on_message_view_moved()

    def on_app_blur(self, _: events.AppBlur) -> None:
        """The person looks at something else."""
        self._has_focus = False

    # ---- conversations ----

    async def open_chat(self, conv: ConversationId) -> None:
        """Open a conversation."""
        await self._close_chat()
        self.desk.here = conv
        await self.client.open_chat(conv)
        self.room = room = Room(self.client, conv)
        self._seen = ConversationSeq(0)
        await room.open()
        await self.desk.look_for_undecided(conv)
        await self.desk.look_at(conv)
        self._watch(await self._people(conv))
        self.composer.put(self._begun.pop(conv, ""))
        self.main_screen.add_class("-in-room")
        await self._draw()
        self.view.open_at_divider()
        self.composer.focus()

    async def _close_chat(self) -> None:
        if self.room is None:
            return
        self.client.close_chat(self.room.conv)
        if self.composer.text:
            self._begun[self.room.conv] = self.composer.text
        self.room = None

    async def _people(self, conv: ConversationId) -> list[UserId]:
        own = self.client.device.user
        try:
            return [user for user in await self.desk.members() if user != own]
        except ValueError:  # a group that was left
            return []

    def _watch(self, users: list[UserId]) -> None:
        self.client.watch(users[:MAX_USERS])

    async def on_chat_list_chosen(self, event: ChatList.Chosen) -> None:
        """Open what was chosen."""
        await self.open_chat(event.conv)

    async def action_step_chat(self, step: int) -> None:
        """Open the next conversation, or the one before."""
        convs = [line.conv for line in self.desk.chats]
        if not convs:
            return
        if self.room is None or self.room.conv not in convs:
            await self.open_chat(convs[0])
        else:
            await self.open_chat(convs[(convs.index(self.room.conv) + step) % len(convs)])

    async def action_nth_chat(self, number: int) -> None:
        """Open a conversation by its place in the list."""
        lines = self.desk.chats
        if number <= len(lines):
            await self.open_chat(lines[number - 1].conv)

    async def action_next_unread(self) -> None:
        """Open the next conversation in which something is unread."""
        here = None if self.room is None else self.room.conv
        unread = [line.conv for line in self.desk.chats if line.badge and line.conv != here]
        if unread:
            await self.open_chat(unread[0])
        else:
            self.say("nothing is unread")

    # ---- writing ----

    async def on_composer_submitted(self, event: Composer.Submitted) -> None:
        """Send what was written, or do it."""
        text = event.text
        if text.startswith("/") and not text.startswith("//"):
            self.composer.put("")
            await run_command(self, text)
            return
        if self.room is None:
            self.say("to whom? Ctrl+K goes to a conversation, Ctrl+N begins one")
            return
        if await self.desk.is_blocked(self.room.conv):
            self.say("not sent: choose first what to do about the new safety number", is_bad=True)
            return
        self._last_unsent = ""
        self.composer.put("")
        conv = self.room.conv
        if not await self.attempt(
            "not sent", partial(self.client.send, conv, text.removeprefix("/") if text.startswith("//") else text)
        ):
            self.composer.put(text)
            return
        if self.settings.receipts == "reply":
            await self._mark_read()

    def on_composer_wants_last(self) -> None:
        """Bring back what was written and not sent."""
        if self._last_unsent:
            self.composer.put(self._last_unsent)

    def on_composer_wants_bottom(self) -> None:
        """Go to the newest message."""
        self.view.to_bottom()

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """Tell the others that the person is typing."""
        text = self.composer.text
        now = self._wall_ms()
        if self.room is None or not text or text.startswith("/") or now - self._typing_told_ms < TYPING_EVERY_MS:
            return
        self._typing_told_ms = now
        self.client.set_typing(self.room.conv)

    # ---- keys ----

    def action_page(self, pages: int) -> None:
        """Scroll the messages."""
        self.view.action_page(pages)

    def action_bottom(self) -> None:
        """Go to the newest message."""
        self.view.to_bottom()

    async def action_back(self) -> None:
        """To where one writes; from there, to the list."""
        if self.focused is self.composer and self.composer.text.strip():
            self._last_unsent = self.composer.text
            self.composer.put("")
        elif self.focused is not self.composer and self.room is not None and self._is_room_shown:
            self.composer.focus()
        else:
            self.main_screen.remove_class("-in-room")
            self.chat_list.focus()

    @work
    async def action_go_to(self) -> None:
        """Ask where to go."""
        conv = await self.push_screen_wait(GoTo(self.desk.chats))
        if conv is not None:
            await self.open_chat(conv)

    @work
    async def action_new_chat(self) -> None:
        """Ask with whom to talk."""
        names = await self.push_screen_wait(NewChat())
        if names:
            await run_command(self, f"/to {names[0]}" if len(names) == 1 else f"/group {' '.join(names)}")

    @work
    async def action_attach(self, path: str = "", caption: str = "") -> None:
        """Ask for a file, and send it."""
        room = self.room
        if room is None:
            self.say("to whom? Ctrl+K goes to a conversation, Ctrl+N begins one")
            return
        chosen = await self.push_screen_wait(Attach(path, caption))
        if chosen is not None:
            self.view.to_bottom()
            await self.attempt("not sent", partial(self.transfers.add, room.conv, chosen.path, chosen.caption))

    def on_composer_file_pasted(self, event: Composer.FilePasted) -> None:
        """Ask whether a file whose path was pasted is to be sent."""
        self.action_attach(str(event.path))

    @work
    async def action_find(self, is_everywhere: bool, wanted: str = "") -> None:
        """Ask what to find, and go there."""
        conv = None if is_everywhere or self.room is None else self.room.conv
        await self.phone.index.fill(self.client)
        titles = {line.conv: line.title for line in self.desk.chats}

        def words(hit: Hit) -> str:
            where = "" if conv is not None else f"{titles.get(hit.conv, '')}  "
            at = f"{self.feed.day_or_clock(hit.at_ms)} {self.names.name_of(hit.sender.user)}"
            return f"{where}{at}: {' '.join(harmless(hit.snippet).split())}"

        where = "all conversations" if conv is None else titles.get(conv, "this conversation")
        find = Find(where, lambda text: self.phone.index.search(text, conv=conv), words, wanted=wanted)
        found = await self.push_screen_wait(find)
        if found is not None:
            self._hits, self._hit = found
            await self._go_to_hit()

    async def step_hit(self, step: int) -> None:
        """Go to the next thing that was found."""
        if self._hits:
            self._hit = (self._hit + step) % len(self._hits)
            await self._go_to_hit()
        else:
            self.say("Ctrl+F finds something first")

    async def _go_to_hit(self) -> None:
        hit = self._hits[self._hit]
        if self.room is None or self.room.conv != hit.conv:
            await self.open_chat(hit.conv)
        if self.room is not None and await self.room.load_until(hit.message_id):
            await self._draw()
            self.view.focus()
            self.view.select_message(hit.message_id)
            self.say(f"{self._hit + 1} of {len(self._hits)}: n next, N previous")

    @work
    async def action_verify(self) -> None:
        """Show the safety numbers."""
        shown = await safety_numbers(self)
        if not shown:
            self.say("nobody is here yet, so there is nothing to compare")
            return

        async def compare(text: str) -> list[str]:
            self.desk.said.clear()
            await self.commands.take(f"/verify {text}")
            return list(self.desk.said)

        async def mark(number: SafetyNumber) -> bool:
            return await self.attempt("not noted", partial(self.client.mark_verified, number))

        await self.push_screen_wait(Verify(shown, compare, mark, verified=self.glyphs.verified))
        self.draw()

    @work
    async def action_members(self) -> None:
        """Show who is here, and do what is asked for there."""
        if self.room is None:
            self.say("no conversation is open")
            return
        people, total, is_group = await members_of(self)
        command = await self.push_screen_wait(Members(people, total=total, is_group=is_group))
        if command:
            await run_command(self, command)

    async def on_message_view_asked(self, event: MessageView.Asked) -> None:
        """Do something with a message."""
        await do_with(self, event.action, event.item)

    def action_keys(self) -> None:
        """Show all keys."""
        self.push_screen(KeysPage(self.settings.keys))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette offers: all commands, too."""
        yield SystemCommand("Theme", "change the colours", self.action_change_theme)
        yield SystemCommand("Keys", "all keys", self.action_keys)
        yield SystemCommand("Quit", "end; what is not sent goes out the next time", self.action_quit)
        for word, command in COMMANDS.items():
            yield SystemCommand(f"{word} {command.usage}".strip(), command.help, partial(self._begin_command, word))

    async def _begin_command(self, word: str) -> None:
        """Do a command, or let the person write what it needs."""
        if COMMANDS[word].usage and not COMMANDS[word].usage.startswith("["):
            self.composer.put(f"{word} ")
            self.composer.focus()
        else:
            await run_command(self, word)

    # ---- saying ----

    def say(self, text: str, *, is_bad: bool = False) -> None:
        """Say something in passing."""
        self.notify(text, severity="error" if is_bad else "information", markup=False)

    def tell(self, title: str, lines: list[str]) -> None:
        """Say something that is to be read: in passing if it is short."""
        if len(lines) == 1 and len(lines[0]) < 60:
            self.say(lines[0])
        elif lines:
            self.push_screen(Notice(title, lines))

    async def attempt(self, what: str, do: Callable[[], Awaitable[object]]) -> bool:
        """Do something; what is wrong with it is said, and then this is false."""
        try:
            await do()
        except (WhisperError, OSError, ValueError) as error:
            self.say(f"{what}: {reason(error)}", is_bad=True)
            return False
        return True

    # ---- the size ----

    def on_resize(self, event: events.Resize) -> None:
        """One pane where there is no room for two."""
        self._fit(event.size.width)

    def _fit(self, width: int) -> None:
        self.main_screen.set_class(width < NARROW_BELOW, "-narrow")


def _is_of(sender: object, user: UserId) -> bool:
    return getattr(sender, "user", None) == user
