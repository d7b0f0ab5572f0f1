"""What of the application knows nothing of conversations: what it says in passing, and the size of its window."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from typing import Final

from textual import events
from textual.app import App
from textual.geometry import Size
from textual.screen import Screen

from examples.chat.lines import reason
from examples.tui.dialog import Notice
from examples.tui.glyphs import Glyphs, said_with
from examples.tui.keys import KeyNames
from whisperkit.errors import WhisperError

__all__ = ["NARROW_BELOW", "SpeakingApp"]

NARROW_BELOW: Final = 80


class SpeakingApp(App[int]):
    """Says things, and fits into its window.

    Attributes:
        glyphs: The marks that the terminal has.
        key: Which key does what.
    """

    glyphs: Glyphs
    key: KeyNames

    @property
    def main_screen(self) -> Screen[object]:
        """The one behind all dialogs."""
        return self.screen_stack[0]

    # ---- saying ----

    def say(self, text: str, *, is_bad: bool = False) -> None:
        """Say something in passing."""
        self.notify(said_with(self.glyphs, text), severity="error" if is_bad else "information", markup=False)

    def say_to_whom(self) -> None:
        """Nothing can be done without a conversation."""
        self.say(f"to whom? {self.key('go-to')} goes to a conversation, {self.key('new')} begins one")

    def tell(self, title: str, lines: list[str]) -> None:
        """Say something that is to be read: in passing if it is short."""
        if len(lines) == 1 and len(lines[0]) < 60:
            self.say(lines[0])
        elif lines:
            self.push_screen(Notice(title, [said_with(self.glyphs, one) for one in lines]))

    async def attempt(self, what: str, do: Callable[[], Awaitable[object]]) -> bool:
        """Do something; what is wrong with it is said, and then this is false."""
        try:
            await do()
        except (WhisperError, OSError, ValueError) as error:
            self.say(f"{what}: {reason(error)}", is_bad=True)
            return False
        return True

    # ---- the size ----

    def on_resize(self, event: events.Resize) -> None:
        """One pane where there is no room for two."""
        self._fit(event.size.width)

    def _catch_up_with_size(self) -> None:
        """Ask the terminal for its size, and tell the screen where nobody has.

        Textual hears of a new size by a signal, and tells the screen by a timer of a 120th of a second; a timer that is
        run only after its time is skipped, for good. On a busy machine the window would be drawn in the old size until
        the next start.
        """
        size = self.terminal_size()
        if self.size != size:
            self.post_message(events.Resize(size, size))
        elif self.screen.outer_size != size:
            self.screen.post_message(events.Resize(size, size))

    def terminal_size(self) -> Size:
        """How large the window is now."""
        return self.size if self.is_headless else Size(*shutil.get_terminal_size(self.size))

    def _fit(self, width: int) -> None:
        self.main_screen.set_class(width < NARROW_BELOW, "-narrow")
