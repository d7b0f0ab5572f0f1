"""What can be typed: a table of commands; what is no command is a message to the open conversation."""

from __future__ import annotations

import difflib
import mimetypes
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from examples.chat.lines import clean, clock, file_name, how_far, last_seen, reason, what_it_says
from examples.chat.names import Names, group_label
from examples.chat.screen import Screen
from examples.chat.trust import Trust
from examples.chat.wanted import number_of, one_of, quoted, some_of
from examples.device import Phone
from whisperkit.client.content import Attachment
from whisperkit.client.events import ConnectionState, PresenceChanged
from whisperkit.client.history import Note, Record
from whisperkit.errors import WhisperError
from whisperkit.ids import ConversationId, UserId

__all__ = ["COMMANDS", "Command", "Commands"]

HISTORY: Final = 20
ON_OPENING: Final = 10
PRESENCE_S: Final = 1.0
LIVE_S: Final = 5.0
MAX_WATCHED: Final = 100
GLYPHS: Final = {
    ConnectionState.OFFLINE: "○",
    ConnectionState.CATCHING_UP: "◐",
    ConnectionState.LIVE: "●",
    ConnectionState.REPLACED: "■",
    ConnectionState.REFUSED: "■",
}
# One file or one failed message may be that far back.
FAR: Final = 1_000


class Command(NamedTuple):
    """A command.

    Attributes:
        usage: What follows the word.
        help: What it does.
        run: Does it, with what followed the word.
    """

    usage: str
    help: str
    run: Callable[[Commands, str], Awaitable[None]]


