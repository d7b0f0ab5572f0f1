"""What is shown of a conversation, one item after the other: days, the unread divider, messages with their marks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, tzinfo
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from examples.chat.lines import Who, file_name, harmless, local, what_changed
from examples.tui.glyphs import Glyphs
from examples.tui.keys import KeyNames
from examples.tui.room import Room
from examples.tui.timeline import Key, key_of
from whisperkit.client.content import Attachment, Text
from whisperkit.client.events import Notice
from whisperkit.client.history import Note, Record
from whisperkit.ids import UserId
from whisperkit.receipts import Tally

__all__ = [
    "Changed",
    "Day",
    "Divider",
    "Feed",
    "Identity",
    "Item",
    "Mark",
    "Role",
    "Said",
    "Sending",
    "Told",
    "identity_of",
    "size_in_words",
]

BAR_CELLS: Final = 10


class Role(Enum):
    """What a piece of text is; the theme says how that looks."""

    PLAIN = "plain"
    DIM = "dim"
    NAME = "name"
    READ = "read"
    FAILED = "failed"
    NOTE = "note"
    DIVIDER = "divider"
    WARNING = "warning"


class Mark(NamedTuple):
    """How far a message has come.

    Attributes:
        text: The mark.
        role: What it is.
    """

    text: str
    role: Role


class Said(NamedTuple):
    """A message.

    Attributes:
        record: It.
        name: Whose.
        at: The time of day.
        text: Its words, with line breaks.
        role: How they look.
        mark: How far it has come, if it is an own one.
        below: What can be done with it.
    """

    record: Record
    name: str
    at: str
    text: str
    role: Role = Role.PLAIN
    mark: Mark | None = None
    below: str = ""


class Sending(NamedTuple):
    """A file on its way to the server.

    Attributes:
        number: Which one.
        name: Who sends.
        at: The time of day.
        text: What it is.
        part: How much of it is there, from 0 to 1; `None` while it is encrypted.
        rate: Bytes a second.
        is_paused: Whether it goes on.
        problem: Why it does not.
    """

    number: str
    name: str
    at: str
    text: str
    part: float | None = None
    rate: float = 0.0
    is_paused: bool = False
    problem: str = ""


class Day(NamedTuple):
    """A new day begins."""

    text: str


class Divider(NamedTuple):
    """What is below was not read when the conversation was opened."""

    text: str


class Told(NamedTuple):
    """Somebody came or went."""

    record: Record
    text: str


class Changed(NamedTuple):
    """Somebody has another safety number, or another device.

    Attributes:
        event: What happened.
        text: That in words, with what it may mean.
        below: The choices.
    """

    event: Notice
    text: str
    below: str


Item: TypeAlias = Said | Sending | Day | Divider | Told | Changed
Identity: TypeAlias = tuple[object, ...]


def identity_of(item: Item) -> Identity:
    """What stays of an item when it is made anew."""
    match item:
        case Said(record) | Told(record):
            return "record", *key_of(record)
        case Sending(number):
            return "sending", number
        case Changed(event):
            return "changed", type(event), event.device
        case Day(text):
            return "day", text
        case Divider():
            return ("divider",)


class _Read(NamedTuple):
    """What does not change about a record: it is read once, not at each drawing."""

    record: Record
    words: str | None
    at: str
    day: date


class Feed:
    """Makes items.

    Args:
        who: What users are called.
        own: This user.
        glyphs: The marks.
        wall_ms: The clock.
        zone: Where the person is; `None` for what the system says.
        key: Which key does what.
    """

    def __init__(
        self,
        who: Who,
        own: UserId,
        *,
        glyphs: Glyphs,
        wall_ms: Callable[[], int],
        zone: tzinfo | None,
        key: KeyNames,
    ) -> None:
        self._who = who
        self._own = own
        self._glyphs = glyphs
        self._wall_ms = wall_ms
        self._zone = zone
        self._failed_keys = f"{key('retry')} retry · {key('copy')} copy · {key('delete')} delete"
        self._read: dict[Key, _Read] = {}

    def items(
        self, room: Room, *, is_group: bool, sending: Sequence[Sending] = (), changed: Sequence[Changed] = ()
    ) -> list[Item]:
        """What is shown of a conversation."""
        items: list[Item] = []
        day: date | None = None
        is_divided = room.first_unread is None
        known, self._read = self._read, {}  # of this conversation only
        for record in room.records:
            read = known.get(key_of(record))
            if read is None or read.record is not record:
                read = self._look(record)
            self._read[key_of(record)] = read
            item = self._item(read, room, is_group=is_group)
            if item is None:
                continue
            if read.day != day:
                day = read.day
                items.append(Day(self._day(day)))
            if not is_divided and record.seq and room.first_unread is not None and record.seq >= room.first_unread:
                items.append(Divider(f"{room.unread} unread"))
                is_divided = True
            items.append(item)
        return [*items, *sending, *changed]

    def _look(self, record: Record) -> _Read:
        words = None if record.note is Note.ROSTER else self.words(record)
        return _Read(record, words, self.clock(record.at_ms), local(record.at_ms, self._zone).date())

    def _day(self, day: date) -> str:
        return f"{day:%A} {day.day} {day:%B}" + (f" {day.year}" if day.year != self._today.year else "")

    @property
    def _today(self) -> date:
        return local(self._wall_ms(), self._zone).date()

    def clock(self, at_ms: int) -> str:
        """The time of day."""
        return f"{local(at_ms, self._zone):%H:%M}"

    def day_or_clock(self, at_ms: int) -> str:
        """The time of day; the day of the week before today; the date when that is longer ago."""
        at = local(at_ms, self._zone).date()
        days = (self._today - at).days
        return self.clock(at_ms) if days < 1 else f"{at:%a}" if days < 7 else f"{at.day} {at:%b}"

    def day_and_clock(self, at_ms: int) -> str:
        """The time of day, behind the day unless it is today."""
        day, clock = self.day_or_clock(at_ms), self.clock(at_ms)
        return clock if day == clock else f"{day} {clock}"

    def words(self, record: Record) -> str | None:
        """What a record says; `None` for what is not shown."""
        if record.note is Note.UNREADABLE:
            return f"{self._glyphs.unreadable} waiting for this message"
        if record.note is Note.ROSTER:
            return what_changed(record.content, record.sender, self._who)
        match record.what:
            case Text(text, _):
                return harmless(text)
            case Attachment() as file:
                return "  ".join(filter(None, (self.file_words(file), harmless(file.caption))))
            case _:
                return None

    def file_words(self, file: Attachment) -> str:
        """A file's name and size."""
        return self.file_name_words(file.pointer.name, file.pointer.size)

    def file_name_words(self, name: str, size: int) -> str:
        """The same, of a name and a number of bytes."""
        return f"{self._glyphs.file} {file_name(name)}  {size_in_words(size)}"

    def _item(self, read: _Read, room: Room, *, is_group: bool) -> Item | None:
        record = read.record
        if record.note is Note.ROSTER:
            # Put in words anew: somebody in it may have a name by now.
            words = self.words(record) if is_group else None
            return None if words is None else Told(record, words)
        if read.words is None:
            return None
        name = "the server" if record.sender is None else self._who(record.sender.user)
        said = Said(record, name, read.at, read.words)
        if record.note is Note.UNREADABLE:
            return said._replace(role=Role.DIM)
        if record.sender is None or record.sender.user != self._own:
            return said
        if record.failed:
            mark = Mark(f"{self._glyphs.failed} not sent: {record.failed}", Role.FAILED)
            return said._replace(mark=mark, below=self._failed_keys)
        if not record.seq:
            return said._replace(role=Role.DIM, mark=Mark(self._glyphs.pending, Role.DIM))
        return said._replace(mark=self._mark(room.tallies.get(record.message_id), is_group=is_group))

    def _mark(self, tally: Tally | None, *, is_group: bool) -> Mark:
        glyphs = self._glyphs
        if tally is None or not tally.delivered:
            return Mark(glyphs.sent, Role.DIM)  # also of another device of this user, or not looked at yet
        if tally.read == tally.audience:
            return Mark(glyphs.read, Role.READ)
        if tally.delivered == tally.audience:
            return Mark(glyphs.delivered, Role.DIM)
        return Mark(f"{glyphs.sent} {tally.delivered}/{tally.audience}" if is_group else glyphs.sent, Role.DIM)


def size_in_words(size: int) -> str:
    """A number of bytes as people say it."""
    if size < 1_000:
        return f"{size} B"
    for unit, step in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if size < 999.5 * step:
            return f"{size / step:.1f} {unit}" if size < 99.5 * step else f"{size / step:.0f} {unit}"
    return f"{size / 1e12:.1f} TB"
