"""The dialogs about files: which one to send, and where to save one."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import anyio
from textual.content import Content
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, Static

from examples.tui.dialog import Dialog, line
from examples.tui.feed import size_in_words

__all__ = ["Attach", "Chosen", "PathSuggester", "SaveAs"]


class Chosen(NamedTuple):
    """A file that is to be sent."""

    path: Path
    caption: str


class PathSuggester(Suggester):
    """Completes the path of a file or folder."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """The first path that goes on like this."""
        if not value:
            return None
        start = _meant(value)
        folder, begun = (start, "") if value.endswith("/") else (start.parent, start.name)
        try:
            names = sorted([path.name async for path in anyio.Path(folder).iterdir()])
        except OSError:
            return None
        for name in names:
            if name.startswith(begun) and not (name.startswith(".") and not begun.startswith(".")):
                is_folder = await anyio.Path(folder / name).is_dir()
                return value + name[len(begun) :] + ("/" if is_folder else "")
        return None


class Attach(Dialog[Chosen]):
    """Choose a file: a path, with completion, and a caption.

    Args:
        path: What is there already, such as a path that was pasted.
        caption: Likewise.
    """

    FOCUSED: ClassVar[Sequence[str]] = ("#path",)

    def __init__(self, path: str = "", caption: str = "") -> None:
        super().__init__("Send a file", "→ complete · Tab caption · Enter send · Esc back")
        self._path = path
        self._caption = caption

    def inside(self) -> Iterable[Widget]:
        """Path, preview, caption."""
        return [
            line("Path", "quiet"),
            Input(self._path, placeholder="/home/you/cat.jpg", id="path", suggester=PathSuggester()),
            line(" ", "loud", "preview"),
            line("Caption", "quiet"),
            Input(self._caption, placeholder="none", id="caption"),
        ]

    async def on_input_changed(self, event: Input.Changed) -> None:
        """Say what the path leads to."""
        if event.input.id == "path":
            self.query_one("#preview", Static).update(Content(await _preview(event.value)))

    async def on_input_submitted(self, _: Input.Submitted) -> None:
        """Send it, if it is a file."""
        path = _meant(self.query_one("#path", Input).value.strip())
        if await anyio.Path(path).is_file():
            self.dismiss(Chosen(path, self.query_one("#caption", Input).value.strip()))
        else:
            self.query_one("#preview", Static).update(Content("there is no such file"))


async def _preview(text: str) -> str:
    path = anyio.Path(_meant(text.strip()))
    try:
        if not text.strip() or not await path.is_file():
            return "a folder" if text.strip() and await path.is_dir() else " "
        size = (await path.stat()).st_size
    except (OSError, ValueError):
        return " "
    return f"{mimetypes.guess_type(path.name)[0] or 'of an unknown kind'}, {size_in_words(size)}"


class SaveAs(Dialog[Path]):
    """Choose where to save a file; nothing that is there is replaced.

    Args:
        path: Where it goes unless another place is chosen.
    """

    FOCUSED: ClassVar[Sequence[str]] = ("#path",)

    def __init__(self, path: Path) -> None:
        super().__init__("Save the file", "→ complete · Enter save · Esc back")
        self._path = path

    def inside(self) -> Iterable[Widget]:
        """The path."""
        return [
            line("Path", "quiet"),
            Input(str(self._path), id="path", suggester=PathSuggester()),
            line(" ", "loud", "preview"),
        ]

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Save it there, if nothing is there."""
        path = anyio.Path(_meant(event.value.strip()))
        if await path.is_dir():
            path /= self._path.name
        if await path.exists():
            self.query_one("#preview", Static).update(Content(f"{path.name} is there already: choose another name"))
        elif not await path.parent.is_dir():
            self.query_one("#preview", Static).update(Content(f"there is no folder {path.parent}"))
        else:
            self.dismiss(Path(path))


def _meant(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # somebody's home who has none
        return Path(text)
