"""Text at the edges of the screen, set again and again and drawn only when it is another one."""

from __future__ import annotations

from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

__all__ = ["Words", "entitle"]


class Words(Static):
    """A line of text that has its place whatever it says."""

    def __init__(self, name: str) -> None:
        super().__init__(Content(""), id=name)
        self._shown = ""

    def show(self, text: str) -> None:
        """Say something else."""
        if text != self._shown:
            self._shown = text
            self.update(Content(text), layout=False)


def entitle(widget: Widget, title: str) -> None:
    """Write something into the upper edge of a widget."""
    if widget.border_title != Content(title).markup:
        widget.border_title = Content(title)
