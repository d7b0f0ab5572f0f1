"""The dialog about who is in a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from examples.tui.dialog import Dialog, line

__all__ = ["Members", "Person"]


class Person(NamedTuple):
    """Somebody in the conversation.

    Attributes:
        name: What they are called.
        how: How they are.
    """

    name: str
    how: str


class Members(Dialog[str]):
    """Who is here; answers a command to be done.

    Args:
        people: The others.
        total: How many there are in all.
        is_group: Whether people can come and go.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "add", show=False),
        Binding("delete", "remove", "remove", show=False),
        Binding("l", "leave_group", "leave", show=False),
    ]

    FOCUSED: ClassVar[Sequence[str]] = ("#people",)

    def __init__(self, people: Sequence[Person], *, total: int, is_group: bool) -> None:
        keys = "a add · Del remove · l leave · Enter write to · Esc back" if is_group else "Esc back"
        super().__init__(f"Who is here: {total:,}" if is_group else "Who is here", keys)
        self._people = people
        self._total = total
        self._is_group = is_group
        self._removes = ""

    def inside(self) -> Iterable[Widget]:
        """The people, and a line for more of them."""
        added = Input(placeholder="whom to add", id="added")
        added.display = False
        more = self._total - len(self._people) - 1
        return [
            OptionList(*[Option(Content(f"{one.name}  {one.how}".rstrip())) for one in self._people], id="people"),
            line("and you" + (f", and {more:,} more" if more > 0 else ""), "quiet"),
            added,
            line("", "loud", "sure"),
        ]

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Write to somebody."""
        self.dismiss(f"/to {self._people[event.option_index].name}")

    def action_add(self) -> None:
        """Ask whom to add."""
        if self._is_group:
            added = self.query_one("#added", Input)
            added.display = True
            added.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Add them."""
        if event.value.strip():
            self.dismiss(f"/add {event.value.strip()}")

    def action_remove(self) -> None:
        """Remove somebody: the second time it is done."""
        place = self.query_one(OptionList).highlighted
        if self._is_group and place is not None:
            self._sure(f"/remove {self._people[place].name}", f"Del again removes {self._people[place].name}")

    def action_leave_group(self) -> None:
        """Leave: the second time it is done."""
        if self._is_group:
            self._sure("/leave", "l again leaves this group")

    def _sure(self, command: str, question: str) -> None:
        if self._removes == command:
            self.dismiss(command)
            return
        self._removes = command
        self.query_one("#sure", Static).update(Content(question))
