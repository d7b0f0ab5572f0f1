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

from examples.tui.feed import Changed, Day, Divider, Item, Role, Said, Sending, Told
from examples.tui.glyphs import Glyphs
from examples.tui.keys import MESSAGE_KEYS, bindings
from examples.tui.layout import Line, lay_out
from whisperkit.ids import ConversationSeq

__all__ = ["MessageView"]

_Name: TypeAlias = tuple[object, ...]
_Place: TypeAlias = tuple[_Name, int]

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

    def __init__(self, glyphs: Glyphs) -> None:
        super().__init__(id="messages")
        self._glyphs = glyphs
        self._items: list[Item] = []
        self._lines: list[Line] = []
        self._selected: _Name | None = None
        # The item that is at the top, and which of its lines; `None` for a view that stays at the bottom.
        self._anchor: _Place | None = None
        self._is_moving = False

    def on_focus(self) -> None:
        """Say what can be done here."""
        self.border_subtitle = Content("↑↓ select · Enter open · i who has it · F1 keys · Esc back")

    def on_blur(self) -> None:
        """The keys are for something else."""
        self.border_subtitle = None

    # ---- what is shown ----

    def show(self, items: Sequence[Item]) -> None:
        """Show these items, and move nothing that is in view."""
        self._items = list(items)
        self._lay_out()
        self._move()

    def open_at_divider(self) -> None:
        """Go to where the unread begins, or to the bottom."""
        self._selected = None
        dividers = [place for place, line in enumerate(self._lines) if self._is_divider(line)]
        if dividers and len(self._lines) - dividers[0] > self.size.height:
            self._anchor = self._place(max(0, dividers[0] - _ABOVE_DIVIDER))
            self._move()
        else:
            self.to_bottom()

    def _is_divider(self, line: Line) -> bool:
        return isinstance(self._items[line.item], Divider)

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
        """The number of the last message whose end is in view; 0 if none is."""
        last = self.scroll_offset.y + self.size.height
        ends: dict[int, int] = {line.item: place for place, line in enumerate(self._lines)}
        seen = [
            item.record.seq
            for number, item in enumerate(self._items)
            if isinstance(item, Said | Told) and ends.get(number, last) < last
        ]
        return max(seen, default=ConversationSeq(0))

    def text(self) -> list[str]:
        """The lines in view."""
        top = self.scroll_offset.y
        return [line.text for line in self._lines[top : top + self.size.height]]

    # ---- what is selected ----

    @property
    def selected(self) -> Item | None:
        """The item that is selected."""
        return next((item for item in self._items if _name(item) == self._selected), None)

    def select(self, item: Item) -> None:
        """Select an item, and bring it into view."""
        self._selected = _name(item)
        places = [place for place, line in enumerate(self._lines) if _name(self._items[line.item]) == self._selected]
        if not places:
            return
        top, height = self.scroll_offset.y, self.size.height
        if places[0] < top:
            top = places[0]
        elif places[-1] >= top + height:
            top = min(places[0], places[-1] - height + 1)
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
        names = [_name(item) for item in chosen]
        if self._selected in names:
            place = names.index(self._selected) + step
            self.select(chosen[min(max(place, 0), len(chosen) - 1)])
        else:
            last = self.scroll_offset.y + self.size.height
            shown = {_name(self._items[line.item]) for line in self._lines[self.scroll_offset.y : last]}
            self.select(next((item for item in reversed(chosen) if _name(item) in shown), chosen[-1]))

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
            item = self._items[self._lines[place].item]
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
        self._lines = lay_out(self._items, width=width, glyphs=self._glyphs) if width else []
        self.virtual_size = Size(width, len(self._lines))

    @property
    def _width(self) -> int:
        return self.scrollable_content_region.width  # the scroll bar has a column of its own

    def _place(self, top: int) -> _Place | None:
        """What is on a line."""
        if top >= len(self._lines):
            return None
        number = self._lines[top].item
        first = next(place for place, line in enumerate(self._lines) if line.item == number)
        return _name(self._items[number]), top - first

    def _line_of(self, place: _Place) -> int:
        """Where something is now; 0 if it is not here any more."""
        name, within = place
        lines = (n for n, line in enumerate(self._lines) if _name(self._items[line.item]) == name)
        return next(lines, -within) + within

    def render_line(self, y: int) -> Strip:
        """Draw a line."""
        place, width = y + self.scroll_offset.y, self._width
        if place >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        line = self._lines[place]
        is_selected = self._selected is not None and _name(self._items[line.item]) == self._selected
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


def _name(item: Item) -> _Name:
    """What stays of an item when it is made anew."""
    match item:
        case Said(record) | Told(record):
            return "record", record.message_id, record.sender
        case Sending(number):
            return "sending", number
        case Changed(event):
            return "changed", type(event), event.device
        case Day(text):
            return "day", text
        case Divider():
            return ("divider",)
