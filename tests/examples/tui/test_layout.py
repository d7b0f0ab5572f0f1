"""Items as lines: pure, so that odd texts and widths are tried by the hundred."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from examples.tui.feed import Day, Divider, Item, Mark, Role, Said, Sending, Told, size_in_words
from examples.tui.glyphs import ASCII, GLYPHS, glyphs_for
from examples.tui.keys import key_names
from examples.tui.layout import Page, shorten, wrap
from whisperkit.client.history import Note, Record
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, MessageId

BOB = DeviceId.named("bob", 1)
RECORD = Record(
    ConversationId.direct(BOB.user, DeviceId.named("alice", 1).user),
    MessageId.mint(wall_ms=1, random_bytes=bytes),
    BOB,
    ConversationSeq(1),
    1,
    Note.MESSAGE,
)


def lines(*items: Item, width: int = 40) -> list[str]:
    return [line.text for block in Page(GLYPHS, key_names()).lay_out(items, width=width) for line in block]


def said(text: str, mark: Mark | None = None) -> Said:
    return Said(RECORD, "bob", "14:02", text, mark=mark)


def test_a_message_is_name_time_and_words_with_the_mark_at_the_right_edge() -> None:
    assert lines(said("hello", Mark("✓✓", Role.DIM))) == ["bob 14:02  hello                      ✓✓"]


def test_later_lines_stand_below_the_first_so_that_none_can_pass_for_a_message() -> None:
    assert lines(said("one\n14:03 carol: two")) == ["bob 14:02  one", "           14:03 carol: two"]


def test_a_mark_that_does_not_fit_has_a_line_of_its_own() -> None:
    mark = Mark("✗ not sent: not a member", Role.FAILED)

    assert lines(said("see you at the gate", mark)) == [
        "bob 14:02  see you at the gate",
        "                ✗ not sent: not a member",
    ]


def test_days_and_the_divider_are_lines_across() -> None:
    assert lines(Day("Monday 1 June"), Divider("2 unread"), width=24) == [
        "──── Monday 1 June ─────",
        "─────── 2 unread ───────",
    ]


def test_a_file_on_its_way_has_a_bar_and_says_what_can_be_done() -> None:
    moving = Sending("1", "you", "14:02", "▤ cat.jpg  1.2 MB", part=0.82, rate=340_000)

    assert "████████░░ 82 % 340 kB/s · p pause" in " ".join(lines(moving, width=90))
    assert "paused at 82 % · p go on · Del give up" in " ".join(lines(moving._replace(is_paused=True), width=90))
    assert "✗ no connection · p go on" in " ".join(lines(moving._replace(problem="no connection"), width=90))
    assert "encrypting" in " ".join(lines(moving._replace(part=None), width=90))


def test_what_is_the_same_is_not_laid_out_again_unless_the_width_or_a_longer_name_changes_it() -> None:
    page = Page(GLYPHS, key_names())
    first, second = said("one"), Sending("1", "bob", "14:02", "cat.jpg", part=0.5)
    before = page.lay_out([first, second], width=40)

    after = page.lay_out([first._replace(), second._replace(part=0.6)], width=40)
    assert after[0] is before[0]
    assert after[1] is not before[1]
    assert page.lay_out([first], width=41)[0] is not before[0]
    assert page.lay_out([first, Sending("2", "barbara", "14:02", "x")], width=41)[0] != before[0]


@given(
    st.text(alphabet=st.characters(exclude_categories=["C", "Z", "M"]) | st.just(" "), max_size=80),
    st.integers(20, 120),
)
def test_no_line_is_wider_than_the_view_and_no_letter_is_lost(text: str, width: int) -> None:
    found = Page(GLYPHS, key_names()).lay_out([said(text, Mark("✓ 12/29", Role.DIM)), Told(RECORD, text)], width=width)

    assert all(cell_len(line.text) <= width for block in found for line in block)
    shown = "".join(line.text for line in found[1])
    assert shown.replace(" ", "") == text.replace(" ", "")


@given(st.text(max_size=60), st.integers(2, 40))
def test_wrapped_lines_fit(text: str, width: int) -> None:
    assert all(cell_len(line) <= width for line in wrap(text.replace("\r", ""), width))


@pytest.mark.parametrize(
    ("text", "width", "short"), [("abcdef", 6, "abcdef"), ("abcdef", 4, "abc…"), ("日本語", 4, "日…")]
)
def test_what_is_too_long_is_cut_with_a_sign(text: str, width: int, short: str) -> None:
    assert shorten(text, width, "…") == short


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (99_400, "99.4 kB"), (300_000, "300 kB"), (1_200_000, "1.2 MB"),
     (999_600, "1.0 MB"), (3_000_000_000, "3.0 GB"), (2 * 10**12, "2.0 TB")],
)  # fmt: skip
def test_sizes_are_said_as_people_say_them(size: int, words: str) -> None:
    assert size_in_words(size) == words


@pytest.mark.parametrize(
    ("encoding", "glyphs"), [("utf-8", GLYPHS), ("ascii", ASCII), ("latin-1", ASCII), (None, ASCII)]
)
def test_a_terminal_has_the_marks_that_it_can_show(encoding: str | None, glyphs: object) -> None:
    assert glyphs_for(encoding) is glyphs


def test_the_marks_of_ascii_are_of_ascii() -> None:
    assert "".join(one for one in ASCII if isinstance(one, str)).isascii()
    assert "".join(ASCII.states.values()).isascii()
