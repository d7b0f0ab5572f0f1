"""How things are put in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from examples.chat.lines import clean, clock, file_name, how_far, last_seen, own_line, what_it_says
from whisperkit.client.content import Text, encode_content
from whisperkit.client.events import PresenceChanged
from whisperkit.client.history import Note, Record
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId, UserId
from whisperkit.receipts import MessageStatus, Tally
from whisperkit.sync.codec import encode_change
from whisperkit.sync.frames import PresenceState, RosterChange

ALICE, BOB, CAROL = (UserId.named(name) for name in ("alice", "bob", "carol"))
NAMES = {ALICE: "alice", BOB: "you", CAROL: "carol"}
TEXT = encode_content(Text("at the gate"))


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


NOW = at("2026-11-24T14:30")


def record(note: Note, content: bytes, *, sender: UserId | None = ALICE, seq: int = 7, failed: str = "") -> Record:
    message_id = MessageId.mint(wall_ms=1, random_bytes=bytes)
    device = None if sender is None else DeviceId(sender, 1)
    return Record(ConversationId("7f3a"), message_id, device, ConversationSeq(seq), NOW, note, content, failed)


def says(change: RosterChange, *, sender: UserId | None = ALICE) -> str | None:
    return what_it_says(record(Note.ROSTER, encode_change(change), sender=sender), NAMES.__getitem__)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello", "hello"),
        ("two\nlines\r\nthree", "two\n      lines\n      three"),
        ("a\ttab", "a    tab"),
        ("\x1b[2J\x1b]0;title\x07", "�[2J�]0;title�"),
        ("one\r14:08 bob: forged", "one�14:08 bob: forged"),
        ("\x9b31m\x85\u2028x\u2029", "�31m��x�"),
        ("\u202egnp.exe\u2066", "�gnp.exe�"),
        ("👩\u200d🚀 שלום", "👩\u200d🚀 שלום"),
    ],
)
def test_text_of_others_moves_no_cursor_and_forges_no_line(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("cat.jpg", "cat.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\cat.jpg", "cat.jpg"),
        (".bashrc", "bashrc"),
        ("..", "file"),
        ("", "file"),
        ("/", "file"),
        ("a\nb\x1bc.txt", "a_b_c.txt"),
    ],
)
def test_a_file_has_no_folder_and_is_not_hidden_whatever_its_sender_calls_it(name: str, safe: str) -> None:
    assert file_name(name) == safe


def test_the_day_is_told_unless_it_is_today() -> None:
    assert clock(at("2026-11-24T09:05"), now_ms=NOW, zone=UTC) == "09:05"
    assert clock(at("2026-11-03T23:59"), now_ms=NOW, zone=UTC) == "3 Nov 23:59"


@pytest.mark.parametrize(
    ("state", "seen", "words"),
    [
        (PresenceState.ONLINE, None, "online"),
        (PresenceState.UNKNOWN, "2026-11-24T14:02", "not known"),
        (PresenceState.OFFLINE, None, "offline"),
        (PresenceState.OFFLINE, "2026-11-24T14:02", "last seen today 14:02"),
        (PresenceState.OFFLINE, "2026-11-23T23:59", "last seen 23 November"),
    ],
)
def test_nobody_is_seen_to_the_minute_when_it_is_longer_ago_than_today(
    state: PresenceState, seen: str | None, words: str
) -> None:
    presence = PresenceChanged(BOB, state, None if seen is None else at(seen), True)

    assert last_seen(presence, now_ms=NOW, zone=UTC) == words


def test_what_could_not_be_read_is_said_to_be_awaited() -> None:
    words = what_it_says(record(Note.UNREADABLE, b""), NAMES.__getitem__)

    assert words is not None
    assert words.startswith("⧖ could not be decrypted")


def test_what_is_not_understood_is_not_shown() -> None:
    assert what_it_says(record(Note.MESSAGE, b"\xc1"), NAMES.__getitem__) is None
    assert what_it_says(record(Note.ROSTER, b"\xc1"), NAMES.__getitem__) is None
    assert says(RosterChange()) is None


@pytest.mark.parametrize(
    ("change", "sender", "words"),
    [
        (RosterChange((ALICE, BOB, CAROL)), ALICE, "alice added you, carol"),
        (RosterChange((), (CAROL,)), ALICE, "alice removed carol"),
        (RosterChange((), (ALICE,)), ALICE, "alice left"),
        (RosterChange((CAROL,), (ALICE, BOB)), ALICE, "alice added carol, left, removed you"),
        (RosterChange((CAROL,)), BOB, "you added carol"),
        (RosterChange((CAROL,)), None, "the server added carol"),
    ],
)
def test_members_come_and_go_as_lines(change: RosterChange, sender: UserId | None, words: str) -> None:
    assert says(change, sender=sender) == words


def test_not_everybody_of_a_large_group_is_named() -> None:
    many = RosterChange(tuple(UserId.named(f"member-{n}") for n in range(34)))

    words = what_it_says(record(Note.ROSTER, encode_change(many)), lambda _: "x")

    assert words == f"x added {', '.join(['x'] * 10)} and 24 more"


@pytest.mark.parametrize(
    ("seq", "failed", "line"),
    [
        (0, "", "14:08 you, waiting to send to bob: hi"),
        (7, "", "14:08 you, sent to bob: hi"),
        (0, "not member", "14:08 you, not sent to bob: hi  (not member; /retry sends it again)"),
    ],
)
def test_nothing_is_called_sent_before_the_server_has_it(seq: int, failed: str, line: str) -> None:
    assert own_line(record(Note.MESSAGE, TEXT, seq=seq, failed=failed), "hi", to=" to bob", at="14:08") == line


@pytest.mark.parametrize(
    ("status", "name", "words"),
    [
        (MessageStatus.FAILED, None, "not sent"),
        (MessageStatus.PENDING, "bob", "waiting to send"),
        (MessageStatus.SENT, "bob", "sent"),
        (MessageStatus.DELIVERED, "bob", "delivered to bob"),
        (MessageStatus.READ, "bob", "read by bob"),
        (MessageStatus.SENT, None, "delivered to 12 of 29, read by 3"),
        (MessageStatus.READ, None, "delivered to 12 of 29, read by 3"),
    ],
)
def test_a_tick_is_told_in_words(status: MessageStatus, name: str | None, words: str) -> None:
    assert how_far(status, Tally(12, 3, 29), name) == words


def test_in_a_group_that_nobody_has_it_yet_is_sent() -> None:
    assert how_far(MessageStatus.SENT, Tally(0, 0, 29), None) == "sent"
