"""Where one writes: grows with the text, Enter sends, and each conversation keeps what was begun in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from examples.tui.keys import COMPOSER_KEYS

__all__ = ["Composer", "pasted_file"]


class Composer(TextArea):
    """The line that is written.

    Args:
        chosen: Keys that the person has set, by name.
    """

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

    def __init__(self, chosen: Mapping[str, str]) -> None:
        super().__init__(id="composer", highlight_cursor_line=False, compact=True)
        self._does = {
            key.strip(): one.action for one in COMPOSER_KEYS for key in chosen.get(one.name, one.keys).split(",")
        }

    async def _on_key(self, event: events.Key) -> None:
        # No bindings: those of the front are looked at before the text in front of the key has come here, so that
        # Enter would overtake what is typed, or pasted, fast.
        action = self._does.get(event.key)
        if action is not None:
            event.stop()
            event.prevent_default()
            await self.run_action(action)

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
