"""The list of conversations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from examples.tui.desk import ChatLine
from examples.tui.feed import Feed
from examples.tui.glyphs import Glyphs
from examples.tui.layout import shorten
from whisperkit.ids import ConversationId

__all__ = ["ChatList"]


class _Row(NamedTuple):
    """What is shown of a conversation."""

    line: ChatLine
    is_here: bool
    width: int
    at: str
    marks: str


class ChatList(OptionList):
    """Two lines for each conversation: its name, when, what waits; and what was said last."""

    class Chosen(Message):
        """A conversation is to be opened."""

        def __init__(self, conv: ConversationId) -> None:
            super().__init__()
            self.conv = conv

    def __init__(self, glyphs: Glyphs, feed: Feed) -> None:
        super().__init__(id="chats")
        self._glyphs = glyphs
        self._feed = feed
        self._shown: list[ChatLine] = []
        self._rows: list[_Row] = []
        self._here: ConversationId | None = None

    def show(self, lines: Sequence[ChatLine], here: ConversationId | None) -> None:
        """Show these conversations; one of them is open. What is shown already is not drawn again."""
        highlighted = None if self.highlighted is None else self._shown[self.highlighted].conv
        before, self._rows = self._rows, [self._row(line, here) for line in lines]
        convs = [line.conv for line in lines]
        if convs == [line.conv for line in self._shown]:
            for place, row in enumerate(self._rows):
                if row != before[place]:
                    self.replace_option_prompt_at_index(place, self._prompt(row))
        else:
            self.clear_options()
            self.add_options(
                [Option(self._prompt(row), id=f"chat-{conv}") for conv, row in zip(convs, self._rows, strict=True)]
            )
        self._shown, self._here = list(lines), here
        wanted = highlighted if self.has_focus and highlighted is not None else here
        places = {conv: place for place, conv in enumerate(convs)}
        self.highlighted = places.get(wanted, 0 if lines else None) if wanted is not None else 0 if lines else None

    def summarize(self, text: str) -> None:
        """Write something into the lower edge."""
        if self.border_subtitle != Content(text).markup:
            self.border_subtitle = Content(text)

    def on_resize(self) -> None:
        """Lay out anew."""
        self.show(self._shown, self._here)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Open it."""
        event.stop()
        self.post_message(self.Chosen(self._shown[event.option_index].conv))

    def _row(self, line: ChatLine, here: ConversationId | None) -> _Row:
        width = max(12, self.scrollable_content_region.width - 2)
        at = self._feed.day_or_clock(line.at_ms) if line.at_ms else ""
        return _Row(line, line.conv == here, width, at, self._marks(line))

    def _prompt(self, row: _Row) -> Content:
        line, is_here, width, at, marks = row
        right = "  ".join(filter(None, (at, marks)))
        title = shorten(line.title, width - cell_len(right) - 2, self._glyphs.more)
        gap = " " * max(1, width - 1 - cell_len(title) - cell_len(right))
        last = shorten(line.last, width - 2, self._glyphs.more)
        is_loud = bool(line.badge or line.failed or line.is_changed or is_here)
        bar = "▌" if is_here and self._glyphs.rule != "-" else ">" if is_here else " "
        return Content.assemble(
            bar,
            (title, "bold" if is_loud else ""),
            gap,
            (at, "dim"),
            ("  " if at and marks else ""),
            (marks, "bold"),
            "\n  ",
            (last or " ", "dim" if not line.failed else ""),
        )

    def _marks(self, line: ChatLine) -> str:
        parts = [
            self._glyphs.changed if line.is_changed else "",
            self._glyphs.failed if line.failed else "",
            ("999+" if line.badge > 999 else f"{line.badge}") if line.badge else "",
        ]
        return " ".join(filter(None, parts))
