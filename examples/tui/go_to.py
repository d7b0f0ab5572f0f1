"""Dialogs that end in a conversation: one that there is, or a new one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from examples.chat.names import check_name
from examples.tui.desk import ChatLine
from examples.tui.dialog import Dialog, line
from whisperkit.ids import ConversationId

__all__ = ["GoTo", "NewChat"]


class GoTo(Dialog[ConversationId]):
    """Choose a conversation by some of its letters."""

    FOCUSED: ClassVar[Sequence[str]] = ("#wanted",)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "step(1)", show=False, priority=True),
        Binding("up", "step(-1)", show=False, priority=True),
    ]

    def __init__(self, chats: Sequence[ChatLine]) -> None:
        super().__init__("Go to a conversation", "Enter go · ↑↓ choose · Esc back")
        self._chats = chats
        self._found = list(chats)

    def inside(self) -> Iterable[Widget]:
        """A line to write in, and what fits."""
        found = OptionList(*self._options(), id="found")
        found.can_focus = False
        return [Input(placeholder="some letters of the name", id="wanted"), found]

    def _options(self) -> list[Option]:
        return [Option(Content(f"{one.title}  {one.badge or ''}")) for one in self._found]

    def on_mount(self) -> None:
        """Choose the first."""
        self.query_one(OptionList).highlighted = 0 if self._found else None

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what fits."""
        wanted = event.value.casefold().strip()
        self._found = [one for one in self._chats if wanted in one.title.casefold()]
        found = self.query_one(OptionList)
        found.clear_options()
        found.add_options(self._options())
        self.action_step(1)

    def action_step(self, step: int) -> None:
        """Choose another one."""
        found = self.query_one(OptionList)
        if self._found:
            found.highlighted = 0 if found.highlighted is None else (found.highlighted + step) % len(self._found)

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Go there."""
        found = self.query_one(OptionList)
        if self._found:
            self.dismiss(self._found[found.highlighted or 0].conv)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go there."""
        self.dismiss(self._found[event.option_index].conv)


class NewChat(Dialog[list[str]]):
    """Write to somebody, or make a group."""

    FOCUSED: ClassVar[Sequence[str]] = ("#names",)

    def __init__(self) -> None:
        super().__init__("New conversation", "Enter begin · Esc back")

    def inside(self) -> Iterable[Widget]:
        """A line for the names."""
        return [
            line("One name begins a conversation, several make a group."),
            Input(placeholder="bob, or bob carol dave", id="names"),
            line(" ", "loud", "problem"),
        ]

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Begin, if these are names."""
        names = event.value.replace(",", " ").split()
        try:
            self.dismiss([name if name.startswith(("@", "#")) else check_name(name) for name in names])
        except ValueError as error:
            self.query_one("#problem", Static).update(Content(f"{error}"))
