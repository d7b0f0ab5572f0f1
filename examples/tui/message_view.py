"""The messages of a conversation: lines that are laid out once, and drawn where they are looked at.

Its view moves for three reasons: the person scrolls, an own message was written, or it is at the bottom and something
comes. Whatever else changes leaves the line at the top where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeAlias

from rich.segment import Segment
from textual.binding import BindingType
from textual.content import Content
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from examples.tui.feed import Day, Divider, Identity, Item, Role, Said, Told, identity_of
from examples.tui.glyphs import Glyphs
from examples.tui.keys import MESSAGE_KEYS, KeyNames, bindings
from examples.tui.layout import Line, Page
from whisperkit.ids import ConversationSeq

__all__ = ["MessageView"]

_Place: TypeAlias = tuple[Identity, int]

# How much is kept above the divider when the view opens at it.
_ABOVE_DIVIDER = 3


class MessageView(ScrollView, can_focus=True):
    """Shows items."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(MESSAGE_KEYS)]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"message--{role.value}" for role in Role} | {"message--selected"}

    class Asked(Message):
        """Something is to be done with an item; `None` if none is selected."""

        def __init__(self, action: str, item: Item | None) -> None:
            super().__init__()
            self.action = action
            self.item = item

    class Moved(Message):
        """Other lines are in view."""

        def can_replace(self, message: Message) -> bool:
            """Where the view is counts, not the way there."""
            return isinstance(message, MessageView.Moved)

    def __init__(self, glyphs: Glyphs, key: KeyNames) -> None:
        super().__init__(id="messages")
        self._page = Page(glyphs, key)
        self._hint = (
            f"↑↓ select · {key('open')} open · {key('who')} who has it · {key('keys')} keys · {key('back')} back"
        )
        self._items: list[Item] = []
        self._lines: list[Line] = []
        # Of each line the number of its item; of each item its first line, and where it is by what stays of it.
        self._owners: list[int] = []
        self._starts: list[int] = []
        self._numbers: dict[Identity, int] = {}
        self._selected: Identity | None = None
        # The item that is at the top, and which of its lines; `None` for a view that stays at the bottom.
        self._anchor: _Place | None = None
        self._is_moving = False

    def on_focus(self) -> None:
        """Say what can be done here."""
        self.border_subtitle = Content(self._hint)

    def on_blur(self) -> None:
        """The keys are for something else."""
        self.border_subtitle = None

    # ---- what is shown ----

    def show(self, items: Sequence[Item]) -> None:
        """Show these items, and move nothing that is in view."""
        if items == self._items:
            return
        self._items = list(items)
        self._lay_out()
        self._move()

    def open_at_divider(self) -> None:
        """Go to where the unread begins, or to the bottom."""
        self._selected = None
        divider = next((number for number, item in enumerate(self._items) if isinstance(item, Divider)), None)
        top = 0 if divider is None or not self._starts else self._starts[divider]
        if divider is not None and len(self._lines) - top > self.size.height:
            self._anchor = self._place(max(0, top - _ABOVE_DIVIDER))
            self._move()
        else:
            self.to_bottom()

    def action_first_unread(self) -> None:
        """Back to where the unread begins; where nothing was unread, to the newest message."""
        self.open_at_divider()

    def to_bottom(self) -> None:
        """Go to the newest message."""
        self._anchor = None
        self._move()

    @property
    def is_at_bottom(self) -> bool:
        """Whether the newest message is in view, and the next one will be."""
        return self._anchor is None

    @property
    def is_at_top(self) -> bool:
        """Whether the first line is where the view is to be."""
        return self._anchor is not None and self._line_of(self._anchor) == 0

    def seen_upto(self) -> ConversationSeq:
        """The number of the last message whose end is in view; 0 if none is, or none of a number."""
        bottom = min(self.scroll_offset.y + self.size.height, len(self._lines))
        for number in range(self._owners[bottom - 1] if bottom else -1, -1, -1):
            item = self._items[number]
            if isinstance(item, Said | Told) and item.record.seq and self._end_of(number) <= bottom:
                return item.record.seq
        return ConversationSeq(0)

    def _end_of(self, number: int) -> int:
        """The first line below an item."""
        return self._starts[number + 1] if number + 1 < len(self._starts) else len(self._lines)

    def in_view(self) -> list[Item]:
        """The items of which a line is in view."""
        top = self.scroll_offset.y
        numbers = sorted(set(self._owners[top : top + self.size.height]))
        return [self._items[number] for number in numbers]

    def text(self) -> list[str]:
        """The lines in view."""
        top = self.scroll_offset.y
        return [line.text for line in self._lines[top : top + self.size.height]]

    # ---- what is selected ----

    @property
    def selected(self) -> Item | None:
        """The item that is selected."""
        number = self._selected_number
        return None if number is None else self._items[number]

    @property
    def _selected_number(self) -> int | None:
        return None if self._selected is None else self._numbers.get(self._selected)

    def select(self, item: Item) -> None:
        """Select an item, and bring it into view."""
        self._selected = identity_of(item)
        number = self._selected_number
        if number is None or not self._starts:
            return
        first, end = self._starts[number], self._end_of(number)
        top, height = self.scroll_offset.y, self.size.height
        if first < top:
            top = first
        elif end > top + height:
            top = min(first, end - height)
        self._go(top)

    def select_message(self, name: object) -> bool:
        """Select a message by its id; false if it is not here."""
        for item in self._items:
            if isinstance(item, Said) and item.record.message_id == name:
                self.select(item)
                return True
        return False

    def action_select(self, step: int) -> None:
        """Select the next one, or the one before; the first time the last that is in view."""
        chosen = [item for item in self._items if not isinstance(item, Day | Divider | Told)]
        if not chosen:
            return
        names = [identity_of(item) for item in chosen]
        if self._selected in names:
            place = names.index(self._selected) + step
            self.select(chosen[min(max(place, 0), len(chosen) - 1)])
        else:
            shown = [item for item in self.in_view() if not isinstance(item, Day | Divider | Told)]
            self.select(shown[-1] if shown else chosen[-1])

    def action_ask(self, action: str) -> None:
        """Ask for something to be done with the selected item."""
        self.post_message(self.Asked(action, self.selected))

    def action_top(self) -> None:
        """To the first line."""
        self.scroll_by(-len(self._lines))

    def action_bottom(self) -> None:
        """To the newest message."""
        self.to_bottom()

    def action_page(self, pages: int) -> None:
        """Scroll by pages."""
        self.scroll_by(pages * max(1, self.size.height - 1))

    def on_click(self, event: Click) -> None:
        """Select what is clicked at."""
        place = int(event.y) + self.scroll_offset.y
        if 0 <= place < len(self._lines):
            item = self._items[self._owners[place]]
            if not isinstance(item, Day | Divider | Told):
                self.select(item)

    # ---- drawing ----

    def scroll_by(self, lines: int) -> None:
        """Scroll by lines, as the person wants it."""
        self._go(max(0, self.scroll_offset.y + lines))

    def _go(self, top: int) -> None:
        """Let a line be at the top, or the last one at the bottom."""
        self._anchor = None if top >= self._most else self._place(top)
        self._move()

    @property
    def _most(self) -> int:
        return max(0, len(self._lines) - self.size.height)

    def _move(self) -> None:
        """Go where the view is to be: now, and again once its new size counts."""
        self._scroll()
        self.call_after_refresh(self._scroll)
        self.refresh()
        self.post_message(self.Moved())

    def _scroll(self) -> None:
        top = self._most if self._anchor is None else min(self._line_of(self._anchor), self._most)
        self._is_moving = True
        self.scroll_to(y=top, animate=False, immediate=True, force=True)
        self._is_moving = False

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """The view was moved; if not from here, the person scrolled."""
        super().watch_scroll_y(old_value, new_value)
        if not self._is_moving:
            top = round(new_value)
            self._anchor = None if top >= self._most else self._place(top)
            self.post_message(self.Moved())

    def on_resize(self, event: Resize) -> None:
        """Lay out anew."""
        self._lay_out()
        self._move()

    def _lay_out(self) -> None:
        width = self._width
        self._lines, self._owners, self._starts = [], [], []
        self._numbers = {identity_of(item): number for number, item in enumerate(self._items)}
        for number, lines in enumerate(self._page.lay_out(self._items, width=width) if width else ()):
            self._starts.append(len(self._lines))
            self._lines += lines
            self._owners += [number] * len(lines)
        self.virtual_size = Size(width, len(self._lines))

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width  # the scroll bar has a column of its own

    def _place(self, top: int) -> _Place | None:
        """What is on a line; of a line across, what is below it: the same day may begin earlier a moment later."""
        for line in range(top, len(self._lines)):
            number = self._owners[line]
            if not isinstance(self._items[number], Day | Divider):
                return identity_of(self._items[number]), top - self._starts[number]
        return None

    def _line_of(self, place: _Place) -> int:
        """Where something is now; 0 if it is not here any more."""
        identity, within = place
        number = self._numbers.get(identity)
        return 0 if number is None or number >= len(self._starts) else self._starts[number] + within

    def render_line(self, y: int) -> Strip:
        """Draw a line."""
        place, width = y + self.scroll_offset.y, self._width
        if place >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        line = self._lines[place]
        is_selected = self._owners[place] == self._selected_number
        segments: list[Segment] = []
        for piece in line.pieces:
            style = self.get_component_rich_style(f"message--{piece.role.value}")
            if is_selected:
                style += self.get_component_rich_style("message--selected", partial=True)
            segments.append(Segment(piece.text, style))
        rest = self.rich_style
        if is_selected:
            rest += self.get_component_rich_style("message--selected", partial=True)
        return Strip(segments).adjust_cell_length(width, rest)