class Commands:
    """Does what is typed.

    Args:
        phone: The device.
        names: Who is called what.
        screen: Where the answers are shown.
        folder: Where files are saved.

    Attributes:
        trust: What can be typed about devices.
        is_over: Whether it was said to end.
        refusals: How many lines could not be done.
    """

    def __init__(self, phone: Phone, names: Names, screen: Screen, *, folder: Path) -> None:
        self._phone = phone
        self._client = phone.client
        self._names = names
        self._screen = screen
        self._say = screen.say
        self._folder = folder
        self.trust = Trust(phone.client, names, screen)
        self._written: set[ConversationId] = set()
        self._watched: set[UserId] = set()
        self.is_over = False
        self.refusals = 0

    async def take(self, line: str) -> None:
        """Do what a line says; what is wrong with it is shown."""
        word, _, rest = line.partition(" ")
        try:
            try:
                if not line.startswith("/") or line.startswith("//"):
                    await self._write(line.removeprefix("/") if line.startswith("//") else line)
                elif word in COMMANDS:
                    await COMMANDS[word].run(self, rest.strip())
                else:
                    near = difflib.get_close_matches(word, COMMANDS, n=1)
                    advice = f"did you mean {near[0]}?" if near else "/help lists what there is"
                    raise ValueError(f"there is no such command; {advice}")
            finally:
                await self._names.save()
        except (WhisperError, OSError, ValueError) as error:
            self.refusals += 1
            self._say(f"{word if line.startswith('/') else 'not sent'}: {reason(error)}")

    async def unsent(self) -> int:
        """How many messages wait to be sent."""
        convs = {chat.conv for chat in await self._client.chats()} | self._written
        return sum([_is_waiting(r) for conv in convs for r in await self._client.history(conv, limit=HISTORY)])

    # ---- conversations ----

    async def to(self, text: str) -> None:
        if text.startswith("#"):
            conv = await self._group(text)
        else:
            user = self._names.user_of(one_of(text, "to whom? /to NAME"))
            if user == self._client.device.user:
                raise ValueError("that is you")
            conv = ConversationId.direct(self._own, user)
            if conv not in {chat.conv for chat in await self._client.chats()}:
                await self._check_there([user])
            await self._client.direct(user)
            self._screen.note_people(conv, (user,))
        await self._open(conv)
        await self._screen.show_history(conv, ON_OPENING)
        mark = await self._screen.mark_of(await self._screen.other_in(conv))
        self._say(f"writing to {await self._screen.place_of(conv)}{mark}")

    async def group(self, text: str) -> None:
        users = [self._names.user_of(name) for name in some_of(text, "with whom? /group NAME ...")]
        await self._check_there(users)
        conv = await self._client.create_group(users)
        await self._open(conv)
        self._say(f"writing to group {group_label(conv)} with {', '.join(map(self._names.name_of, users))}")

    async def chats(self, _: str) -> None:
        chats = await self._client.chats()
        for chat in chats:
            place = await self._screen.place_of(chat.conv)
            other = await self._screen.other_in(chat.conv)
            if other is not None:
                place = f"chat with {place}{await self._screen.mark_of(other)}"
            elif chat.membership is None:
                place += ", which you have left"
            else:
                others = [self._names.name_of(user) for user in chat.membership.members if user != self._own]
                more = ", ..." if len(others) > ON_OPENING else ""
                place += f" with {', '.join(others[:ON_OPENING])}{more}"
            self._say(place + (f": {chat.badge} unread" if chat.badge else ""))
        if not chats:
            self._say("no conversation yet: /to NAME begins one")

    async def history(self, text: str) -> None:
        await self._screen.show_history(self._screen.opened(), max(number_of(text), 1) if text else HISTORY)

    async def read(self, _: str) -> None:
        await self._screen.mark_read(self._screen.opened())
        self._say("all that was shown here is read")

    async def ticks(self, _: str) -> None:
        conv = self._screen.opened()
        other = await self._screen.other_in(conv)
        own = [r for r in await self._client.history(conv, limit=FAR) if self._is_mine(r) and r.note is Note.MESSAGE]
        for record in own[-ON_OPENING:]:
            status = await self._client.status(conv, record.message_id)
            tally = await self._client.tally(conv, record.message_id)
            at = clock(record.at_ms, now_ms=self._screen.wall_ms())
            name = None if other is None else self._names.name_of(other)
            self._say(f"{at} {how_far(status, tally, name)}: {what_it_says(record, self._names.name_of)}")
        if not own:
            self._say("you have written nothing here from this device")

    # ---- messages ----

    async def retry(self, _: str) -> None:
        conv = self._screen.opened()
        records = await self._client.history(conv, limit=FAR)
        # What was sent again has the same content under another id.
        again = {record.content for record in records if not record.failed and self._is_mine(record)}
        failed = [r for r in records if r.failed and self._is_mine(r) and r.content not in again]
        for record in failed:
            await self._client.retry(conv, record.message_id)
        if not failed:
            self._say("nothing here failed")

    async def file(self, text: str) -> None:
        conv = self._screen.opened()
        path, caption = _to_send(text)
        if self._client.state is not ConnectionState.LIVE:
            raise ValueError("a file goes to the server first, and there is no connection now: try again later")
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        await self._phone.send_file(conv, path, media_type=media_type, caption=caption)
        await self._written_in(conv)

    async def save(self, text: str) -> None:
        number, *rest = quoted(text) or ["1"]
        records = await self._client.history(self._screen.opened(), limit=FAR)
        files = [record.what for record in records if isinstance(record.what, Attachment)]
        if not 0 < number_of(number) <= len(files):
            raise ValueError(f"there are {len(files)} files here; 1 is the last one")
        attachment = files[-int(number)]
        path = _place(self._folder, rest, attachment.pointer.name)
        size = await self._phone.save_file(attachment, path)
        self._say(f"saved {path}, {size:,} bytes")

    async def search(self, text: str) -> None:
        await self._phone.index.fill(self._client)
        hits = self._phone.index.search(" ".join(some_of(text, "for what? /search WORDS")))
        for hit in reversed(hits):
            at = clock(hit.at_ms, now_ms=self._screen.wall_ms())
            self._say(f"found: {at} {await self._screen.from_whom(hit.sender, hit.conv)}: {clean(hit.snippet)}")
        if not hits:
            self._say("nothing found on this device, which is all that was searched")

    # ---- people ----

    async def who(self, _: str) -> None:
        members = await self._screen.members()
        others = [user for user in members if user != self._own][:MAX_WATCHED]
        if self._client.state is not ConnectionState.LIVE:
            self._say("how they are is not known without a connection")
        else:
            await self._look(others)
        for user in others:
            self._say(self._names.name_of(user) + await self._screen.mark_of(user) + self._presence(user))
        if len(members) > len(others):
            self._say("and you" if len(members) == len(others) + 1 else f"{len(members):,} members in all")

    def _presence(self, user: UserId) -> str:
        if self._client.state is not ConnectionState.LIVE:
            return ""  # what was last heard may be long over
        return f": {last_seen(self._client.presence(user), now_ms=self._screen.wall_ms())}"

    async def _look(self, users: Sequence[UserId]) -> None:
        """Watch these people and wait for the answers, for a moment; of whom is watched news come by themselves."""
        if self._watched == set(users):
            return
        self._watched = missing = set(users)
        events = self._client.events()
        self._client.watch(users)
        while missing and (event := await events.get(timeout_s=PRESENCE_S)) is not None:
            if isinstance(event, PresenceChanged):
                missing = missing - {event.user}

    async def add(self, text: str) -> None:
        users = [self._names.user_of(name) for name in some_of(text, "whom? /add NAME ...")]
        group = await self._here_group()
        await self._check_there(users)
        await self._client.change_members(group, added=users)

    async def remove(self, text: str) -> None:
        users = [self._names.user_of(name) for name in some_of(text, "whom? /remove NAME ...")]
        await self._client.change_members(await self._here_group(), removed=users)

    async def leave(self, _: str) -> None:
        await self._client.leave(await self._here_group())

    # ---- the program ----

    async def state(self, _: str) -> None:
        unsent = await self.unsent()
        waiting = f", {unsent} waiting to be sent" if unsent else ""
        screen, state = self._screen, self._client.state
        if state is ConnectionState.OFFLINE and screen.offline_since_ms is not None:
            since = clock(screen.offline_since_ms, now_ms=screen.wall_ms())
            self._say(f"○ offline since {since}{waiting}, next try within {max(screen.retry_in_s or 0, 1):.0f} s")
        else:
            self._say(f"{GLYPHS[state]} {state.value}{waiting}")

    async def connect(self, _: str) -> None:
        if self._client.state not in (ConnectionState.REPLACED, ConnectionState.REFUSED):
            raise ValueError("it connects by itself")
        self._client.reconnect()

    async def help(self, _: str) -> None:
        for word, command in COMMANDS.items():
            self._say(f"{f'{word} {command.usage}':<22}{command.help}")
        self._say("Anything else is sent to the open conversation; a message that begins with / is written with two.")
        self._say("Others hear that you have read what was shown here when you answer, or by /read.")

    async def quit(self, _: str) -> None:
        self.is_over = True

    # ---- helpers ----

    @property
    def _own(self) -> UserId:
        return self._client.device.user

    async def _here_group(self) -> ConversationId:
        if await self._screen.other_in(self._screen.opened()) is not None:
            raise ValueError("this is a conversation of two; /group makes a group")
        return self._screen.opened()

    async def _check_there(self, users: Sequence[UserId]) -> None:
        """Whoever is written to for the first time must have come: what is sent to nobody waits for nobody."""
        if not await self._client.wait_live(timeout_s=LIVE_S):
            raise ValueError("whom you have not written to before is looked up, and there is no connection now")
        found = {device.user for device in await self._client.devices_of(users)}
        if missing := [self._names.name_of(user) for user in users if user not in found]:
            raise ValueError(f"there is no {' and no '.join(missing)} yet: they have to come once before")

    async def _open(self, conv: ConversationId) -> None:
        if self._screen.here is not None:
            self._client.close_chat(self._screen.here)
        self._screen.here = conv
        await self._client.open_chat(conv)

    async def _group(self, label: str) -> ConversationId:
        convs = [chat.conv for chat in await self._client.chats() if f"#{chat.conv}".startswith(label)]
        groups = [conv for conv in convs if await self._screen.other_in(conv) is None]
        if len(groups) != 1 or label == "#":
            raise ValueError(f"{label} is {'more than one' if groups else 'no'} group; /chats lists them")
        return groups[0]

    async def _write(self, text: str) -> None:
        conv = self._screen.opened()
        await self._client.send(conv, text)
        await self._written_in(conv)

    async def _written_in(self, conv: ConversationId) -> None:
        self._written.add(conv)
        # Who answers has read.
        await self._screen.mark_read(conv)

    def _is_mine(self, record: Record) -> bool:
        return record.sender == self._client.device


