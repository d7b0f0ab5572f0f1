"""What all dialogs are: a box in front of everything, which Esc takes away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

__all__ = ["Dialog", "Notice", "line"]

T = TypeVar("T")


class Dialog(ModalScreen[T | None], Generic[T]):
    """A dialog; it answers, or is left with nothing.

    Args:
        title: What it is about.
        keys: What can be pressed in it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "back", show=False)]

    def __init__(self, title: str, keys: str = "Esc back") -> None:
        super().__init__()
        self._title = title
        self._keys = keys

    def compose(self) -> ComposeResult:
        """Put the box up."""
        with VerticalScroll(id="box") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = Content(self._keys)
            box.can_focus = not list(self.FOCUSED)
            yield from self.inside()

    # Names of what is inside that takes the keys; without any, the box itself can be scrolled.
    FOCUSED: ClassVar[Sequence[str]] = ()

    def inside(self) -> Iterable[Widget]:
        """What is in it."""
        return ()

    def action_leave(self) -> None:
        """Answer nothing."""
        self.dismiss(None)


def line(text: str, kind: str = "line", name: str | None = None) -> Static:
    """A paragraph in a dialog, of text that may be anybody's."""
    return Static(Content(text), classes=kind, id=name)


class Notice(Dialog[None]):
    """Some lines to be read."""

    def __init__(self, title: str, lines: Sequence[str]) -> None:
        super().__init__(title)
        self._lines = lines

    def inside(self) -> Iterable[Widget]:
        """The lines."""
        return [line(one) for one in self._lines]
