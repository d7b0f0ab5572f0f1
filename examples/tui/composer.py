"""Where one writes: grows with the text, Enter sends, and each conversation keeps what was begun in it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import TextArea

from examples.tui.keys import COMPOSER_KEYS, bindings

__all__ = ["Composer", "pasted_file"]


class Composer(TextArea):
    """The line that is written."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings(COMPOSER_KEYS, priority=True)]

    class Submitted(Message):
        """A text is to be sent."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class WantsLast(Message):
        """The last text that was not sent is wanted back."""

    class WantsBottom(Message):
        """The newest message is wanted."""

    class FilePasted(Message):
        """The path of a file was pasted, as a terminal does when one is dropped on it."""

        def __init__(self, path: Path) -> None:
            super().__init__()
            self.path = path

    def __init__(self) -> None:
        super().__init__(id="composer", highlight_cursor_line=False, compact=True)

    def action_submit(self) -> None:
        """Hand over what is written."""
        if self.text.strip():
            self.post_message(self.Submitted(self.text.strip("\n")))

    def action_new_line(self) -> None:
        """Begin a line."""
        self.insert("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        """Up; in an empty line the last text that was not sent comes back."""
        if not self.text:
            self.post_message(self.WantsLast())
        else:
            super().action_cursor_up(select)

    def action_cursor_line_end(self, select: bool = False) -> None:
        """To the end of the line; of an empty one, to the newest message."""
        if not self.text:
            self.post_message(self.WantsBottom())
        else:
            super().action_cursor_line_end(select)

    async def _on_paste(self, event: events.Paste) -> None:
        # What is not prevented here goes on to the class below by itself.
        path = pasted_file(event.text)
        if path is not None:
            event.stop()
            event.prevent_default()
            self.post_message(self.FilePasted(path))

    def put(self, text: str) -> None:
        """Show another text, the cursor behind it."""
        self.load_text(text)
        self.move_cursor(self.document.end)


def pasted_file(text: str) -> Path | None:
    """The file that is meant by pasted text; `None` if it is text."""
    text = text.strip().removeprefix("file://").strip("'\"").replace("\\ ", " ")
    if not text.startswith(("/", "~")) or "\n" in text:
        return None
    try:
        path = Path(text).expanduser()
        return path if path.is_file() else None
    except (OSError, RuntimeError, ValueError):
        return None