def _trust(do: Callable[[Trust, str], Awaitable[None]]) -> Callable[[Commands, str], Awaitable[None]]:
    return lambda commands, text: do(commands.trust, text)


COMMANDS: Final[dict[str, Command]] = {
    "/to": Command("NAME", "write to somebody, or to a group: #7f3a", Commands.to),
    "/chats": Command("", "your conversations, and what is unread", Commands.chats),
    "/history": Command("[N]", "the last N lines of this conversation", Commands.history),
    "/read": Command("", "say that you have read what was shown here", Commands.read),
    "/ticks": Command("", "how far your last messages here have come", Commands.ticks),
    "/retry": Command("", "send again what was not sent here", Commands.retry),
    "/file": Command("PATH [CAPTION]", "send a file", Commands.file),
    "/save": Command("[N] [PATH]", "save the Nth file of this conversation, counted from the last", Commands.save),
    "/search": Command("WORDS", "search on this device", Commands.search),
    "/group": Command("NAME ...", "make a group with these people, and write to it", Commands.group),
    "/who": Command("", "who is in this conversation, and how they are", Commands.who),
    "/add": Command("NAME ...", "add people to this group", Commands.add),
    "/remove": Command("NAME ...", "remove people from this group", Commands.remove),
    "/leave": Command("", "leave this group", Commands.leave),
    "/verify": Command(
        "[NAME] [CODE]",
        "show safety numbers, NAME's with a code to scan; or compare the other side's",
        _trust(Trust.verify),
    ),
    "/accept": Command("NAME", "go on after somebody's safety number has changed", _trust(Trust.accept)),
    "/link": Command(
        "CODE",
        "let another device into your account: the code that it shows",
        _trust(Trust.link),
    ),
    "/devices": Command("", "your devices", _trust(Trust.devices)),
    "/unlink": Command("N", "put a device out of your account", _trust(Trust.unlink)),
    "/state": Command("", "how this device stands with the server", Commands.state),
    "/connect": Command("", "connect again, after another connection of this device", Commands.connect),
    "/help": Command("", "this list", Commands.help),
    "/quit": Command("", "end; what is not sent goes out the next time", Commands.quit),
}


def _to_send(text: str) -> tuple[Path, str]:
    """The file that is meant, and its caption; quotes hold a path with spaces together."""
    first, *caption = quoted(text) or [""]
    path = Path(first).expanduser()
    if not path.is_file():
        raise ValueError(f"{first}: there is no such file" if first else "which? /file PATH")
    return path, " ".join(caption)


def _place(folder: Path, asked: Sequence[str], name: str) -> Path:
    """Where to save. The name is the sender's word: it says nothing about where, and replaces no file that is there."""
    path = Path(asked[0]).expanduser() if asked else folder
    if path.is_dir():
        path /= file_name(name)
    if path.exists():
        raise ValueError(f"{path} is there already; /save N PATH saves it elsewhere")
    return path


def _is_waiting(record: Record) -> bool:
    return not record.seq and not record.failed
