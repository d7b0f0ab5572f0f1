"""The dialog that finds messages: on this device only, because only here can they be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from examples.device_search import Hit
from examples.tui.dialog import Dialog

__all__ = ["Find"]


class Find(Dialog[tuple[list[Hit], int]]):
    """Find words; answers what was found, and which of it was chosen.

    Args:
        where: What is searched.
        search: Finds.
        words: How a hit is shown.
        wanted: What is looked for at first.
    """

    FOCUSED: ClassVar[Sequence[str]] = ("#wanted",)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "step(1)", show=False, priority=True),
        Binding("up", "step(-1)", show=False, priority=True),
    ]

    def __init__(
        self, where: str, search: Callable[[str], list[Hit]], words: Callable[[Hit], str], *, wanted: str = ""
    ) -> None:
        super().__init__(f"Find in {where}: searched on this device only", "Enter go there · ↑↓ choose · Esc back")
        self._search = search
        self._words = words
        self._wanted = wanted
        self._hits: list[Hit] = []

    def inside(self) -> Iterable[Widget]:
        """A line to write in, and what is found."""
        found = OptionList(id="found")
        found.can_focus = False
        return [Input(self._wanted, placeholder="words", id="wanted"), found]

    def on_input_changed(self, event: Input.Changed) -> None:
        """Find."""
        self._hits = self._search(event.value)
        found = self.query_one(OptionList)
        found.clear_options()
        found.add_options([Option(Content(self._words(hit))) for hit in self._hits])
        found.highlighted = 0 if self._hits else None
        words = f"{len(self._hits)} found" if self._hits else "nothing found" if event.value.strip() else " "
        self.query_one("#box").border_subtitle = Content(f"{words.strip() or 'type some words'} · {self._keys}")

    def action_step(self, step: int) -> None:
        """Choose another one."""
        found = self.query_one(OptionList)
        if self._hits:
            found.highlighted = ((found.highlighted or 0) + step) % len(self._hits)

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Go there."""
        if self._hits:
            self.dismiss((self._hits, self.query_one(OptionList).highlighted or 0))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Go there."""
        self.dismiss((self._hits, event.option_index))
