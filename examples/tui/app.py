"""The application: the panes, what the keys do, and what is drawn anew when something happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Final

import anyio.lowlevel
from textual import events, work
from textual.app import ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widgets import Static, TextArea

from examples.chat.commands import Commands
from examples.chat.names import Names
from examples.device import Phone
from examples.device_outgoing import OutgoingFiles
from examples.tui.ascii_only import AsciiOnly
from examples.tui.asking import Search, ask_for_chat, ask_for_file, ask_for_members, ask_for_names, ask_for_numbers
from examples.tui.chat_list import ChatList
from examples.tui.composer import Composer
from examples.tui.desk import Desk
from examples.tui.dialog import Notice
from examples.tui.feed import Feed
from examples.tui.glyphs import ASCII, GLYPHS, Glyphs
from examples.tui.item_actions import do_with
from examples.tui.keys import APP_KEYS, bindings, key_names
from examples.tui.keys_page import KeysPage
from examples.tui.message_view import MessageView
from examples.tui.room import Room
from examples.tui.settings import Settings
from examples.tui.slash import offered_commands, run_command
from examples.tui.speaking import SpeakingApp
from examples.tui.talk import BLOCKED, Talk
from examples.tui.themes import THEMES
from examples.tui.transfers import Transfers
from examples.tui.words import Words
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
from whisperkit.ids import ConversationId

__all__ = ["ChatApp"]

EXIT_REFUSED: Final = 1
TICK_S: Final = 1.0
# A device that catches up brings one read after the other: of so many events at a time is the screen drawn anew.
DRAWN_AT_ONCE: Final = 100


class ChatApp(SpeakingApp):
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
    CSS_PATH = Path(__file__).with_name("look.tcss")
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
        self.key = key_names(self.settings.keys)
        own = self.client.device.user
        self.feed = Feed(names.name_of, own, glyphs=glyphs, wall_ms=wall_ms, zone=zone, key=self.key)
        self.desk = Desk(self.client, names, glyphs=glyphs, feed=self.feed, wall_ms=wall_ms, key=self.key)
        self.desk.on_event = self._hear
        self.commands = Commands(phone, names, self.desk, folder=folder)
        self.names = names
        self.folder = folder
        self.transfers = Transfers(
            OutgoingFiles(phone, spools), phone.blobs, feed=self.feed, wall_ms=wall_ms, changed=self.draw
        )
        # Copies in clear of what was opened, for as long as this runs.
        self.opened = TemporaryDirectory(prefix="opened-")
        self.talk = Talk(self, wall_ms=wall_ms)
        self.search = Search(self)
        self.first_words: list[str] = []
        self._ticks_itself = ticks_itself
        # What is to be looked at again, how much was heard since it was drawn, and whether it soon will be.
        self._stale: set[ConversationId] = set()
        self._undrawn = 0
        self._is_draw_due = False
        # What the last step on the way to the terminal changes.
        self._drawn_as = [AsciiOnly()] if glyphs is ASCII else []
        for theme in THEMES.values():
            self.register_theme(theme)
        self.theme = "terminal" if has_no_color else self.settings.theme
        self.set_keymap(dict(self.settings.keys))

    # ---- the panes ----

    def get_line_filters(self) -> Sequence[LineFilter]:
        """What changes each line before it is shown."""
        return [*super().get_line_filters(), *self._drawn_as]

    def compose(self) -> ComposeResult:
        """Put up the panes."""
        device = self.client.device
        with Horizontal(id="status"):
            yield Static(Content(f"whisperkit  {self.names.own}.{device.number}"), id="status-name")
            yield Words("status-connection")
        with Horizontal(id="panes"):
            chats = ChatList(self.glyphs, self.feed)
            chats.border_title = "Chats"
            yield chats
            with Vertical(id="room"):
                yield MessageView(self.glyphs, self.key)
                yield Words("new")
                yield Static(Content(BLOCKED.format(verify=self.key("verify"))), id="blocked")
                composer = Composer(self.settings.keys)
                composer.border_subtitle = self._hints()
                yield composer

    def _hints(self) -> Content:
        dot = f" {self.glyphs.dot} "
        return Content(dot.join(f"{self.key(name)} {name}" for name in ("keys", "send", "file", "find")))

    @property
    def room(self) -> Room | None:
        """The open conversation."""
        return self.talk.room

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
                self.talk.take(record, is_new=is_new)
            case TicksMoved(conv):
                self._stale.add(conv)
                self.talk.ticks_moved(conv)
            case IdentityChanged() | DeviceLinked():
                self._stale.update(line.conv for line in self.desk.chats)
                self.talk.trust_moved()
                await self._tell_of_own(event)
            case ConnectionChanged(ConnectionState.LIVE, _):
                await self.desk.look_at_devices()
                self.transfers.connected()
            case EventsLost():
                await self.desk.look_at_all()
                await self.talk.reload()
            case _:
                pass
        self._undrawn += 1
        if self._undrawn >= DRAWN_AT_ONCE:
            self.draw()
            await anyio.lowlevel.checkpoint()  # the screen and the keys have their turn
        elif not self.desk.is_hearing and self._is_worth_drawing(event):
            self.draw()

    def _is_worth_drawing(self, event: Event) -> bool:
        """While the device catches up there is more to come; what the person did is shown at once all the same."""
        is_own = isinstance(event, Recorded) and event.record.sender == self.client.device
        is_catching_up = self.client.state is ConnectionState.CATCHING_UP
        return is_own or isinstance(event, ConnectionChanged) or not is_catching_up

    async def _tell_of_own(self, notice: DeviceNotice) -> None:
        """What happened to the devices of this user belongs to no conversation."""
        if notice.device.user == self.client.device.user:
            self.push_screen(Notice("Your devices", [self.desk.words_of(notice)]))
            await self.client.noticed(notice)

    async def tick(self) -> None:
        """Notice that time has passed."""
        if self._undrawn:
            self.draw()
        self._show_connection()
        self._catch_up_with_size()

    # ---- drawing ----

    def changed(self, convs: Iterable[ConversationId]) -> None:
        """Look at conversations again, and draw what came of it."""
        self._stale.update(convs)
        self.draw()

    def draw(self) -> None:
        """Draw anew, soon: what happens in one go is drawn once."""
        self._undrawn = 0
        if not self._is_draw_due:
            self._is_draw_due = True
            self.call_later(self.draw_now)

    async def draw_now(self) -> None:
        """Draw what has changed."""
        self._is_draw_due = False
        if not self.screen_stack:
            return
        stale, self._stale = self._stale, set()
        for conv in stale:
            await self.desk.look_at(conv)
        await self.talk.show()
        self._show_chats()
        self._show_connection()

    def _show_chats(self) -> None:
        lines = self.desk.chats
        self.chat_list.show(lines, None if self.room is None else self.room.conv)
        failed = sum(line.failed for line in lines)
        counts = f"{len(lines)} {'chat' if len(lines) == 1 else 'chats'}"
        more = f"{failed} not sent" if failed else "" if lines else f"{self.key('new')} new"
        self.chat_list.summarize(f"{counts} {self.glyphs.dot} {more}" if more else counts)

    def _show_connection(self) -> None:
        self.main_screen.query_one("#status-connection", Words).show(self.desk.connection())
        self.talk.show_title()

    # ---- reading ----

    async def on_message_view_moved(self) -> None:
        """Other lines are in view."""
        if self.screen_stack:  # the last ones come when all is over
            await self.talk.look()

    async def on_app_focus(self, _: events.AppFocus) -> None:
        """The person is back."""
        self.talk.has_focus = True
        await self.talk.look()

    def on_app_blur(self, _: events.AppBlur) -> None:
        """The person looks at something else."""
        self.talk.has_focus = False

    # ---- conversations ----

    async def open_chat(self, conv: ConversationId) -> None:
        """Open a conversation."""
        # Before anything of it is shown: `focus` would be behind what is typed at the first glimpse of it.
        self.main_screen.set_focus(self.composer)
        await self.talk.open(conv)
        self.main_screen.add_class("-in-room")
        await self.draw_now()
        self.view.open_at_divider()

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
            self.say_to_whom()
            return
        if await self.desk.is_blocked(self.room.conv):
            self.say("not sent: choose first what to do about the new safety number", is_bad=True)
            return
        self.talk.last_unsent = ""
        self.composer.put("")
        conv = self.room.conv
        if not await self.attempt(
            "not sent", partial(self.client.send, conv, text.removeprefix("/") if text.startswith("//") else text)
        ):
            self.composer.put(text)
            return
        if self.settings.receipts == "reply":
            await self.talk.mark_read()

    def on_composer_wants_last(self) -> None:
        """Bring back what was written and not sent."""
        if self.talk.last_unsent:
            self.composer.put(self.talk.last_unsent)

    def on_composer_wants_bottom(self) -> None:
        """Go to the newest message."""
        self.view.to_bottom()

    def on_text_area_changed(self, _: TextArea.Changed) -> None:
        """Tell the others that the person is typing."""
        if self.screen_stack:  # the last ones come when all is over
            self.talk.typed(self.composer.text)

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
            self.talk.last_unsent = self.composer.text
            self.composer.put("")
        elif self.focused is not self.composer and self.room is not None and self.talk.is_shown:
            self.composer.focus()
        else:
            self.main_screen.remove_class("-in-room")
            self.chat_list.focus()

    @work
    async def action_go_to(self) -> None:
        """Ask where to go."""
        await ask_for_chat(self)

    @work
    async def action_new_chat(self) -> None:
        """Ask with whom to talk."""
        await ask_for_names(self)

    @work
    async def action_attach(self, path: str = "", caption: str = "") -> None:
        """Ask for a file, and send it."""
        await ask_for_file(self, path, caption)

    def on_composer_file_pasted(self, event: Composer.FilePasted) -> None:
        """Ask whether a file whose path was pasted is to be sent."""
        self.action_attach(str(event.path))

    @work
    async def action_find(self, is_everywhere: bool, wanted: str = "") -> None:
        """Ask what to find, and go there."""
        await self.search.ask(is_everywhere=is_everywhere, wanted=wanted)

    @work
    async def action_verify(self) -> None:
        """Show the safety numbers."""
        await ask_for_numbers(self)

    @work
    async def action_members(self) -> None:
        """Show who is here, and do what is asked for there."""
        await ask_for_members(self)

    async def on_message_view_asked(self, event: MessageView.Asked) -> None:
        """Do something with a message."""
        await do_with(self, event.action, event.item)

    def action_keys(self) -> None:
        """Show all keys."""
        self.push_screen(KeysPage(self.settings.keys))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette offers: all commands, too."""
        return offered_commands(self)
